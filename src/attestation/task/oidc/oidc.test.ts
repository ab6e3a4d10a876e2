import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, describe, expect, it } from "vitest";
import { CI_AUDIENCE, CI_PLATFORMS, ciClaims, CiIssuer, jwksOf } from "../../../../test/fakes/ci-tokens.ts";
import { FakeClock } from "../../../../test/fakes/clock.ts";
import { makeCa, makeCredential, RemoteServer } from "../../../../test/fakes/remote-server.ts";
import { unixSeconds } from "../../../clock.ts";
import { silentLog } from "../../../observe/log.ts";
import type { TaskAttestor } from "../../../plugin/task-attestor.ts";
import { parseTrustDomain } from "../../../spiffe/trust-domain.ts";
import { oidc } from "./oidc.ts";
import { PRESETS } from "./presets/all.ts";

const never = new AbortController().signal;
const CA = makeCa("the web's");
const CREDENTIAL = makeCredential(CA, { dnsNames: ["localhost"] });
const folder = mkdtempSync(join(tmpdir(), "assay-oidc-"));
const caFile = join(folder, "ca.pem");
writeFileSync(caFile, CA.pem);
const ci = new CiIssuer("rsa-2048");
const clock = new FakeClock();
const open: AsyncDisposable[] = [];
afterEach(async () => {
  for (const one of open.splice(0).toReversed()) await one[Symbol.asyncDispose]();
});
afterAll(() => rmSync(folder, { recursive: true }));

describe("a job of each platform", () => {
  it.each(CI_PLATFORMS)("of %s is attested with keys from a file", async (platform) => {
    const jwksFile = join(folder, `${platform}.json`);
    writeFileSync(jwksFile, jwksOf(ci.jwk()));
    const claims = ciClaims(platform, {}, now());
    const { allow } = tenantOf(platform, claims);
    const one = await attestor({ preset: platform, issuer: claims["iss"], allow, jwks_file: jwksFile });
    const token = ci.token(claims);
    expect(one.recognises?.(token)).toBe(true);
    const attestation = await one.attest({ token }, never);
    expect(attestation).toMatchObject({ platform, issuer: claims["iss"], guarded: [] });
    expect(attestation.replayUntil).toBeGreaterThan(now() + 300 + 30);
    const { replayKey: _key, ...rest } = attestation;
    expect(one.judge?.(claims)).toMatchObject(rest);
  });
});

