import { createHash } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { isValid, keyManagerSuite } from "../../../test/contract/key-manager-suite.ts";
import { FakeClock } from "../../../test/fakes/clock.ts";
import { FakeGoogleKms, type FakeCryptoKey } from "../../../test/fakes/google-kms.ts";
import { GoogleService, googleAuth, googleFailure } from "../../../test/fakes/google-service.ts";
import type { GoogleAuth } from "../../cloud/google/google-auth.ts";
import { openGoogleService } from "../../cloud/google/google-client.ts";
import type { PluginHost } from "../../plugin/host.ts";
import type { KeyManager } from "../../plugin/key-manager.ts";
import { parseTrustDomain } from "../../spiffe/trust-domain.ts";
import { gcpKmsKeyManager, openGcpKms } from "./gcp-kms.ts";

const folder = mkdtempSync(join(tmpdir(), "gcp-kms-"));
afterAll(() => rmSync(folder, { recursive: true }));
const RING = "projects/assay/locations/europe-west3/keyRings/assay";
const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const DATA = Buffer.from("data");

let clock: FakeClock;
let kms: FakeGoogleKms;
let service: GoogleService;
let log: { level: string; message: string; fields: unknown }[];

beforeEach(async () => {
  clock = new FakeClock();
  kms = new FakeGoogleKms();
  service = await GoogleService.start(kms.handle);
  service.now = () => clock.now();
  log = [];
});
afterEach(() => service[Symbol.asyncDispose]());

let shared: GoogleService;
beforeAll(async () => {
  shared = await GoogleService.start(new FakeGoogleKms().handle);
});
afterAll(() => shared[Symbol.asyncDispose]());
keyManagerSuite("gcp_kms", (place) => open({ key_identifier_value: place, endpoint: shared.endpoint }), {
  durable: true,
});

