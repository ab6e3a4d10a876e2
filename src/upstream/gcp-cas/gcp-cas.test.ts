import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeEach, describe, expect, it } from "vitest";
import { FakeClock } from "../../../test/fakes/clock.ts";
import { makeCaOrder, makeCloudCa } from "../../../test/fakes/cloud-ca.ts";
import { FakeGoogleCas } from "../../../test/fakes/google-cas.ts";
import { GoogleService, googleAuth, googleFailure } from "../../../test/fakes/google-service.ts";
import { acceptedConfig, recordingHost } from "../../../test/fakes/plugin-host.ts";
import { unixSeconds } from "../../clock.ts";
import { openGoogleService } from "../../cloud/google/google-client.ts";
import type { UpstreamAuthority, UpstreamX509Ca } from "../../plugin/upstream-authority.ts";
import { checkUpstreamCa } from "../../signing/upstream/check-answer.ts";
import { parseTrustDomain } from "../../spiffe/trust-domain.ts";
import { gcpCasUpstream, openGcpCas } from "./gcp-cas.ts";

const folder = mkdtempSync(join(tmpdir(), "gcp-cas-"));
afterAll(() => rmSync(folder, { recursive: true }));
const POOL = "projects/assay/locations/europe-west3/caPools/identity";
const SPEC = {
  project_name: "assay",
  region_name: "europe-west3",
  ca_pool: "identity",
  label_key: "spiffe-root",
  label_value: "true",
};
const never = new AbortController().signal;

let clock: FakeClock;
let cas: FakeGoogleCas;
let service: GoogleService;

beforeEach(async () => {
  clock = new FakeClock();
  cas = new FakeGoogleCas(clock);
  service = await GoogleService.start(cas.handle);
});
afterEach(() => service[Symbol.asyncDispose]());

