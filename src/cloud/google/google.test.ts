import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeEach, describe, expect, it } from "vitest";
import { FakeClock } from "../../../test/fakes/clock.ts";
import { GoogleService, googleAuth, googleFailure } from "../../../test/fakes/google-service.ts";
import { AssayError } from "../../errors/assay-error.ts";
import { crc32c } from "./crc32c.ts";
import { loadGoogleAuth } from "./google-auth.ts";
import { type GoogleClient, openGoogleService } from "./google-client.ts";
import { GoogleError, googleError, reasonOf } from "./google-error.ts";

describe("crc32c", () => {
  // RFC 3720 §B.4, and the check value of every catalogue.
  it.each([
    ["00".repeat(32), 0x8a9136aa],
    ["ff".repeat(32), 0x62a8ab43],
    [Buffer.from(Array.from({ length: 32 }, (_, n) => n)).toString("hex"), 0x46dd794e],
    [Buffer.from("123456789").toString("hex"), 0xe3069283],
    ["", 0],
  ])("gives the known sum of %s", (hex, sum) => {
    expect(crc32c(Buffer.from(hex, "hex"))).toBe(sum);
  });
});

describe("openGoogleService", () => {
  let clock: FakeClock;
  let service: GoogleService;
  let client: GoogleClient;
  const signal = new AbortController().signal;
  beforeEach(async () => {
    clock = new FakeClock();
    service = await GoogleService.start(({ path, query, body }) => ({ path, query: [...query], body }));
    client = openGoogleService(service.endpoint, googleAuth, clock);
  });
  afterEach(async () => {
    client[Symbol.dispose]();
    await service[Symbol.asyncDispose]();
  });

  it("asks with a token, a query that is escaped and a body", async () => {
    const query = { filter: "a = b&c AND d" };
    const body = { x: ["é"] };
    const call = { method: "POST", path: "projects/p:verb", query, body, timeout: 1000, signal } as const;
    expect(await client.ask(call)).toEqual({
      path: "projects/p:verb",
      query: [["filter", query.filter]],
      body,
    });
  });

  it.each([
    [{ status: 200, text: "null" }, "the answer is no JSON object"],
    [{ status: 404, text: "<html>" }, "it was refused (status 404)"],
    [{ status: 403, text: '{"error":{"status":"a b"}}' }, "it was refused (status 403)"],
    [
      { status: 403, text: '{"error":{"status":"PERMISSION_DENIED","message":"SECRET"}}' },
      "PERMISSION_DENIED (status 403)",
    ],
  ])("says what is wrong with %j", async (answer, message) => {
    service.fault = () => answer;
    const call = { method: "POST", path: "x", timeout: 1000, signal } as const;
    const error = await client.ask(call).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(GoogleError);
    expect((error as Error).message).toBe(message);
  });

  it("asks a second and a third time only where that does no harm", async () => {
    service.fault = () => {
      throw googleFailure(500, "INTERNAL");
    };
    const post = { method: "POST", path: "x", timeout: 1000, signal } as const;
    await expect(client.ask(post)).rejects.toThrow("INTERNAL");
    expect(service.requests).toHaveLength(1);
    const again = expect(client.ask({ ...post, repeatable: true })).rejects.toThrow("INTERNAL");
    await expect.poll(() => service.requests.length).toBe(2);
    for (const count of [3, 4]) {
      await expect.poll(() => clock.pending).toBe(2);
      await clock.advance(400);
      await expect.poll(() => service.requests.length).toBe(count);
    }
    await again;
    service.fault = () => {
      throw googleFailure(400, "INVALID_ARGUMENT");
    };
    await expect(client.ask({ ...post, method: "GET" })).rejects.toThrow("INVALID_ARGUMENT");
    expect(service.requests).toHaveLength(5);
  });
});

describe("googleError", () => {
  it("names the permission and the reason, and no more", () => {
    const said = (error: unknown) => googleError("KEY_UNAVAILABLE", "cloudkms.x", error).detail;
    expect(said(new GoogleError(429, "RESOURCE_EXHAUSTED"))).toBe(
      "cloudkms.x failed: RESOURCE_EXHAUSTED (status 429)",
    );
    expect(said(new AssayError("INTERNAL", "this"))).toBe("cloudkms.x failed: this");
    expect(said(new Error("SECRET"))).toBe("cloudkms.x failed: Error");
    expect(said("SECRET")).toBe("cloudkms.x failed: unknown reason");
  });

  it("knows what Node and the library of credentials throw", () => {
    expect(reasonOf(new Error("Could not load the default credentials. Browse to SECRET"))).toBe(
      "there are no default credentials",
    );
    expect(reasonOf(Object.assign(new Error("SECRET"), { code: "ECONNREFUSED" }))).toBe("ECONNREFUSED");
    expect(reasonOf(Object.assign(new Error("SECRET"), { code: "not a name" }))).toBe("Error");
  });
});

describe("loadGoogleAuth", () => {
  const folder = mkdtempSync(join(tmpdir(), "google-auth-"));
  afterAll(() => rmSync(folder, { recursive: true }));
  const library = join(folder, "node_modules", "google-auth-library");
  mkdirSync(library, { recursive: true });
  writeFileSync(join(library, "package.json"), '{"name":"google-auth-library","main":"index.cjs"}');
  writeFileSync(
    join(library, "index.cjs"),
    `exports.GoogleAuth = class {
      constructor(options) { this.options = options; }
      async getAccessToken() { return JSON.stringify(this.options); }
      async getCredentials() { return {}; }
    };
    exports.JWT = class {
      constructor(options) { this.options = options; }
      async getAccessToken() { return { token: JSON.stringify(this.options) }; }
    };`,
  );
  const scopes = ["https://www.googleapis.com/auth/cloud-platform"];

  it("takes the default credentials unless told", async () => {
    const auth = await loadGoogleAuth(undefined, folder);
    expect(JSON.parse((await auth.getAccessToken()) ?? "")).toEqual({ scopes });
  });

  it("takes the key of a service account, and nothing else of its file", async () => {
    const file = join(folder, "account.json");
    const account = {
      type: "service_account",
      client_email: "a@b",
      private_key: "k",
      token_uri: "http://evil",
    };
    writeFileSync(file, JSON.stringify(account), { mode: 0o600 });
    const auth = await loadGoogleAuth(file, folder);
    expect(JSON.parse((await auth.getAccessToken()) ?? "")).toEqual({ email: "a@b", key: "k", scopes });
    expect(await auth.getCredentials()).toEqual({ client_email: "a@b" });
  });

  it.each([
    "",
    "null",
    "{}",
    '{"type":"external_account","token_url":"http://evil"}',
    '{"type":"service_account","client_email":"a@b"}',
  ])("refuses a file of %j", async (content) => {
    const file = join(folder, "bad.json");
    writeFileSync(file, content, { mode: 0o600 });
    await expect(loadGoogleAuth(file, folder)).rejects.toThrowCode(
      "CONFIG_INVALID",
      /key of a service account/,
    );
  });

  it("says that the library or the file is absent", async () => {
    await expect(loadGoogleAuth(undefined, tmpdir())).rejects.toThrowCode(
      "CONFIG_INVALID",
      /npm install google-auth-library/,
    );
    await expect(loadGoogleAuth(join(folder, "absent"), folder)).rejects.toThrowCode(
      "CONFIG_INVALID",
      /absent/,
    );
  });
});
