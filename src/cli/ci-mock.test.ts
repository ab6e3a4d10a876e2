import { createPublicKey, generateKeyPairSync, verify } from "node:crypto";
import { chmod, mkdir, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { once } from "node:events";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { runCommand } from "../../test/fakes/cli.ts";
import { FakeClock } from "../../test/fakes/clock.ts";
import { judgeClaims } from "../attestation/task/oidc/judge-claims.ts";
import { PLATFORMS } from "../attestation/task/platforms/find-platform.ts";
import { openMockEndpoint } from "./ci-mock-endpoint.ts";
import { findMockPlace, makeMockKeys, MOCK_FOLDER, writeMockFacts } from "./ci-mock-place.ts";
import {
  demonstrationSelector,
  MOCK_PLATFORMS,
  mockIssuer,
  mockPlatform,
  presetOf,
} from "./ci-mock-platforms.ts";
import { beginMockRun } from "./ci-mock-tokens.ts";

const AUDIENCE = "https://assay.test";
const clock = new FakeClock();
const { privateKey: key, publicKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "mock-"));
});
afterEach(() => rm(folder, { recursive: true }));

function claimsOf(token: string): Record<string, unknown> {
  return JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString()) as Record<
    string,
    unknown
  >;
}

function tokenOf(name: string, changes: readonly string[] = []): string {
  return beginMockRun(mockPlatform(name), { key, keyId: "k" }, changes, clock).token(AUDIENCE);
}

describe("an imitated platform", () => {
  it("is one that jobs know", () => {
    expect(MOCK_PLATFORMS.map(({ name }) => name).toSorted()).toEqual(
      PLATFORMS.map(({ name }) => name).toSorted(),
    );
    expect(() => mockPlatform("travis")).toThrowCode("USAGE", /expected one of github/);
  });

  it.each(MOCK_PLATFORMS.map(({ name }) => name))(
    "%s gives each run a token and a name of its own",
    (name) => {
      const platform = mockPlatform(name);
      const preset = presetOf(platform);
      const judge = (token: string) =>
        judgeClaims({ preset, issuer: mockIssuer(platform), allow: new Map() }, claimsOf(token));
      const one = tokenOf(name);
      const first = judge(one);
      expect(first.guarded).toEqual([]);
      expect(first.selectors.map(({ type, value }) => `${type}:${value}`)).toContain(
        demonstrationSelector(platform),
      );
      expect(judge(tokenOf(name)).taskKey).not.toBe(first.taskKey);
      for (const [, claim = ""] of platform.template.matchAll(/\{(\w+)\}/g)) {
        expect(first.claims[claim], claim).toMatch(/^[A-Za-z0-9._-]+$/);
      }
      const { iss, aud, iat, exp } = claimsOf(one);
      expect({ iss, aud, iat }).toEqual({
        iss: `https://${name}.ci-mock.invalid`,
        aud: preset.fixedAudience?.(mockIssuer(platform)) ?? AUDIENCE,
        iat: clock.now() / 1000,
      });
      expect(Number(exp) - Number(iat)).toBeLessThanOrEqual(preset.maxTokenLifetime);
    },
  );

  it("signs by RS256 with its own key", () => {
    const [header = "", payload = "", signature = ""] = tokenOf("github").split(".");
    expect(JSON.parse(Buffer.from(header, "base64url").toString())).toEqual({
      alg: "RS256",
      kid: "k",
      typ: "JWT",
    });
    const input = Buffer.from(`${header}.${payload}`);
    expect(verify("sha256", input, publicKey, Buffer.from(signature, "base64url"))).toBe(true);
  });

  it("has its claims changed in the form that they have, or taken out", () => {
    const { run_id, ref, extra, event_name, iat } = claimsOf(
      tokenOf("github", ["run_id=7", "ref=refs/heads/a=b", "extra=[1]", "event_name", "iat=5"]),
    );
    expect({ run_id, ref, extra, event_name, iat }).toEqual({
      run_id: "7",
      ref: "refs/heads/a=b",
      extra: [1],
      event_name: undefined,
      iat: 5,
    });
    expect(() => tokenOf("github", ["=x"])).toThrowCode("USAGE", /--claim/);
  });
});

describe("the imitated endpoint", () => {
  it("answers as the platforms' do, to the bearer alone", async () => {
    await using endpoint = await openMockEndpoint((audience) => `for ${audience}`);
    const ask = (path: string, method = "GET", bearer = endpoint.secret) =>
      fetch(`${endpoint.url}${path}`, { method, headers: { authorization: `Bearer ${bearer}` } });
    expect(await (await ask("/actions?audience=x")).json()).toEqual({ count: 5, value: "for x" });
    expect(await (await ask("/azure?api-version=7.1", "POST")).json()).toMatchObject({
      oidcToken: expect.stringMatching(/^for /) as string,
    });
    expect(await (await ask("/token?audience=y")).text()).toBe("for y");
    expect((await ask("/actions", "GET", "other")).status).toBe(401);
    expect((await ask("/azure")).status).toBe(404);
    expect((await ask("/")).status).toBe(404);
  });
});

describe("the key of imitations", () => {
  async function running() {
    const adminSocket = join(folder, "admin.sock");
    const server = createServer().listen(adminSocket);
    await once(server, "listening");
    await makeMockKeys(folder);
    await writeMockFacts(folder, { server: AUDIENCE, trustBundle: "/b", adminSocket });
    return { [Symbol.dispose]: () => void server.close() };
  }

  it("is made once, for this user alone, and found while the server runs", async () => {
    using _dev = await running();
    const file = join(folder, MOCK_FOLDER, "key.der");
    expect((await stat(join(folder, MOCK_FOLDER))).mode & 0o777).toBe(0o700);
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    const before = await readFile(file);
    const keysFile = await makeMockKeys(folder);
    expect(await readFile(file)).toEqual(before);
    const place = await findMockPlace(folder);
    expect(place).toMatchObject({ server: AUDIENCE, trustBundle: "/b" });
    const { keys } = JSON.parse(await readFile(keysFile, "utf8")) as { keys: [{ kid: string; n: string }] };
    expect(keys[0].kid).toBe(place.keyId);
    expect(keys[0]).not.toHaveProperty("d");
    expect(createPublicKey(place.key).export({ format: "jwk" })["n"]).toBe(keys[0].n);
  });

  it("is not used once the server has ended", async () => {
    {
      using _dev = await running();
    }
    await expect(findMockPlace(folder)).rejects.toThrowCode("NOT_FOUND", /no assay dev runs in/);
    const { code, stderr } = await runCommand(["ci-mock", "--dev", folder, "github", "--", "true"]);
    expect({ code, stderr }).toEqual({
      code: 1,
      stderr: `assay: no assay dev runs in ${folder}: only its server believes an imitation\n`,
    });
  });

  it("is not used where others could have read or made it", async () => {
    using _dev = await running();
    await chmod(join(folder, MOCK_FOLDER), 0o755);
    await expect(findMockPlace(folder)).rejects.toThrowCode("NOT_FOUND");
    await expect(makeMockKeys(folder)).rejects.toThrowCode("FILE_UNAVAILABLE", /0700/);
  });

  it("is not taken from a folder that merely looks like it", async () => {
    await mkdir(join(folder, MOCK_FOLDER), { mode: 0o700 });
    await writeFile(join(folder, MOCK_FOLDER, "dev.json"), "{}");
    await expect(findMockPlace(folder)).rejects.toThrowCode("NOT_FOUND");
  });
});