describe("gcpCasUpstream", () => {
  it("has the authority sign that expires first, and trusts the roots of all", async () => {
    const late = cas.add(POOL, "late", { lifetime: "9000s" });
    const first = cas.add(POOL, "first", { lifetime: "4000s" });
    cas.add(POOL, "off", { lifetime: "100s", state: "DISABLED" });
    cas.add(POOL, "unlabelled", { lifetime: "100s", labels: {} });
    cas.add(POOL, "similar", { lifetime: "100s", labels: { "spiffe-root": "true-not" } });
    await using upstream = await open();
    const { csr, key } = await makeCaOrder();
    const answer = await upstream.mintX509Ca({ csr, ttl: 600, signal: never });
    expect(answer.roots.map(({ certificate }) => certificate)).toEqual([first.root.der, late.root.der]);
    expect(answer.chain).toHaveLength(2);
    expect(
      checkUpstreamCa(answer, {
        trustDomain: parseTrustDomain("example.org"),
        publicKey: key.spki,
        now: unixSeconds(clock),
      }),
    ).toBeDefined();
    const { query, body } = service.requests.at(-1)!;
    expect(query.get("issuingCertificateAuthorityId")).toBe("first");
    expect(query.get("requestId")).toBe("request-1");
    expect(query.get("certificateId")).toMatch(/^[A-Za-z0-9_-]{43}$/);
    expect(body).toMatchObject({
      lifetime: "600s",
      config: {
        subjectConfig: {
          subject: { organization: "Assay" },
          subjectAltName: { uris: ["spiffe://example.org"] },
        },
        x509Config: {
          caOptions: { isCa: true, maxIssuerPathLength: 0 },
          keyUsage: { baseKeyUsage: { certSign: true, crlSign: true } },
        },
      },
    });
  });

  it("names each order anew, so that the same key can be certified again", async () => {
    cas.add(POOL, "one");
    let requests = 0;
    await using upstream = await open(SPEC, () => `request-${requests++}`);
    const { csr } = await makeCaOrder();
    await upstream.mintX509Ca({ csr, ttl: 600, signal: never });
    await upstream.mintX509Ca({ csr, ttl: 600, signal: never });
    expect(cas.made.size).toBe(2);
  });

  it("sends an order again whose answer was lost, and gets what was made the first time", async () => {
    cas.add(POOL, "one");
    let lost = 1;
    service.fault = (request) => {
      if (request.method !== "POST" || lost-- <= 0) return undefined;
      cas.handle(request);
      throw googleFailure(503, "UNAVAILABLE");
    };
    await using upstream = await open();
    const minting = mint(upstream);
    await expect.poll(() => service.requests.length).toBe(2);
    await expect.poll(() => clock.pending).toBe(2);
    await clock.advance(100);
    expect((await minting).chain).toHaveLength(2);
    expect(cas.made.size).toBe(1);
  });

  it("searches the pools of the region where none is named, over many pages", async () => {
    for (const pool of ["a", "b", "c", "d"]) cas.addPool(POOL.replace("identity", pool));
    const ca = cas.add(POOL.replace("identity", "d"), "one");
    for (let n = 0; n < 5; n++) cas.add(POOL.replace("identity", "c"), `other-${n}`, { labels: {} });
    const { ca_pool: _, ...spec } = SPEC;
    await using upstream = await open(spec);
    expect((await mint(upstream)).roots.map(({ certificate }) => certificate)).toEqual([ca.root.der]);
    cas.add(POOL.replace("identity", "a"), "two");
    await expect(mint(upstream)).rejects.toThrowCode(
      "UPSTREAM_REFUSED",
      /several pools; name one by ca_pool/,
    );
  });

  it("says that no authority is enabled", async () => {
    cas.add(POOL, "off", { state: "STAGED" });
    await using upstream = await open();
    await expect(mint(upstream)).rejects.toThrowCode("UPSTREAM_REFUSED", /spiffe-root=true is enabled/);
  });

  it.each([
    [403, "PERMISSION_DENIED", "UPSTREAM_REFUSED"],
    [400, "INVALID_ARGUMENT", "UPSTREAM_REFUSED"],
    [429, "RESOURCE_EXHAUSTED", "UPSTREAM_UNAVAILABLE"],
    [500, "INTERNAL", "UPSTREAM_UNAVAILABLE"],
  ] as const)("says of status %i %s: %s", async (status, name, code) => {
    cas.add(POOL, "one");
    service.fault = ({ method }) => {
      if (method === "POST") throw googleFailure(status, name, "SECRET");
      return undefined;
    };
    await using upstream = await open();
    const refused = expect(mint(upstream)).rejects.toThrowCode(
      code,
      `privateca.certificates.create failed: ${name} (status ${status})`,
    );
    for (let turn = 0; turn < 3 && code === "UPSTREAM_UNAVAILABLE"; turn++) {
      await expect.poll(() => service.requests.length).toBe(2 + Math.min(turn, 2));
      await expect.poll(() => turn === 2 || clock.pending === 2).toBe(true);
      await clock.advance(400);
    }
    await refused;
  });

  it.each([
    ["no certificate", { pemCertificate: undefined }, /no certificate/],
    [
      "two certificates",
      { pemCertificate: makeCloudCa("x", 1_790_000_000).pemChain.join("") },
      /one certificate/,
    ],
    ["no chain", { pemCertificateChain: [] }, /chain of 1 to 16/],
    ["a chain that is no list", { pemCertificateChain: "x" }, /chain of 1 to 16/],
    [
      "a chain without end",
      { pemCertificateChain: Array.from({ length: 17 }, () => "x") },
      /chain of 1 to 16/,
    ],
    ["a chain of rubbish", { pemCertificateChain: ["x"] }, /PEM holds no certificate/],
    ["a chain of numbers", { pemCertificateChain: [1] }, /no chain/],
  ])("refuses an answer with %s", async (_, change, reason) => {
    cas.add(POOL, "one");
    cas.twist = (answer) => ({ ...answer, ...change });
    await using upstream = await open();
    await expect(mint(upstream)).rejects.toThrowCode("UPSTREAM_REFUSED", reason);
  });

  it("refuses authorities that claim to be of another pool", async () => {
    cas.add(POOL, "one");
    const name = `${POOL}x/certificateAuthorities/one`;
    const item = { name, state: "ENABLED", labels: { "spiffe-root": "true" } };
    service.fault = () => ({ status: 200, text: JSON.stringify({ certificateAuthorities: [item] }) });
    await using upstream = await open();
    await expect(mint(upstream)).rejects.toThrowCode("UPSTREAM_REFUSED", /another pool/);
  });

  it("ends where pages never do", async () => {
    service.fault = () => ({ status: 200, text: '{"nextPageToken":"more"}' });
    await using upstream = await open();
    await expect(mint(upstream)).rejects.toThrowCode("UPSTREAM_REFUSED", /more than 50 pages/);
  });

  it("gives up at once when it is told or closed, and by itself after twenty seconds", async () => {
    service.fault = () => new Promise(() => undefined);
    const upstream = await open();
    const abort = new AbortController();
    const ended = expect(mint(upstream, abort.signal)).rejects.toThrowCode("UPSTREAM_UNAVAILABLE");
    await expect.poll(() => service.requests.length).toBe(1);
    abort.abort(new Error("enough"));
    await ended;
    const late = expect(mint(upstream)).rejects.toThrowCode("UPSTREAM_UNAVAILABLE", /within 20000 ms/);
    await expect.poll(() => service.requests.length).toBe(2);
    await clock.advance(20_000);
    await late;
    const closed = expect(mint(upstream)).rejects.toThrowCode("UPSTREAM_UNAVAILABLE");
    await expect.poll(() => service.requests.length).toBe(3);
    await upstream[Symbol.asyncDispose]();
    await closed;
    expect(clock.pending).toBe(0);
  });
});

describe("the settings of gcpCasUpstream", () => {
  it.each([
    ["no spec", {}],
    ["no label", { root_cert_spec: { ...SPEC, label_key: undefined } }],
    ["a label that could widen the filter", { root_cert_spec: { ...SPEC, label_value: "true OR state:x" } }],
    ["a pool that climbs", { root_cert_spec: { ...SPEC, ca_pool: "../x" } }],
    ["an unknown key", { root_cert_spec: SPEC, root: true }],
  ])("refuse %s", async (_, settings) => {
    expect((await gcpCasUpstream.config["~standard"].validate(settings)).issues).toBeDefined();
  });

  it("say which package is missing and how to get it", async () => {
    const parsed = await acceptedConfig(gcpCasUpstream, { root_cert_spec: SPEC, packages_folder: folder });
    const host = recordingHost(clock, "example.org", []);
    await expect((async () => gcpCasUpstream.create(parsed, host))()).rejects.toThrowCode(
      "CONFIG_INVALID",
      /npm install google-auth-library/,
    );
  });
});

async function open(
  spec: Readonly<Record<string, unknown>> = SPEC,
  newRequestId: () => string = () => "request-1",
): Promise<UpstreamAuthority> {
  const parsed = await acceptedConfig(gcpCasUpstream, { root_cert_spec: spec, endpoint: service.endpoint });
  return openGcpCas(parsed, openGoogleService(parsed.endpoint, googleAuth, clock), newRequestId);
}

async function mint(upstream: UpstreamAuthority, signal = never): Promise<UpstreamX509Ca> {
  const { csr } = await makeCaOrder();
  return upstream.mintX509Ca({ csr, ttl: 600, signal });
}