describe("an issuer that is asked", () => {
  it("is found by its discovery document, over TLS by the operator's authority", async () => {
    const server = await issuerServer();
    const one = await attestor(remote(server));
    await one.attest({ token: good(server) }, never);
    await one.attest({ token: good(server, { iat: now() - 1 }) }, never);
    expect(server.requests).toEqual(["GET /gl/.well-known/openid-configuration", "GET /gl/jwks"]);
    expect(server.headers.authorization).toBeUndefined();
  });

  it("may have its keys at a URL that the operator knows", async () => {
    const server = await issuerServer();
    const one = await attestor({ ...remote(server), jwks_url: `https://localhost:${server.port}/gl/jwks` });
    await one.attest({ token: good(server) }, never);
    expect(server.requests).toEqual(["GET /gl/jwks"]);
  });

  it("is not asked for tokens that are refused anyway, and no more than once a minute for a kid", async () => {
    const server = await issuerServer();
    const one = await attestor(remote(server));
    for (const change of [
      { iss: "https://evil.example" },
      { aud: "x" },
      { exp: now() - 100, iat: now() - 200 },
    ]) {
      await expect(one.attest({ token: good(server, change) }, never)).rejects.toThrowCode(
        "ATTESTATION_FAILED",
      );
    }
    expect(server.requests).toEqual([]);
    const claims = claimsOf(server);
    for (let n = 0; n < 20; n++) {
      const token = ci.token(claims, { kid: `k${n}`, jku: undefined });
      await expect(one.attest({ token }, never)).rejects.toThrowCode("ATTESTATION_FAILED", /kid/);
    }
    expect(server.requests).toHaveLength(2);
  });

  it.each<[string, (request: IncomingMessage, response: ServerResponse, port: number) => void, RegExp]>([
    [
      "redirects",
      (_, response) => void response.writeHead(302, { location: "https://localhost/" }).end(),
      /redirects/,
    ],
    ["has no discovery document", (_, response) => void response.writeHead(404).end(), /status 404/],
    ["answers with a page", (_, response) => void response.end("<html>"), /is not JSON/],
    [
      "is another",
      (_, response, port) =>
        void response.end(
          JSON.stringify({ issuer: `https://localhost:${port}/GL`, jwks_uri: "https://localhost/" }),
        ),
      /another issuer/,
    ],
    [
      "is another by a slash",
      (_, response, port) =>
        void response.end(
          JSON.stringify({ issuer: `https://localhost:${port}/gl/`, jwks_uri: "https://localhost/" }),
        ),
      /another issuer/,
    ],
    ["says its name twice", (_, response) => void response.end('{"issuer":"a","issuer":"b"}'), /twice/],
    [
      "names no keys",
      (_, response, port) => void response.end(JSON.stringify({ issuer: `https://localhost:${port}/gl` })),
      /no jwks_uri/,
    ],
    [
      "has its keys without TLS",
      (_, response, port) =>
        void response.end(
          JSON.stringify({ issuer: `https://localhost:${port}/gl`, jwks_uri: "http://localhost/" }),
        ),
      /https scheme/,
    ],
    [
      "has its keys at a private address",
      (_, response, port) =>
        void response.end(
          JSON.stringify({ issuer: `https://localhost:${port}/gl`, jwks_uri: "https://169.254.169.254/" }),
        ),
      /not a public address/,
    ],
    ["answers without end", (_, response) => void response.write(Buffer.alloc(70_000)), /65536/],
    [
      "has no usable key",
      (request, response, port) =>
        void response.end(request.url === "/gl/jwks" ? '{"keys":[]}' : document(port)),
      /no key/,
    ],
    [
      "has far too many keys",
      (request, response, port) =>
        void (request.url === "/gl/jwks"
          ? response.write(Buffer.alloc(600_000, " "))
          : response.end(document(port))),
      /524288/,
    ],
  ])("is no issuer where it %s", async (_what, answer, detail) => {
    const server = await issuerServer();
    server.answer = (request, response) => answer(request, response, server.port);
    const one = await attestor(remote(server));
    await expect(one.attest({ token: good(server) }, never)).rejects.toThrowCode(
      "REMOTE_UNAVAILABLE",
      detail,
    );
  });

  it("is waited for no longer than its time", async () => {
    const server = await issuerServer();
    const arrived = Promise.withResolvers<void>();
    server.answer = () => arrived.resolve();
    const one = await attestor(remote(server));
    const waiting = one.attest({ token: good(server) }, never);
    await arrived.promise;
    await Promise.all([
      expect(waiting).rejects.toThrowCode("REMOTE_UNAVAILABLE", /no answer within 4000 ms/),
      clock.advance(4000),
    ]);
  });

  it("is not asked at an address of a private network unless the operator says so", async () => {
    const server = await issuerServer();
    const one = await attestor({ ...remote(server), allowed_addresses: [] });
    await expect(one.attest({ token: good(server) }, never)).rejects.toThrowCode(
      "REMOTE_UNAVAILABLE",
      /public address/,
    );
    expect(server.connections).toBe(0);
  });

  it("is not believed by a certificate of an authority that nobody named", async () => {
    const server = await issuerServer();
    const { ca_file: _file, ...rest } = remote(server);
    const one = await attestor(rest);
    await expect(one.attest({ token: good(server) }, never)).rejects.toThrowCode("REMOTE_UNAVAILABLE");
    expect(server.received).toBe(0);
  });
});

