import { createHash } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { isValid, keyManagerSuite } from "../../../test/contract/key-manager-suite.ts";
import { GcpKmsBench, RING } from "../../../test/fakes/gcp-kms-bench.ts";
import { googleAuth, googleFailure } from "../../../test/fakes/google-service.ts";
import type { GoogleAuth } from "../../cloud/google/google-auth.ts";

const folder = mkdtempSync(join(tmpdir(), "gcp-kms-"));
afterAll(() => rmSync(folder, { recursive: true }));
const DATA = Buffer.from("data");

let bench: GcpKmsBench;
beforeEach(async () => {
  bench = await GcpKmsBench.start();
});
afterEach(() => bench[Symbol.asyncDispose]());

let shared: GcpKmsBench;
beforeAll(async () => {
  shared = await GcpKmsBench.start();
});
afterAll(() => shared[Symbol.asyncDispose]());
keyManagerSuite("gcp_kms", (place) => shared.open({ key_identifier_value: place }), { durable: true });

describe("gcpKmsKeyManager", () => {
  it("names and labels keys as SPIRE does, and lets the service account sign", async () => {
    await using keys = await bench.open();
    await keys.generateKey("x509-CA-A", "ec-p256");
    const [key] = bench.keys;
    expect(key?.name).toBe(`${RING}/cryptoKeys/spire-key-server-1-x509-CA-A`);
    expect(key?.labels).toEqual({
      "spire-server-td": createHash("sha1").update("example.org").digest("hex"),
      "spire-server-id": "server-1",
      "spire-active": "true",
      "spire-last-update": String(bench.clock.now() / 1000),
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
    await using keys = await bench.open();
    for (const id of ["a", "b", "c"]) await keys.generateKey(id, "ec-p256");
    const made = await keys.generateKey("c", "ec-p384");
    await using other = await bench.open({ key_identifier_value: "server-10" });
    await other.generateKey("a", "ec-p256");
    for (const key of bench.keys) delete key.labels["spire-last-update"];
    await using after = await bench.open();
    expect((await after.listKeys()).map(({ id }) => id)).toEqual(["a", "b", "c"]);
    const found = await after.getKey("c");
    expect(found?.publicKey).toEqual(made.publicKey);
    expect(isValid(made, DATA, (await found?.sign(DATA, "der")) ?? Buffer.of(), "der")).toBe(true);
  });

  it("keeps a key whose id is too long for a CryptoKey under a name and labels of its own", async () => {
    const id = "12345678-1234-4123-8123-123456789012";
    await using keys = await bench.open({ key_identifier_value: id });
    const made = await keys.generateKey("JWT-RS256-Signer-A", "rsa-2048");
    const [key] = bench.keys;
    expect(key?.name).toMatch(new RegExp(`/spire-key-${id}-h[0-9a-f]{15}$`));
    await using after = await bench.open({ key_identifier_value: id });
    expect((await after.getKey("JWT-RS256-Signer-A"))?.publicKey).toEqual(made.publicKey);
    // Labels that name another key than the name does are believed by nobody.
    key!.labels["assay-key-id-0"] = Buffer.from("x509-CA-A").toString("hex");
    await using fooled = await bench.open({ key_identifier_value: id });
    expect(await fooled.listKeys()).toEqual([]);
  });

  it("makes a version of the same CryptoKey in place of a key, and gives the old one up afterwards", async () => {
    await using keys = await bench.open();
    await keys.generateKey("a", "ec-p256");
    await keys.generateKey("a", "ec-p384");
    const [key, second] = bench.keys;
    expect(second).toBeUndefined();
    expect(key?.versions.map(({ state, algorithm }) => [state, algorithm])).toEqual([
      ["DESTROY_SCHEDULED", "EC_SIGN_P256_SHA256"],
      ["ENABLED", "EC_SIGN_P384_SHA384"],
    ]);
    expect(
      bench.service.requests.slice(-4).map(({ method, path }) => [method, path.split("/").at(-1)].join(" ")),
    ).toEqual(["PATCH spire-key-server-1-a", "POST cryptoKeyVersions", "GET publicKey", "POST 1:destroy"]);
  });

  it("deletes a key with all its versions and makes the next in the same CryptoKey", async () => {
    await using keys = await bench.open();
    await keys.generateKey("a", "ec-p256");
    await keys.deleteKey("a");
    const [key] = bench.keys;
    expect(key?.labels["spire-active"]).toBe("false");
    expect(key?.versions.map(({ state }) => state)).toEqual(["DESTROY_SCHEDULED"]);
    await using between = await bench.open();
    expect(await between.listKeys()).toEqual([]);
    await keys.generateKey("a", "ec-p256");
    await using after = await bench.open();
    expect(await after.listKeys()).toHaveLength(1);
  });

  it.each([
    ["DESTROYED", false],
    ["DESTROY_SCHEDULED", false],
    [undefined, false],
    ["DISABLED", true],
  ])("gives a key up whose version turns %s at runtime: not so %s", async (state, stays) => {
    await using keys = await bench.open();
    await keys.generateKey("a", "ec-p256");
    if (state === undefined) bench.kms.keys.clear();
    else bench.keys[0]!.versions[0]!.state = state;
    bench.clock.step(300_000);
    expect(await keys.getKey("a")).toBeDefined();
    bench.clock.step(60_000);
    expect((await keys.getKey("a")) !== undefined).toBe(stays);
  });

  it("refuses a CryptoKey of another trust domain, though the name is the same, and touches nothing of it", async () => {
    await using prod = await bench.open({}, { trustDomain: "prod.example" });
    const key = await prod.generateKey("a", "ec-p256");
    const before = structuredClone(bench.keys[0]?.labels);
    await using staging = await bench.open({}, { trustDomain: "staging.example" });
    await expect(staging.generateKey("a", "ec-p256")).rejects.toThrowCode(
      "KEY_UNAVAILABLE",
      /spire-key-server-1-a belongs to another trust domain or server/,
    );
    await bench.passed(61_000);
    expect(bench.keys[0]?.labels).toMatchObject({ "spire-server-td": before?.["spire-server-td"] });
    expect(bench.keys[0]?.versions.map(({ state }) => state)).toEqual(["ENABLED"]);
    expect(isValid(key, DATA, await key.sign(DATA, "der"), "der")).toBe(true);
  });

  it("lets the service account sign with a CryptoKey of its own that was left without a policy", async () => {
    await using keys = await bench.open();
    let refusals = 1;
    bench.service.fault = ({ path }) => {
      if (path.endsWith(":setIamPolicy") && refusals-- > 0) throw googleFailure(403, "PERMISSION_DENIED");
      return undefined;
    };
    await expect(keys.generateKey("a", "ec-p256")).rejects.toThrowCode("KEY_UNAVAILABLE");
    await keys.generateKey("a", "ec-p256");
    expect(bench.keys[0]?.policy).toMatchObject({ bindings: [{ role: "roles/cloudkms.signerVerifier" }] });
    expect(bench.log).toEqual([]);
  });

  it("waits for key material that takes time", async () => {
    bench.kms.pending = 4;
    await using keys = await bench.open();
    await bench.whileTimePasses(keys.generateKey("a", "ec-p256"));
    expect(bench.keys[0]?.versions[0]?.state).toBe("ENABLED");
  });

  it.each([
    ["never comes", () => Number.POSITIVE_INFINITY, "PENDING_GENERATION"],
    ["fails", () => 1, "GENERATION_FAILED"],
  ])("says so where key material %s", async (_, pending, state) => {
    bench.kms.pending = pending();
    bench.service.fault = ({ method, path }) => {
      if (state !== "PENDING_GENERATION" && method === "GET" && /Versions\/\d+$/.test(path)) {
        bench.keys[0]!.versions[0]!.state = state;
      }
      return undefined;
    };
    await using keys = await bench.open();
    const making = expect(keys.generateKey("a", "ec-p256")).rejects.toThrowCode("KEY_UNAVAILABLE", state);
    await bench.whileTimePasses(making);
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
    await using keys = await bench.open();
    const key = await keys.generateKey("a", "ec-p256");
    bench.kms.twist = (answer) => (member in answer ? { ...answer, ...change } : answer);
    const refused =
      member === "pem" ? keys.generateKey("b", "ec-p256") : (async () => key.sign(DATA, "der"))();
    await expect(refused).rejects.toThrowCode("KEY_UNAVAILABLE", reason);
  });

  it("gives a version up whose public key cannot be had", async () => {
    await using keys = await bench.open();
    const old = await keys.generateKey("a", "ec-p256");
    bench.kms.twist = (answer) => ({ ...answer, pemCrc32c: "1" });
    await expect(keys.generateKey("a", "ec-p256")).rejects.toThrowCode("KEY_UNAVAILABLE");
    bench.kms.twist = (answer) => answer;
    expect(bench.keys[0]?.versions.map(({ state }) => state)).toEqual(["ENABLED", "DESTROY_SCHEDULED"]);
    expect(isValid(old, DATA, await old.sign(DATA, "der"), "der")).toBe(true);
  });

  it("asks again what may be asked again, and says what went wrong at last, by Google's name for it", async () => {
    await using keys = await bench.open();
    const key = await keys.generateKey("a", "ec-p256");
    let left = 2;
    bench.service.fault = () => {
      if (left-- > 0) throw googleFailure(503, "UNAVAILABLE");
      return undefined;
    };
    expect(isValid(key, DATA, await bench.whileTimePasses(key.sign(DATA, "der")), "der")).toBe(true);
    left = 99;
    const refused = expect((async () => key.sign(DATA, "der"))()).rejects.toThrowCode(
      "KEY_UNAVAILABLE",
      "cloudkms.cryptoKeyVersions.useToSign failed: UNAVAILABLE (status 503)",
    );
    await bench.whileTimePasses(refused);
  });

  it("does not ask twice for a version where the first answer was lost", async () => {
    await using keys = await bench.open();
    bench.service.fault = ({ method, path }) => {
      if (method === "POST" && path.endsWith("/cryptoKeyVersions")) throw googleFailure(503, "UNAVAILABLE");
      return undefined;
    };
    await expect(keys.generateKey("a", "ec-p256")).rejects.toThrowCode("KEY_UNAVAILABLE");
    expect(bench.service.requests.filter(({ path }) => path.endsWith("/cryptoKeyVersions"))).toHaveLength(1);
  });

  it.each([
    ["no JSON", { status: 200, text: "<html>" }],
    ["a list", { status: 200, text: "[]" }],
    ["five megabytes", { status: 200, text: `"${"x".repeat(5_000_000)}"` }],
    ["keys with names of nowhere", { status: 200, text: '{"cryptoKeys":[{"name":"../../x"}]}' }],
    ["a redirect", { status: 302, text: "" }],
  ])("refuses an answer of %s", async (_, answer) => {
    bench.service.fault = () => answer;
    const opening = bench.open();
    await using keys = await bench.whileTimePasses(opening);
    const refused = expect(keys.listKeys()).rejects.toThrowCode("KEY_UNAVAILABLE");
    await bench.whileTimePasses(refused);
  });

  it("ends where pages never do", async () => {
    bench.service.fault = () => ({ status: 200, text: '{"nextPageToken":"more"}' });
    await using keys = await bench.open();
    expect(bench.log).toMatchObject([
      { fields: { error: expect.stringContaining("more than 1000 pages") as string } },
    ]);
    await keys[Symbol.asyncDispose]();
  });

  it("puts nothing of Google's message or the credentials into an error", async () => {
    bench.service.fault = () => {
      throw googleFailure(403, "PERMISSION_DENIED", "SECRET");
    };
    await using keys = await bench.open();
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
    await using blind = await bench.whileTimePasses(bench.open({}, { auth }));
    const refused = expect(blind.listKeys()).rejects.toThrowCode(
      "KEY_UNAVAILABLE",
      /^cloudkms.cryptoKeys.list failed: no access token: 400$/,
    );
    await bench.whileTimePasses(refused);
  });

  it("gives up a signature that is not answered, and calls under way when it is closed", async () => {
    const keys = await bench.open();
    const key = await keys.generateKey("a", "ec-p256");
    bench.service.fault = () => new Promise(() => undefined);
    const late = expect((async () => key.sign(DATA, "der"))()).rejects.toThrowCode(
      "KEY_UNAVAILABLE",
      "no answer within 5000 ms",
    );
    await bench.whileTimePasses(late);
    const making = expect(keys.generateKey("b", "ec-p256")).rejects.toThrowCode(
      "KEY_UNAVAILABLE",
      "is closed",
    );
    await keys[Symbol.asyncDispose]();
    await making;
    expect(bench.clock.pending).toBe(0);
  });

  it("leaves a policy alone that a key has, and warns", async () => {
    bench.service.fault = ({ path }) =>
      path.endsWith(":getIamPolicy") ? { status: 200, text: '{"bindings":[{"role":"x"}]}' } : undefined;
    await using keys = await bench.open();
    await keys.generateKey("a", "ec-p256");
    expect(bench.service.requests.some(({ path }) => path.endsWith(":setIamPolicy"))).toBe(false);
    expect(bench.log).toMatchObject([{ level: "warn" }]);
  });

  it("binds the operator's own policy, or none where the credentials have no name", async () => {
    const file = join(folder, "policy.json");
    const policy = { version: 3, bindings: [{ role: "roles/x", members: ["user:a@example.org"] }] };
    writeFileSync(file, JSON.stringify(policy));
    await using keys = await bench.open({ key_policy_file: file });
    await keys.generateKey("a", "ec-p256");
    expect(bench.keys[0]?.policy).toEqual(policy);
    await using nameless = await bench.open(
      {},
      { auth: { ...googleAuth, getCredentials: async () => ({}) } },
    );
    await nameless.generateKey("b", "ec-p256");
    expect(bench.keys[1]?.policy).toEqual({ etag: "ACAB" });
  });
});
