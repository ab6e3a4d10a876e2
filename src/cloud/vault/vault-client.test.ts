import { once } from "node:events";
import { chmodSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { beforeEach, describe, expect, it } from "vitest";
import { z } from "zod";
import { type Clock, systemClock } from "../../clock.ts";
import { FakeClock } from "../../../test/fakes/clock.ts";
import { FakeVault, sendVault } from "../../../test/fakes/vault.ts";
import { VaultClient } from "./vault-client.ts";
import { vaultFailure, vaultReasons } from "./vault-error.ts";
import { vaultSettings, vaultSettingsShape } from "./vault-settings.ts";

const CODES = { refused: "UPSTREAM_REFUSED", unavailable: "UPSTREAM_UNAVAILABLE" } as const;
const CALL = { method: "GET", path: "transit/keys/a" } as const;
const LOGIN = /^POST auth\/.*\/login/;
let vault: FakeVault;
let warnings: unknown[];

beforeEach(async () => {
  vault = await FakeVault.start();
  warnings = [];
  return () => vault[Symbol.asyncDispose]();
});

function client(change: object = {}, clock: Clock = systemClock): VaultClient {
  const read = z.object(vaultSettingsShape).parse({ ...vault.settings, ...change });
  const log = { debug() {}, info() {}, warn: (...all: unknown[]) => void warnings.push(all), error() {} };
  return new VaultClient(vaultSettings(read), { clock, log });
}

function approle() {
  return {
    token_auth: undefined,
    approle_auth: { approle_id: "role-id", approle_secret_id_file: vault.path("secret-id") },
  };
}

/** Makes a call that must fail, with the code that an upstream authority gives. */
async function failure(asked: Promise<unknown>): Promise<never> {
  await asked.catch((error: unknown) => {
    throw vaultFailure(error, CODES);
  });
  throw new Error("nothing failed");
}

describe("a session with Vault", () => {
  it("does not begin again with each call that is forbidden, but every half a minute", async () => {
    const clock = new FakeClock();
    vault.instead = ({ path }, response) => {
      if (!path.startsWith("transit/sign")) return false;
      sendVault(response, 403, { errors: ["permission denied"] });
      return true;
    };
    await using asked = client(approle(), clock);
    const forbidden = { method: "POST", path: "transit/sign/a", body: {} } as const;
    for (let count = 0; count < 20; count++) {
      await expect(failure(asked.call(forbidden))).rejects.toThrowCode("UPSTREAM_REFUSED", /403/);
    }
    expect(vault.calls(LOGIN)).toHaveLength(2);
    clock.step(30_000);
    await expect(failure(asked.call(forbidden))).rejects.toThrowCode("UPSTREAM_REFUSED");
    expect(vault.calls(LOGIN)).toHaveLength(3);
  });

  it.each(["token", "approle", "kubernetes"])("begins by %s", async (method) => {
    const ways: Record<string, object> = {
      token: {},
      approle: approle(),
      kubernetes: {
        token_auth: undefined,
        k8s_auth: { k8s_auth_role_name: "assay", token_path: vault.path("service-account") },
      },
    };
    await using asked = client(ways[method]);
    expect(await asked.call(CALL)).toBeUndefined();
    expect(vault.seen.at(-1)?.token).toMatch(method === "token" ? /^root-token$/ : /^hvs\.login-1-/);
  });

  it("begins once for many calls at once", async () => {
    await using asked = client(approle());
    await Promise.all(Array.from({ length: 20 }, () => asked.call(CALL)));
    expect(vault.calls(LOGIN)).toHaveLength(1);
  });

  it("names the namespace in every call", async () => {
    await using asked = client({ ...approle(), namespace: "team/a" });
    await asked.call(CALL);
    expect(vault.seen.map(({ namespace }) => namespace)).toEqual(["team/a", "team/a"]);
  });

  it("is prolonged when two thirds of its life are over, again and again", async () => {
    const clock = new FakeClock();
    const waits: number[] = [];
    const noted: Clock = {
      now: () => clock.now(),
      schedule(milliseconds, callback) {
        waits.push(milliseconds);
        return clock.schedule(milliseconds, callback);
      },
    };
    vault.login = { ttl: 300, renewable: true };
    await using asked = client(approle(), noted);
    await asked.call(CALL);
    for (let n = 1; n <= 5; n++) {
      await clock.advance(200_000);
      await expect.poll(() => waits.filter((wait) => wait === 200_000).length).toBe(n + 1);
      expect(vault.calls(/renew-self/)).toHaveLength(n);
    }
    await asked.call(CALL);
    expect(vault.calls(LOGIN)).toHaveLength(1);
  });

  it("begins anew where its token cannot be prolonged, before the token ends", async () => {
    const clock = new FakeClock();
    vault.login = { ttl: 300, renewable: false };
    await using asked = client(approle(), clock);
    await asked.call(CALL);
    await clock.advance(200_000);
    await asked.call(CALL);
    expect(vault.calls(LOGIN)).toHaveLength(2);
    expect(vault.calls(/renew-self/)).toHaveLength(0);
  });

  it("begins anew where prolonging gives next to nothing, as it does near the longest life", async () => {
    const clock = new FakeClock();
    vault.login = { ttl: 300, renewable: true };
    await using asked = client(approle(), clock);
    await asked.call(CALL);
    for (const token of vault.tokens.values()) token.ttl = 50;
    await clock.advance(200_000);
    await expect.poll(() => clock.pending).toBe(0);
    await asked.call(CALL);
    expect(vault.calls(LOGIN)).toHaveLength(2);
  });

  it("tries to prolong again where Vault is away, and begins anew when the token is over", async () => {
    const clock = new FakeClock();
    vault.login = { ttl: 300, renewable: true };
    await using asked = client(approle(), clock);
    await asked.call(CALL);
    vault.instead = ({ path }, response) => {
      if (!path.includes("renew")) return false;
      sendVault(response, 503, { errors: ["sealed"] });
      return true;
    };
    await clock.advance(200_000);
    await expect.poll(() => warnings.length).toBe(1);
    await clock.advance(34_000);
    await expect.poll(() => warnings.length).toBe(2);
    clock.step(200_000);
    await asked.call(CALL);
    expect(vault.calls(LOGIN)).toHaveLength(2);
    expect(JSON.stringify(warnings)).not.toContain("hvs.");
  });

  it("begins anew, once, where its token was revoked", async () => {
    await using asked = client(approle());
    await asked.call(CALL);
    vault.tokens.clear();
    expect(await asked.call(CALL)).toBeUndefined();
    expect(vault.calls(LOGIN)).toHaveLength(2);
  });

  it("reads its token's file again where the token is refused", async () => {
    await using asked = client();
    await asked.call(CALL);
    vault.tokens.clear();
    vault.tokens.set("second-token", { ttl: 0, renewable: false });
    vault.write("token", "second-token");
    expect(await asked.call(CALL)).toBeUndefined();
    expect(vault.seen.at(-1)?.token).toBe("second-token");
  });

  it("is not begun for ever where the policy forbids a call", async () => {
    await using asked = client(approle());
    vault.instead = ({ path }, response) => {
      if (!path.startsWith("transit")) return false;
      sendVault(response, 403, { errors: ["1 error occurred:\n\t* permission denied\n\n"] });
      return true;
    };
    await expect(failure(asked.call(CALL))).rejects.toThrowCode(
      "UPSTREAM_REFUSED",
      /GET transit\/keys\/a with 403: 1 error occurred: \* permission denied$/,
    );
    expect(vault.calls(LOGIN)).toHaveLength(2);
  });

  it.each([
    ["wrong credentials", "other-secret", "UPSTREAM_REFUSED", /invalid role/],
    ["a file that holds two lines", "one\ntwo", "UPSTREAM_UNAVAILABLE", /one credential/],
    ["a file that holds nothing", "", "UPSTREAM_UNAVAILABLE", /one credential/],
  ] as const)(
    "cannot begin with %s, and no error tells the secret",
    async (_title, secret, code, detail) => {
      vault.write("secret-id", secret);
      await using asked = client(approle());
      const failed = failure(asked.call(CALL));
      await expect(failed).rejects.toThrowCode(code, detail);
      await expect(failed).rejects.not.toThrow(/other-secret/);
    },
    20_000,
  );

  it("cannot begin where the file is not there", async () => {
    await using asked = client({ token_auth: { token_file: vault.path("absent") } });
    await expect(failure(asked.call(CALL))).rejects.toThrowCode("UPSTREAM_UNAVAILABLE", /absent/);
  });

  it.each([
    ["no token", { auth: { lease_duration: 1 } }],
    ["a token of two lines", { auth: { client_token: "a\r\nb", lease_duration: 1 } }],
    ["no end", { auth: { client_token: "abc" } }],
    ["a negative life", { auth: { client_token: "abc", lease_duration: -1 } }],
    ["no auth at all", { data: {} }],
    ["an array", []],
    ["null", null],
  ])("does not begin with an answer of %s", async (_title, body) => {
    vault.instead = (_call, response) => {
      sendVault(response, 200, body);
      return true;
    };
    await using asked = client(approle());
    await expect(failure(asked.call(CALL))).rejects.toThrowCode("UPSTREAM_REFUSED");
  });
});

describe("the end of a session with Vault", () => {
  const REVOKED = /^POST auth\/token\/revoke-self/;

  it.each(["approle", "kubernetes", "certificate"])(
    "revokes the token that a login by %s gave",
    async (method) => {
      const ways: Record<string, () => object> = {
        approle,
        kubernetes: () => ({
          token_auth: undefined,
          k8s_auth: { k8s_auth_role_name: "assay", token_path: vault.path("service-account") },
        }),
        certificate: () => vault.certificateSettings(),
      };
      {
        await using asked = client(ways[method]?.());
        await asked.call(CALL);
        expect(vault.tokens.size).toBe(2);
      }
      expect(vault.calls(REVOKED).map(({ token }) => token)).toEqual([
        expect.stringMatching(/^hvs\.login-1-/),
      ]);
      expect([...vault.tokens.keys()]).toEqual(["root-token"]);
      expect(warnings).toEqual([]);
    },
  );

  it("leaves the token alone that the operator gave, also one that was renewed", async () => {
    const clock = new FakeClock();
    vault.tokens.set("root-token", { ttl: 300, renewable: true });
    {
      await using asked = client({}, clock);
      await asked.call(CALL);
      await clock.advance(200_000);
      await expect.poll(() => vault.calls(/renew-self/).length).toBe(1);
      await expect.poll(() => clock.pending).toBe(1);
    }
    expect(vault.calls(REVOKED)).toEqual([]);
  });

  it("revokes tokens that were given up for others too, where they may be alive", async () => {
    const clock = new FakeClock();
    vault.login = { ttl: 300, renewable: false };
    {
      await using asked = client(approle(), clock);
      for (let n = 1; n <= 3; n++) {
        await asked.call(CALL);
        await clock.advance(200_000);
      }
      await asked.call(CALL);
    }
    // Of four, the third and the fourth live after ten minutes.
    expect(vault.calls(REVOKED).map(({ token }) => token?.slice(0, 11))).toEqual([
      "hvs.login-3",
      "hvs.login-4",
    ]);
  });

  it("goes on where one of its tokens is revoked already, and says so in the log", async () => {
    const clock = new FakeClock();
    {
      await using asked = client(approle(), clock);
      await asked.call(CALL);
      vault.tokens.clear();
      await asked.call(CALL);
      expect(vault.tokens.size).toBe(1);
    }
    expect(vault.tokens.size).toBe(0);
    expect(JSON.stringify(warnings)).toMatch(/could not be revoked.*403/);
    expect(JSON.stringify(warnings)).not.toContain("hvs.");
  });

  it("waits for a login that is under way, and revokes what it gives", async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    vault.before = ({ path }) => (path.endsWith("/login") ? promise : undefined);
    const asked = client(approle());
    const call = asked.call(CALL);
    call.catch(() => undefined);
    await expect.poll(() => vault.calls(LOGIN).length).toBe(1);
    const ended = asked[Symbol.asyncDispose]();
    await expect(call).rejects.toThrow(/closed/);
    resolve();
    await ended;
    expect([...vault.tokens.keys()]).toEqual(["root-token"]);
  });

  it("is over after two seconds where Vault stalls, with a line in the log", async () => {
    const clock = new FakeClock();
    const asked = client(approle(), clock);
    await asked.call(CALL);
    vault.instead = ({ path }) => path.endsWith("revoke-self");
    const ended = asked[Symbol.asyncDispose]();
    expect(asked[Symbol.asyncDispose]()).toBe(ended);
    await expect.poll(() => vault.calls(REVOKED).length).toBe(1);
    await clock.advance(1999);
    expect(warnings).toEqual([]);
    await clock.advance(1);
    await ended;
    expect(JSON.stringify(warnings)).toMatch(/could not be revoked.*no answer within 2000 ms/);
  });
});