describe("an attestor", () => {
  it("recognises the tokens of its issuer and nothing else", async () => {
    const one = await fileAttestor();
    expect(one.recognises?.(ci.token(ciClaims("gitlab", { iss: ISSUER })))).toBe(true);
    for (const token of ["", "a.b.c", ci.token(ciClaims("gitlab")), ci.token({ iss: `${ISSUER}/` })]) {
      expect(one.recognises?.(token)).toBe(false);
    }
  });

  it("names the end that the platform has set, where it says so", async () => {
    const one = await fileAttestor();
    const endsBy = async (life: number) =>
      (await one.attest({ token: ci.token(gitlab({ exp: now() + life })) }, never)).endsBy;
    expect(await endsBy(1800)).toBe(now() + 1800);
    // 5 minutes is what a job without a timeout gets.
    expect(await endsBy(300)).toBeUndefined();
  });

  it("heeds the operator's age and lifetime", async () => {
    const one = await fileAttestor({ max_token_age: "2m", max_token_lifetime: "10m" });
    await expect(one.attest({ token: ci.token(gitlab({ iat: now() - 151 })) }, never)).rejects.toThrowCode(
      "ATTESTATION_FAILED",
      /older than 120/,
    );
    await expect(one.attest({ token: ci.token(gitlab({ exp: now() + 601 })) }, never)).rejects.toThrowCode(
      "ATTESTATION_FAILED",
      /longer than 600/,
    );
  });

  it("judges claims without a signature, and refuses those that are from or for others", async () => {
    const one = await fileAttestor();
    expect(one.judge?.(gitlab({ iat: 1, exp: 2 }))).toMatchObject({
      platform: "gitlab",
      replayKey: "judged",
    });
    expect(() => one.judge?.(gitlab({ iss: "https://gitlab.com" }))).toThrowCode("ATTESTATION_FAILED", /iss/);
    expect(() => one.judge?.(gitlab({ aud: "x" }))).toThrowCode("ATTESTATION_FAILED", /aud/);
    expect(() => one.judge?.(gitlab({ job_id: null }))).toThrowCode("ATTESTATION_FAILED", /job_id/);
  });

  it("never says any part of a token in its refusals", async () => {
    const one = await fileAttestor();
    for (const change of [
      { aud: "marker-1" },
      { project_id: ["marker-1"] },
      { ref_protected: "marker-1" },
      { jti: ["marker-1"] },
    ]) {
      const error: unknown = await one
        .attest({ token: ci.token(gitlab(change)) }, never)
        .catch((e: unknown) => e);
      expect(String((error as Error).message)).not.toContain("marker-1");
    }
  });

  it.each<[string, Record<string, unknown>, RegExp]>([
    ["a file of keys that is not there", { jwks_file: join(folder, "none.json") }, /cannot read/],
    ["a file of keys that holds none", { jwks_file: caFile }, /is not JSON/],
    ["authorities that are not there", { ca_file: join(folder, "none.pem") }, /cannot read/],
    [
      "a secret for messages that are not understood",
      { preset: "jenkins", webhook_secret_file: caFile },
      /not understood/,
    ],
  ])("is not made with %s", async (_what, given, detail) => {
    await expect(attestor({ preset: "gitlab", issuer: ISSUER, ...given })).rejects.toThrowCode(
      "CONFIG_INVALID",
      detail,
    );
  });
});

const ISSUER = "https://gitlab.example.com";

function now(): number {
  return unixSeconds(clock);
}

async function attestor(given: Readonly<Record<string, unknown>>): Promise<TaskAttestor> {
  const result = await oidc.config["~standard"].validate(given);
  if (result.issues !== undefined) throw new Error(JSON.stringify(result.issues));
  const made = await oidc.create(result.value, {
    trustDomain: parseTrustDomain("example.org"),
    clock,
    log: silentLog,
    instance: "test",
    audience: CI_AUDIENCE,
  });
  open.push(made);
  return made;
}

function fileAttestor(given: Readonly<Record<string, unknown>> = {}): Promise<TaskAttestor> {
  const jwksFile = join(folder, "keys.json");
  writeFileSync(jwksFile, jwksOf(ci.jwk()));
  return attestor({ preset: "gitlab", issuer: ISSUER, jwks_file: jwksFile, ...given });
}

function gitlab(changes: Readonly<Record<string, unknown>> = {}): Record<string, unknown> {
  return ciClaims("gitlab", { iss: ISSUER, ...changes }, now());
}

async function issuerServer(): Promise<RemoteServer> {
  const server = await RemoteServer.start(CREDENTIAL, "");
  server.answer = (request, response) =>
    void response.end(request.url === "/gl/jwks" ? jwksOf(ci.jwk()) : document(server.port));
  open.push(server);
  return server;
}

function document(port: number): string {
  return JSON.stringify({
    issuer: `https://localhost:${port}/gl`,
    jwks_uri: `https://localhost:${port}/gl/jwks`,
  });
}

function remote(server: RemoteServer): Record<string, unknown> {
  return {
    preset: "gitlab",
    issuer: `https://localhost:${server.port}/gl`,
    ca_file: caFile,
    allowed_addresses: ["127.0.0.0/8"],
  };
}

function claimsOf(server: RemoteServer, changes: Readonly<Record<string, unknown>> = {}) {
  return gitlab({ iss: `https://localhost:${server.port}/gl`, ...changes });
}

function good(server: RemoteServer, changes: Readonly<Record<string, unknown>> = {}): string {
  return ci.token(claimsOf(server, changes));
}

/** The condition that binds the platform's first immutable id to that of these claims. */
function tenantOf(platform: string, claims: Readonly<Record<string, unknown>>) {
  const preset = PRESETS.get(platform);
  const [tenant] = preset?.tenantIds ?? [];
  const rule = preset?.claims.find(({ name }) => name === tenant);
  if (tenant === undefined || typeof rule?.claim !== "string") return { allow: {} };
  return { allow: { [tenant]: [claims[rule.claim]] } };
}
