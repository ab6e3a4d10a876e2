import { writeFileSync } from "node:fs";
import { afterAll, beforeAll, expect, it } from "vitest";
import { systemClock, unixSeconds } from "../../src/clock.ts";
import { readCertificate } from "../../src/crypto/certificate-reader.ts";
import { toPem } from "../../src/crypto/pem.ts";
import type { UpstreamAuthority } from "../../src/plugin/upstream-authority.ts";
import { checkUpstreamCa } from "../../src/signing/upstream/check-answer.ts";
import { parseTrustDomain } from "../../src/spiffe/trust-domain.ts";
import { awsPcaUpstream } from "../../src/upstream/aws-pca/aws-pca.ts";
import { makeScratch, type Scratch } from "../e2e/scratch.ts";
import { makeCaOrder } from "../fakes/cloud-ca.ts";
import { Dialogue } from "./dialogue.ts";
import { BUILD_PATIENCE, buildPeer, describeWith } from "./peers.ts";

let scratch: Scratch;
let cloud: Dialogue;
let endpoint: string;
let packages: string;
const trustDomain = parseTrustDomain("example.org");
const { signal } = new AbortController();

// moto signs with real keys; services.py says in what it was put right.
describeWith(["python"], "AWS Private CA as moto 5.2.5 imitates it, through the AWS SDK 3.523", () => {
  beforeAll(async () => {
    scratch = await makeScratch();
    packages = await buildPeer("aws-sdk");
    const started = await Dialogue.start<{ endpoint: string }>("moto", ["services"]);
    cloud = started.dialogue;
    endpoint = started.first.endpoint;
    writeFileSync(scratch.at("secret"), "secret", { mode: 0o600 });
  }, BUILD_PATIENCE);

  afterAll(async () => {
    await cloud?.[Symbol.asyncDispose]();
    await scratch?.[Symbol.asyncDispose]();
  });

  it("signs an authority of ours that passes every check, for as long as was asked for", async () => {
    const { arn, root } = await cloud.ask<Authority>({ do: "authority", name: "Example Root" });
    await using upstream = await open({ certificate_authority_arn: arn });
    const { csr, key } = await makeCaOrder();
    const now = unixSeconds(systemClock);
    const answer = await upstream.mintX509Ca({ csr, ttl: 3600, signal });
    expect(answer.roots.map(({ certificate }) => toPem("CERTIFICATE", certificate).trim())).toEqual([
      root.trim(),
    ]);
    expect(checkUpstreamCa(answer, { trustDomain, publicKey: key.spki, now: now + 1 })).toBeDefined();
    const own = readCertificate(answer.chain[0] as Uint8Array);
    expect(own.basicConstraints).toEqual({ ca: true, pathLength: 0 });
    expect(Math.abs(own.notAfter - now - 3600)).toBeLessThan(60);
  });

  it("signs as a role that is assumed, and by another template and algorithm where that is set", async () => {
    const { arn } = await cloud.ask<Authority>({ do: "authority", name: "Another Root" });
    const { role } = await cloud.ask<{ role: string }>({ do: "role", name: "assay-pca" });
    await using upstream = await open({
      certificate_authority_arn: arn,
      assume_role_arn: role,
      signing_algorithm: "SHA256WITHRSA",
      ca_signing_template_arn: "arn:aws:acm-pca:::template/SubordinateCACertificate_PathLen1/V1",
    });
    const { csr } = await makeCaOrder();
    const answer = await upstream.mintX509Ca({ csr, ttl: 3600, signal });
    expect(readCertificate(answer.chain[0] as Uint8Array).basicConstraints).toEqual({
      ca: true,
      pathLength: 1,
    });
  });

  it("hands over what a template of end entities makes, which whoever ordered refuses", async () => {
    const { arn } = await cloud.ask<Authority>({ do: "authority", name: "Third Root" });
    await using upstream = await open({
      certificate_authority_arn: arn,
      ca_signing_template_arn: "arn:aws:acm-pca:::template/EndEntityCertificate/V1",
    });
    const { csr, key } = await makeCaOrder();
    const answer = await upstream.mintX509Ca({ csr, ttl: 3600, signal });
    const now = unixSeconds(systemClock) + 1;
    expect(() => checkUpstreamCa(answer, { trustDomain, publicKey: key.spki, now })).toThrowCode(
      "UPSTREAM_REFUSED",
    );
  });

  it("says that an authority is not there, not ready, or not reached", async () => {
    const { csr } = await makeCaOrder();
    const order = { csr, ttl: 3600, signal };
    const { arn } = await cloud.ask<Authority>({ do: "authority", name: "Pending", active: false });
    await using pending = await open({ certificate_authority_arn: arn });
    await expect(pending.mintX509Ca(order)).rejects.toThrowCode(
      "UPSTREAM_REFUSED",
      /status PENDING_CERTIFICATE/,
    );
    await using absent = await open({ certificate_authority_arn: arn.replace(/[^/]+$/, "absent") });
    await expect(absent.mintX509Ca(order)).rejects.toThrowCode(
      "UPSTREAM_REFUSED",
      /ResourceNotFoundException/,
    );
    await using nobody = await open({ certificate_authority_arn: arn, endpoint: "http://127.0.0.1:1" });
    await expect(nobody.mintX509Ca(order)).rejects.toThrowCode("UPSTREAM_UNAVAILABLE", /ECONNREFUSED/);
  });
});

interface Authority {
  readonly arn: string;
  readonly root: string;
}

async function open(settings: Readonly<Record<string, unknown>>): Promise<UpstreamAuthority> {
  const parsed = await awsPcaUpstream.config["~standard"].validate({
    region: "eu-central-1",
    access_key_id: "AKIAEXAMPLE",
    secret_access_key_file: scratch.at("secret"),
    endpoint,
    sts_endpoint: endpoint,
    packages_folder: packages,
    ...settings,
  });
  if (parsed.issues !== undefined) throw new Error(JSON.stringify(parsed.issues));
  const log = { debug() {}, info() {}, warn() {}, error() {} };
  return awsPcaUpstream.create(parsed.value, { trustDomain, clock: systemClock, log });
}