describe("a file with a credential for Vault", () => {
  it.each([
    ["token_file", () => ({}), "token"],
    ["approle_secret_id_file", approle, "secret-id"],
    ["client_key_path", () => vault.certificateSettings(), "client.key"],
  ] as const)(
    "is refused as %s where others may read it, and a group may",
    async (setting, settings, name) => {
      const wanted = settings();
      chmodSync(vault.path(name), 0o644);
      await using asked = client(wanted);
      await expect(failure(asked.call(CALL))).rejects.toThrowCode(
        "UPSTREAM_UNAVAILABLE",
        new RegExp(`^${setting} .*${name} has mode 0644, .*chmod 600`),
      );
      expect(vault.seen).toEqual([]);
      chmodSync(vault.path(name), 0o640);
      expect(await asked.call(CALL)).toBeUndefined();
    },
  );
});

describe("a call to Vault", () => {
  const answering = (status: number, body: string, headers: Record<string, string> = {}) => {
    let left = Number.POSITIVE_INFINITY;
    vault.instead = ({ path }, response) => {
      if (!path.startsWith("transit") || left-- <= 0) return false;
      response.writeHead(status, headers).end(body);
      return true;
    };
    return { times: (n: number) => (left = n) };
  };

  it("is made again where Vault cannot answer now", async () => {
    answering(503, "").times(2);
    await using asked = client();
    expect(await asked.call(CALL)).toBeUndefined();
    expect(vault.calls(/transit/)).toHaveLength(3);
  });

  it.each([
    [500, "UPSTREAM_UNAVAILABLE", 3],
    [429, "UPSTREAM_UNAVAILABLE", 3],
    [307, "UPSTREAM_UNAVAILABLE", 3],
    [400, "UPSTREAM_REFUSED", 1],
    [405, "UPSTREAM_REFUSED", 1],
  ] as const)("that is answered with %i is %s after %i times", async (status, code, times) => {
    answering(status, '{"errors":["why"]}', status === 307 ? { location: "https://elsewhere/" } : {});
    await using asked = client();
    await expect(failure(asked.call(CALL))).rejects.toThrowCode(code);
    expect(vault.calls(/transit/)).toHaveLength(times);
  });

  it("to a path that Vault does not know is refused, and to a thing that is not there gives nothing", async () => {
    await using asked = client();
    expect(await asked.call(CALL)).toBeUndefined();
    answering(404, '{"errors":["no handler for route"]}');
    const wrong = { method: "GET", path: "transit/nothing" } as const;
    await expect(failure(asked.call(wrong))).rejects.toThrowCode("UPSTREAM_REFUSED", /no handler/);
  });

  it.each([
    ["no JSON", "<html>", /something else than JSON/],
    ["more than four mebibytes", `"${"x".repeat(4 * 1024 * 1024)}"`, /more than 4194304 bytes/],
  ])("that is answered with %s is refused", async (_title, body, detail) => {
    answering(200, body);
    await using asked = client();
    await expect(failure(asked.call(CALL))).rejects.toThrowCode("UPSTREAM_REFUSED", detail);
  });

  it("ends at its deadline where Vault stalls", async () => {
    const clock = new FakeClock();
    vault.instead = ({ path }) => path.startsWith("transit");
    await using asked = client({}, clock);
    const failed = failure(asked.call(CALL));
    failed.catch(() => undefined);
    for (let n = 1; n <= 3; n++) {
      await expect.poll(() => vault.calls(/transit/).length).toBe(n);
      await clock.advance(16_000);
      await expect.poll(() => clock.pending).toBe(n === 3 ? 0 : 1);
      await clock.advance(1000);
    }
    await expect(failed).rejects.toThrowCode("UPSTREAM_UNAVAILABLE", /no answer within 15000 ms/);
  });

  it("ends with its signal, and with the client", async () => {
    vault.instead = ({ path }) => path.startsWith("transit");
    const asked = client();
    const abort = new AbortController();
    const cancelled = asked.call(CALL, abort.signal);
    const closed = asked.call(CALL);
    closed.catch(() => undefined);
    await expect.poll(() => vault.calls(/transit/).length).toBe(2);
    abort.abort(new Error("enough"));
    await expect(cancelled).rejects.toThrow("enough");
    const ended = asked[Symbol.asyncDispose]();
    await expect(closed).rejects.toThrow(/closed/);
    await expect(asked.call(CALL)).rejects.toThrow(/closed/);
    await ended;
  });

  it("is not made to a server that another authority vouches for, or with another name", async () => {
    await using other = await FakeVault.start();
    for (const change of [{ ca_cert_path: other.path("ca.pem") }, { tls_server_name: "else.test" }]) {
      await using asked = client(change);
      await expect(failure(asked.call(CALL))).rejects.toThrowCode("UPSTREAM_UNAVAILABLE");
    }
    expect(vault.seen).toEqual([]);
  });

  it("reads the authorities again where Vault is not believed, as after they were replaced", async () => {
    await using other = await FakeVault.start();
    const right = readFileSync(vault.path("ca.pem"), "utf8");
    const file = vault.write("replaced.pem", readFileSync(other.path("ca.pem"), "utf8"));
    await using asked = client({ ca_cert_path: file });
    await expect(failure(asked.call(CALL))).rejects.toThrowCode("UPSTREAM_UNAVAILABLE");
    vault.write("replaced.pem", right);
    expect(await asked.call(CALL)).toBeUndefined();
  });

  it("reaches a server that is believed blindly on loopback", async () => {
    await using asked = client({ ca_cert_path: undefined, insecure_skip_verify: true });
    expect(await asked.call(CALL)).toBeUndefined();
  });

  it("reaches an agent of Vault's on loopback in the clear", async () => {
    const paths: string[] = [];
    const server = createServer((request, response) => {
      paths.push(request.url ?? "");
      sendVault(response, 200, { data: { ttl: 0, renewable: false } });
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    try {
      await using asked = client({
        vault_addr: `http://127.0.0.1:${(server.address() as AddressInfo).port}/behind/`,
      });
      expect(await asked.call(CALL)).toEqual({ ttl: 0, renewable: false });
      expect(paths).toEqual(["/behind/v1/auth/token/lookup-self", "/behind/v1/transit/keys/a"]);
    } finally {
      server.close();
    }
  });
});

describe("reasons of Vault", () => {
  it.each([
    [{ errors: ["a", "b"] }, "a; b"],
    [{ errors: ["line\n\tnext\u0000\u202e"] }, "line next"],
    [{ errors: [1, null, "x"] }, "x"],
    [{ errors: ["token hvs.CAESIJ0123456789abcdef is bad"] }, "token [hidden] is bad"],
    [{ errors: ["secret my-secret seen"] }, "secret [hidden] seen"],
    [{ errors: ["x".repeat(1000)] }, "x".repeat(300)],
    [{ errors: "text" }, ""],
    [{}, ""],
    [null, ""],
    ["text", ""],
  ])("in %j are %j", (body, expected) => {
    expect(vaultReasons(body, ["my-secret"])).toBe(expected);
  });
});
