import { createPrivateKey, randomUUID } from "node:crypto";
import { beforeEach, describe, expect, it } from "vitest";
import { FakeClock } from "../../../test/fakes/clock.ts";
import { FakeTaskApi } from "../../../test/fakes/task-api.ts";
import { generateEcKeyPair } from "../../crypto/keys.ts";
import { parseAudiences } from "../../spiffe/audience.ts";
import { newKeyAndCsr } from "../cache/x509-signing.ts";
import { TaskClient } from "./client.ts";

const signal = new AbortController().signal;
const ID = "spiffe://example.org/ci/7/run/8";
let clock: FakeClock;
let api: FakeTaskApi;

beforeEach(async () => {
  clock = new FakeClock();
  api = await FakeTaskApi.create(clock);
});

function client(server: string = FakeTaskApi.URL): TaskClient {
  const { pkcs8 } = generateEcKeyPair("ec-p256");
  const key = createPrivateKey({ key: Buffer.from(pkcs8), format: "der", type: "pkcs8" });
  return new TaskClient({ server, web: api, key, clock, newId: randomUUID });
}

async function openClient(): Promise<TaskClient> {
  const opened = client();
  await opened.open("a.b.c", signal);
  return opened;
}

describe("the client of one task", () => {
  it("learns the server's nonce, opens the task, and knows what it has earned", async () => {
    api.identities.push({ spiffe_id: "spiffe://example.org/stable", hint: "stable" });
    api.identities.push({ spiffe_id: ID, hint: "again" });
    const opened = client(`${FakeTaskApi.URL}/`);
    expect(await opened.open("a.b.c", signal)).toEqual({
      id: FakeTaskApi.ID,
      lease: 120,
      hardEnd: clock.now() / 1000 + 3600,
      identities: [
        { spiffeId: ID, hint: "", svidKeyType: "" },
        { spiffeId: "spiffe://example.org/stable", hint: "stable", svidKeyType: "" },
      ],
    });
    expect(api.tokens).toEqual(["a.b.c"]);
    expect(opened.subject).toBe(`spiffe://example.org/spire/task/github/${FakeTaskApi.ID}`);
  });

  it("goes on with a new nonce wherever the server wants one", async () => {
    const opened = await openClient();
    api.nonce = "nonce-2";
    expect((await opened.heartbeat(signal)).lease).toBe(120);
    api.nonce = "nonce-3";
    expect((await opened.read(signal)).identities).toHaveLength(1);
    expect(api.calls).toEqual(["POST /oauth2/token", "POST /v1/task/heartbeat", "GET /v1/task"]);
  });

  it("gives up where every nonce is refused", async () => {
    const opened = await openClient();
    const send = api.send.bind(api);
    let sent = 0;
    api.send = (request) => {
      api.nonce = `nonce-${sent++}-${sent}`;
      return send(request);
    };
    await expect(opened.heartbeat(signal)).rejects.toThrowCode("DPOP_NONCE_REQUIRED");
    expect(sent).toBe(4);
  });

  it.each([-3600, -30, 30, 3600])(
    "proves by the server's clock where its own is off by %i s",
    async (off) => {
      api.date = () => new Date(clock.now() + off * 1000);
      const opened = await openClient();
      await opened.heartbeat(signal);
      expect(api.calls).toEqual(["POST /oauth2/token", "POST /v1/task/heartbeat"]);
    },
  );

  it("gets SVIDs, bundles and revocation lists", async () => {
    const opened = await openClient();
    api.crls = { "example.org": [Buffer.from("crl").toString("base64")], "other.org": ["AA=="] };
    const { csr } = await newKeyAndCsr();
    expect(await opened.x509Svid(csr, ID, signal)).toHaveLength(1);
    const jwt = await opened.jwtSvid(parseAudiences(["db"]), ID, signal);
    expect(jwt).toMatchObject({ spiffeId: ID, expiresAt: clock.now() / 1000 + 150 });
    const { bundles, crls } = await opened.bundles(signal);
    expect([...bundles.keys()]).toEqual(["example.org"]);
    expect([...crls]).toEqual([["example.org", [new Uint8Array(Buffer.from("crl"))]]]);
  });

  it("says what the server says is wrong, by its code", async () => {
    const opened = await openClient();
    api.plan("/v1/task/jwt-svid", {
      status: 403,
      body: { code: "POLICY_DENIED", title: "Denied", detail: "not for this audience" },
    });
    await expect(opened.jwtSvid(parseAudiences(["db"]), ID, signal)).rejects.toThrowCode(
      "POLICY_DENIED",
      /^not for this audience$/,
    );
    await opened.end(signal);
    await expect(opened.heartbeat(signal)).rejects.toThrowCode("TASK_OVER");
  });

  it.each([
    [
      400,
      { error: "invalid_request", error_description: "no identity issued (decision x)" },
      "NO_IDENTITY_ISSUED",
      /no identity issued \(decision x\) \(invalid_request\)/,
    ],
    [400, { error: "invalid_dpop_proof" }, "INVALID_DPOP_PROOF", /invalid_dpop_proof/],
    [503, { error: "temporarily_unavailable" }, "SERVER_UNAVAILABLE", /temporarily/],
    [429, {}, "RATE_LIMITED", /status 429/],
    [502, "<html>", "SERVER_UNAVAILABLE", /status 502/],
    [302, {}, "SERVER_UNAVAILABLE", /status 302/],
    [200, { access_token: "x", token_type: "Bearer" }, "SERVER_UNAVAILABLE", /not understood: token_type/],
    [200, { access_token: "x", token_type: "DPoP" }, "SERVER_UNAVAILABLE", /not understood: task/],
  ] as const)("takes a token endpoint's answer %i %j for %s", async (status, body, code, text) => {
    api.plan("/oauth2/token", { status, body });
    await expect(client().open("a.b.c", signal)).rejects.toThrowCode(code, text);
  });

  it("asks nothing before the task is open", async () => {
    await expect(client().read(signal)).rejects.toThrowCode("NOT_READY");
    expect(client().subject).toBeUndefined();
  });
});