describe("gcpKmsKeyManager", () => {
  it("names and labels keys as SPIRE does, and lets the service account sign", async () => {
    await using keys = await open();
    await keys.generateKey("x509-CA-A", "ec-p256");
    const [key] = all();
    expect(key?.name).toBe(`${RING}/cryptoKeys/spire-key-server-1-x509-CA-A`);
    expect(key?.labels).toEqual({
      "spire-server-td": createHash("sha1").update("example.org").digest("hex"),
      "spire-server-id": "server-1",
      "spire-active": "true",
      "spire-last-update": String(clock.now() / 1000),
    });
    expect(key?.policy).toEqual({
      etag: "ACAB",
      version: 3,
      bindings: [
        {
          role: "roles/cloudkms.signerVerifier",
          members: ["serviceAccount:assay@project.iam.gserviceaccount.com"],
        },
      ],
    });
  });

  it("finds keys that a SPIRE server left, whatever version is the newest, and leaves others alone", async () => {
    await using keys = await open();
    for (const id of ["a", "b", "c"]) await keys.generateKey(id, "ec-p256");
    const made = await keys.generateKey("c", "ec-p384");
    await using other = await open({ key_identifier_value: "server-10" });
    await other.generateKey("a", "ec-p256");
    for (const key of all()) delete key.labels["spire-last-update"];
    await using after = await open();
    expect((await after.listKeys()).map(({ id }) => id)).toEqual(["a", "b", "c"]);
    const found = await after.getKey("c");
    expect(found?.publicKey).toEqual(made.publicKey);
    expect(isValid(made, DATA, (await found?.sign(DATA, "der")) ?? Buffer.of(), "der")).toBe(true);
  });

  it("keeps a key whose id is too long for a CryptoKey under a name and labels of its own", async () => {
    const id = "12345678-1234-4123-8123-123456789012";
    await using keys = await open({ key_identifier_value: id });
    const made = await keys.generateKey("JWT-RS256-Signer-A", "rsa-2048");
    const [key] = all();
    expect(key?.name).toMatch(new RegExp(`/spire-key-${id}-h[0-9a-f]{15}$`));
    await using after = await open({ key_identifier_value: id });
    expect((await after.getKey("JWT-RS256-Signer-A"))?.publicKey).toEqual(made.publicKey);
    // Labels that name another key than the name does are believed by nobody.
    key!.labels["assay-key-id-0"] = Buffer.from("x509-CA-A").toString("hex");
    await using fooled = await open({ key_identifier_value: id });
    expect(await fooled.listKeys()).toEqual([]);
  });

  it("makes a version of the same CryptoKey in place of a key, and gives the old one up afterwards", async () => {
    await using keys = await open();
    await keys.generateKey("a", "ec-p256");
    await keys.generateKey("a", "ec-p384");
    const [key, second] = all();
    expect(second).toBeUndefined();
    expect(key?.versions.map(({ state, algorithm }) => [state, algorithm])).toEqual([
      ["DESTROY_SCHEDULED", "EC_SIGN_P256_SHA256"],
      ["ENABLED", "EC_SIGN_P384_SHA384"],
    ]);
    expect(
      service.requests.slice(-4).map(({ method, path }) => [method, path.split("/").at(-1)].join(" ")),
    ).toEqual(["PATCH spire-key-server-1-a", "POST cryptoKeyVersions", "GET publicKey", "POST 1:destroy"]);
  });

  it("deletes a key with all its versions and makes the next in the same CryptoKey", async () => {
    await using keys = await open();
    await keys.generateKey("a", "ec-p256");
    await keys.deleteKey("a");
    const [key] = all();
    expect(key?.labels["spire-active"]).toBe("false");
    expect(key?.versions.map(({ state }) => state)).toEqual(["DESTROY_SCHEDULED"]);
    await using between = await open();
    expect(await between.listKeys()).toEqual([]);
    await keys.generateKey("a", "ec-p256");
    await using after = await open();
    expect(await after.listKeys()).toHaveLength(1);
  });

  it.each([
    ["DESTROYED", false],
    ["DESTROY_SCHEDULED", false],
    [undefined, false],
    ["DISABLED", true],
  ])("gives a key up whose version turns %s at runtime: not so %s", async (state, stays) => {
    await using keys = await open();
    await keys.generateKey("a", "ec-p256");
    if (state === undefined) kms.keys.clear();
    else all()[0]!.versions[0]!.state = state;
    clock.step(300_000);
    expect(await keys.getKey("a")).toBeDefined();
    clock.step(60_000);
    expect((await keys.getKey("a")) !== undefined).toBe(stays);
  });

  it("refuses a CryptoKey of another trust domain, though the name is the same, and touches nothing of it", async () => {
    await using prod = await open({}, googleAuth, "prod.example");
    const key = await prod.generateKey("a", "ec-p256");
    const before = structuredClone(all()[0]?.labels);
    await using staging = await open({}, googleAuth, "staging.example");
    await expect(staging.generateKey("a", "ec-p256")).rejects.toThrowCode(
      "KEY_UNAVAILABLE",
      /spire-key-server-1-a belongs to another trust domain or server/,
    );
    await passed(61_000);
    expect(all()[0]?.labels).toMatchObject({ "spire-server-td": before?.["spire-server-td"] });
    expect(all()[0]?.versions.map(({ state }) => state)).toEqual(["ENABLED"]);
    expect(isValid(key, DATA, await key.sign(DATA, "der"), "der")).toBe(true);
  });

  it("lets the service account sign with a CryptoKey of its own that was left without a policy", async () => {
    await using keys = await open();
    let refusals = 1;
    service.fault = ({ path }) => {
      if (path.endsWith(":setIamPolicy") && refusals-- > 0) throw googleFailure(403, "PERMISSION_DENIED");
      return undefined;
    };
    await expect(keys.generateKey("a", "ec-p256")).rejects.toThrowCode("KEY_UNAVAILABLE");
    await keys.generateKey("a", "ec-p256");
    expect(all()[0]?.policy).toMatchObject({ bindings: [{ role: "roles/cloudkms.signerVerifier" }] });
    expect(log).toEqual([]);
  });

  it("waits for key material that takes time", async () => {
    kms.pending = 4;
    await using keys = await open();
    await whileTimePasses(keys.generateKey("a", "ec-p256"));
    expect(all()[0]?.versions[0]?.state).toBe("ENABLED");
  });

  it.each([
    ["never comes", () => Number.POSITIVE_INFINITY, "PENDING_GENERATION"],
    ["fails", () => 1, "GENERATION_FAILED"],
  ])("says so where key material %s", async (_, pending, state) => {
    kms.pending = pending();
    service.fault = ({ method, path }) => {
      if (state !== "PENDING_GENERATION" && method === "GET" && /Versions\/\d+$/.test(path)) {
        all()[0]!.versions[0]!.state = state;
      }
      return undefined;
    };
    await using keys = await open();
    const making = expect(keys.generateKey("a", "ec-p256")).rejects.toThrowCode("KEY_UNAVAILABLE", state);
    await whileTimePasses(making);
    expect(await keys.listKeys()).toEqual([]);
  });

  it.each([
    ["signature", { signatureCrc32c: "1" }, /the signature was corrupted/],
    ["signature", { signature: "" }, /the signature was corrupted/],
    ["signature", { verifiedDigestCrc32c: false }, /the digest was corrupted/],
    ["signature", { name: `${RING}/cryptoKeys/other/cryptoKeyVersions/1` }, /the key's name was corrupted/],
    ["pem", { pemCrc32c: "1" }, /a public key was corrupted/],
    ["pem", { pem: 7 }, /a public key was corrupted/],
  ])("refuses a %s that came with %j", async (member, change, reason) => {
    await using keys = await open();
    const key = await keys.generateKey("a", "ec-p256");
    kms.twist = (answer) => (member in answer ? { ...answer, ...change } : answer);
    const refused =
      member === "pem" ? keys.generateKey("b", "ec-p256") : (async () => key.sign(DATA, "der"))();
    await expect(refused).rejects.toThrowCode("KEY_UNAVAILABLE", reason);
  });

  it("gives a version up whose public key cannot be had", async () => {
    await using keys = await open();
    const old = await keys.generateKey("a", "ec-p256");
    kms.twist = (answer) => ({ ...answer, pemCrc32c: "1" });
    await expect(keys.generateKey("a", "ec-p256")).rejects.toThrowCode("KEY_UNAVAILABLE");
    kms.twist = (answer) => answer;
    expect(all()[0]?.versions.map(({ state }) => state)).toEqual(["ENABLED", "DESTROY_SCHEDULED"]);
    expect(isValid(old, DATA, await old.sign(DATA, "der"), "der")).toBe(true);
  });

  it("asks again what may be asked again, and says what went wrong at last, by Google's name for it", async () => {
    await using keys = await open();
    const key = await keys.generateKey("a", "ec-p256");
    let left = 2;
    service.fault = () => {
      if (left-- > 0) throw googleFailure(503, "UNAVAILABLE");
      return undefined;
    };
    expect(isValid(key, DATA, await whileTimePasses(key.sign(DATA, "der")), "der")).toBe(true);
    left = 99;
    const refused = expect((async () => key.sign(DATA, "der"))()).rejects.toThrowCode(
      "KEY_UNAVAILABLE",
      "cloudkms.cryptoKeyVersions.useToSign failed: UNAVAILABLE (status 503)",
    );
    await whileTimePasses(refused);
  });

  it("does not ask twice for a version where the first answer was lost", async () => {
    await using keys = await open();
    service.fault = ({ method, path }) => {
      if (method === "POST" && path.endsWith("/cryptoKeyVersions")) throw googleFailure(503, "UNAVAILABLE");
      return undefined;
    };
    await expect(keys.generateKey("a", "ec-p256")).rejects.toThrowCode("KEY_UNAVAILABLE");
    expect(service.requests.filter(({ path }) => path.endsWith("/cryptoKeyVersions"))).toHaveLength(1);
  });

  it.each([
    ["no JSON", { status: 200, text: "<html>" }],
    ["a list", { status: 200, text: "[]" }],
    ["five megabytes", { status: 200, text: `"${"x".repeat(5_000_000)}"` }],
    ["keys with names of nowhere", { status: 200, text: '{"cryptoKeys":[{"name":"../../x"}]}' }],
    ["a redirect", { status: 302, text: "" }],
  ])("refuses an answer of %s", async (_, answer) => {
    service.fault = () => answer;
    const opening = open();
    await using keys = await whileTimePasses(opening);
    const refused = expect(keys.listKeys()).rejects.toThrowCode("KEY_UNAVAILABLE");
    await whileTimePasses(refused);
  });

  it("ends where pages never do", async () => {
    service.fault = () => ({ status: 200, text: '{"nextPageToken":"more"}' });
    await using keys = await open();
    expect(log).toMatchObject([
      { fields: { error: expect.stringContaining("more than 1000 pages") as string } },
    ]);
    await keys[Symbol.asyncDispose]();
  });

  it("puts nothing of Google's message or the credentials into an error", async () => {
    service.fault = () => {
      throw googleFailure(403, "PERMISSION_DENIED", "SECRET");
    };
    await using keys = await open();
    await expect(keys.listKeys()).rejects.toThrowCode(
      "KEY_UNAVAILABLE",
      /^cloudkms.cryptoKeys.list failed: PERMISSION_DENIED \(status 403\)$/,
    );
    const auth: GoogleAuth = {
      ...googleAuth,
      getAccessToken: async () => {
        throw Object.assign(new Error("invalid_grant: SECRET"), { code: "400" });
      },
    };
    await using blind = await whileTimePasses(open({}, auth));
    const refused = expect(blind.listKeys()).rejects.toThrowCode(
      "KEY_UNAVAILABLE",
      /^cloudkms.cryptoKeys.list failed: no access token: 400$/,
    );
    await whileTimePasses(refused);
  });

  it("gives up a signature that is not answered, and calls under way when it is closed", async () => {
    const keys = await open();
    const key = await keys.generateKey("a", "ec-p256");
    service.fault = () => new Promise(() => undefined);
    const late = expect((async () => key.sign(DATA, "der"))()).rejects.toThrowCode(
      "KEY_UNAVAILABLE",
      "no answer within 5000 ms",
    );
    await whileTimePasses(late);
    const making = expect(keys.generateKey("b", "ec-p256")).rejects.toThrowCode(
      "KEY_UNAVAILABLE",
      "is closed",
    );
    await keys[Symbol.asyncDispose]();
    await making;
    expect(clock.pending).toBe(0);
  });

  it("leaves a policy alone that a key has, and warns", async () => {
    service.fault = ({ path }) =>
      path.endsWith(":getIamPolicy") ? { status: 200, text: '{"bindings":[{"role":"x"}]}' } : undefined;
    await using keys = await open();
    await keys.generateKey("a", "ec-p256");
    expect(service.requests.some(({ path }) => path.endsWith(":setIamPolicy"))).toBe(false);
    expect(log).toMatchObject([{ level: "warn" }]);
  });

  it("binds the operator's own policy, or none where the credentials have no name", async () => {
    const file = join(folder, "policy.json");
    const policy = { version: 3, bindings: [{ role: "roles/x", members: ["user:a@example.org"] }] };
    writeFileSync(file, JSON.stringify(policy));
    await using keys = await open({ key_policy_file: file });
    await keys.generateKey("a", "ec-p256");
    expect(all()[0]?.policy).toEqual(policy);
    await using nameless = await open({}, { ...googleAuth, getCredentials: async () => ({}) });
    await nameless.generateKey("b", "ec-p256");
    expect(all()[1]?.policy).toEqual({ etag: "ACAB" });
  });
});

describe("the care of gcpKmsKeyManager for keys", () => {
  it("sets the time of its keys anew every six hours, and gives up versions that were left enabled", async () => {
    await using keys = await open();
    await keys.generateKey("a", "ec-p256");
    service.fault = ({ path }) => {
      if (path.endsWith(":destroy")) throw googleFailure(403, "PERMISSION_DENIED");
      return undefined;
    };
    await keys.generateKey("a", "ec-p256");
    expect(log).toMatchObject([{ message: "a replaced key version could not be given up yet" }]);
    service.fault = undefined;
    const start = clock.now();
    await passed(61_000, () => all()[0]?.versions[0]?.state === "DESTROY_SCHEDULED");
    expect(all()[0]?.versions.map(({ state }) => state)).toEqual(["DESTROY_SCHEDULED", "ENABLED"]);
    expect(all()[0]?.labels["spire-last-update"]).toBe(String((start + 61_000) / 1000));
    await passed(6 * HOUR, () => Number(all()[0]?.labels["spire-last-update"]) > start / 1000 + 60);
  });

  it("gives up only versions that it saw replaced or listed, not those that another made", async () => {
    await using keys = await open();
    await keys.generateKey("a", "ec-p256");
    await using second = await open();
    await second.generateKey("a", "ec-p256");
    const others = all()[0]!.versions[1]!;
    await keys.generateKey("a", "ec-p256");
    await passed(7 * HOUR);
    expect(others.state).toBe("ENABLED");
    expect(log).toContainEqual(
      expect.objectContaining({
        level: "error",
        message: expect.stringContaining("a second server runs with this key identifier") as string,
      }),
    );
  });

  it("gives up older versions that it found enabled when it was started", async () => {
    await using before = await open();
    service.fault = ({ path }) => {
      if (path.endsWith(":destroy")) throw googleFailure(403, "PERMISSION_DENIED");
      return undefined;
    };
    await before.generateKey("a", "ec-p256");
    await before.generateKey("a", "ec-p256");
    await before[Symbol.asyncDispose]();
    service.fault = undefined;
    await using after = await open();
    await after.listKeys();
    await passed(61_000, () => all()[0]?.versions[0]?.state === "DESTROY_SCHEDULED");
    expect(all()[0]?.versions[1]?.state).toBe("ENABLED");
  });

  it("gives up keys of dead servers of the trust domain after two weeks, and no others", async () => {
    await using dead = await open({ key_identifier_value: "dead" });
    await dead.generateKey("a", "ec-p256");
    await dead[Symbol.asyncDispose]();
    await using stranger = await open({ key_identifier_value: "dead-too" }, googleAuth, "example.com");
    await stranger.generateKey("a", "ec-p256");
    await stranger[Symbol.asyncDispose]();
    await using keys = await open();
    await keys.generateKey("a", "ec-p256");
    const states = () => all().map(({ versions }) => versions[0]?.state);
    await passed(13 * DAY);
    expect(states()).toEqual(["ENABLED", "ENABLED", "ENABLED"]);
    await passed(12 * DAY, () => all()[0]?.labels["spire-active"] === "false");
    expect(states()).toEqual(["DESTROY_SCHEDULED", "ENABLED", "ENABLED"]);
  });

  it.each([20 * DAY, -20 * DAY, 2 * HOUR])(
    "gives nothing of others up where its clock is %d ms from Google's, and says so",
    async (shift) => {
      await using live = await open({ key_identifier_value: "live" });
      await live.generateKey("a", "ec-p256");
      await live[Symbol.asyncDispose]();
      if (shift < 0) all()[0]!.labels["spire-last-update"] = String((clock.now() + 2 * shift) / 1000);
      const now = clock.now();
      clock.step(shift);
      service.now = () => clock.now() - shift;
      expect(service.now()).toBe(now);
      await using keys = await open();
      await keys.generateKey("a", "ec-p256");
      await passed(5 * DAY);
      expect(all()[0]?.versions.map(({ state }) => state)).toEqual(["ENABLED"]);
      expect(log.map(({ fields }) => JSON.stringify(fields))).toContainEqual(
        expect.stringContaining("our clock is more than an hour away from Google's"),
      );
    },
  );

  it("leaves a server two days to come back after all were away", async () => {
    await using late = await open({ key_identifier_value: "late" });
    await late.generateKey("a", "ec-p256");
    await late[Symbol.asyncDispose]();
    clock.step(20 * DAY);
    await using first = await open();
    await first.listKeys();
    await passed(6 * HOUR);
    await using again = await open({ key_identifier_value: "late" });
    await again.listKeys();
    await passed(5 * DAY);
    expect(all()[0]?.versions.map(({ state }) => state)).toEqual(["ENABLED"]);
  });

  it.each([
    ["another trust domain", { "spire-server-td": "0".repeat(40) }],
    ["this server", { "spire-server-id": "server-1" }],
    ["a server that has given it up", { "spire-active": "false" }],
    ["a server that cared for it since", { "spire-last-update": "4000000000" }],
  ])("looks at the labels again before it gives up a key, and leaves one of %s alone", async (_, labels) => {
    await using dead = await open({ key_identifier_value: "dead" });
    await dead.generateKey("a", "ec-p256");
    await dead[Symbol.asyncDispose]();
    await using keys = await open();
    await keys.listKeys();
    service.fault = ({ path, method }) => {
      if (method === "GET" && path.endsWith("/cryptoKeys/spire-key-dead-a")) {
        Object.assign(all()[0]?.labels ?? {}, labels);
      }
      return undefined;
    };
    await passed(20 * DAY);
    expect(all()[0]?.versions.map(({ state }) => state)).toEqual(["ENABLED"]);
    expect(all()[0]?.labels).toMatchObject(labels);
  });

  it("is not led to give keys up by a clock that jumps ahead, nor by a filter that does not filter", async () => {
    await using other = await open({ key_identifier_value: "other" });
    await other.generateKey("a", "ec-p256");
    await other[Symbol.asyncDispose]();
    await using keys = await open();
    await keys.listKeys();
    const real = kms.handle;
    const { now } = service;
    clock.step(400 * DAY);
    service.now = () => now() - 400 * DAY;
    service.fault = (request) => {
      if (!(request.query.get("filter") ?? "").includes("<")) return undefined;
      const query = new URLSearchParams({ filter: "labels.spire-active = true" });
      return { status: 200, text: JSON.stringify(real({ ...request, query })) };
    };
    await passed(3 * HOUR);
    expect(all()[0]?.versions[0]?.state).toBe("ENABLED");
  });
});

describe("the settings of gcpKmsKeyManager", () => {
  const good = { key_ring: RING, key_identifier_value: "server-1" };

  it.each([
    ["no key ring", { key_identifier_value: "a" }],
    ["a key ring with a slash too many", { ...good, key_ring: `${RING}/` }],
    ["a key ring that climbs", { ...good, key_ring: "projects/../locations/x/keyRings/y" }],
    ["an identifier in capitals", { ...good, key_identifier_value: "A" }],
    ["an identifier that leaves no room", { ...good, key_identifier_value: "a".repeat(41) }],
    ["an unknown key", { ...good, key_metadata_file: "x" }],
  ])("refuse %s", async (_, settings) => {
    const { issues } = await gcpKmsKeyManager.config["~standard"].validate(settings);
    expect(issues).toBeDefined();
  });

  it.each(["http://kms.example.org", "https://kms.example.org/v1/x", "https://user@kms.example.org", "kms"])(
    "refuse the endpoint %s",
    async (endpoint) => {
      await expect((async () => open({ endpoint }))()).rejects.toThrowCode("CONFIG_INVALID", /endpoint/);
    },
  );

  it.each(["{}", "[]", "null", "x", '{"version":1,"bindings":[]}'])(
    "refuse the policy %s",
    async (content) => {
      const file = join(folder, "bad.json");
      writeFileSync(file, content);
      await expect(open({ key_policy_file: file })).rejects.toThrowCode("CONFIG_INVALID", /version 3/);
    },
  );

  it("say which package is missing and how to get it", async () => {
    const parsed = await gcpKmsKeyManager.config["~standard"].validate({ ...good, packages_folder: folder });
    if (parsed.issues !== undefined) throw new Error("refused");
    await expect((async () => gcpKmsKeyManager.create(parsed.value, host()))()).rejects.toThrowCode(
      "CONFIG_INVALID",
      /npm install google-auth-library/,
    );
  });
});

async function open(
  settings: Readonly<Record<string, unknown>> = {},
  auth: GoogleAuth = googleAuth,
  trustDomain = "example.org",
): Promise<KeyManager> {
  const parsed = await gcpKmsKeyManager.config["~standard"].validate({
    key_ring: RING,
    key_identifier_value: "server-1",
    endpoint: service.endpoint,
    ...settings,
  });
  if (parsed.issues !== undefined) throw new Error(JSON.stringify(parsed.issues));
  return openGcpKms(parsed.value, host(trustDomain), openGoogleService(parsed.value.endpoint, auth, clock));
}

function host(trustDomain = "example.org"): PluginHost {
  const note = (level: string) => (message: string, fields?: unknown) =>
    void log.push({ level, message, fields });
  return {
    trustDomain: parseTrustDomain(trustDomain),
    clock,
    log: { debug() {}, info() {}, warn: note("warn"), error: note("error") },
  };
}

function all(): FakeCryptoKey[] {
  return [...kms.keys.values()];
}

/** Lets the clock run while something waits for it and for a socket. */
async function whileTimePasses<Result>(work: Result | Promise<Result>): Promise<Result> {
  let over = false;
  const done = Promise.resolve(work).finally(() => {
    over = true;
  });
  done.catch(() => undefined);
  while (!over) {
    await clock.advance(50);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  return done;
}

/** Time passes in steps, each with room for answers over a socket, and then as long as it takes for `until`. */
async function passed(milliseconds: number, until?: () => boolean): Promise<void> {
  const step = Math.min(6 * HOUR, milliseconds);
  for (let gone = 0; gone < milliseconds; gone += step) {
    // What is due begins at the end of the step, or the deadlines of its calls would pass with it.
    clock.step(step);
    await clock.advance(0);
    for (let seen = -1; seen !== service.requests.length; ) {
      seen = service.requests.length;
      await new Promise((resolve) => setTimeout(resolve, 4));
    }
  }
  await expect.poll(until ?? (() => true), { timeout: 5000 }).toBe(true);
}
