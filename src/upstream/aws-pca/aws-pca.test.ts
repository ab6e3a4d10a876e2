import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeEach, describe, expect, it } from "vitest";
import { awsFailure } from "../../../test/fakes/aws-kms.ts";
import { FakeClock } from "../../../test/fakes/clock.ts";
import { type CloudCa, makeCaOrder, makeCloudCa } from "../../../test/fakes/cloud-ca.ts";
import { acceptedConfig, recordingHost } from "../../../test/fakes/plugin-host.ts";
import { unixSeconds } from "../../clock.ts";
import { readCertificate } from "../../crypto/certificate-reader.ts";
import { toPem } from "../../crypto/pem.ts";
import type { UpstreamAuthority, UpstreamX509Ca } from "../../plugin/upstream-authority.ts";
import { checkUpstreamCa } from "../../signing/upstream/check-answer.ts";
import { parseTrustDomain } from "../../spiffe/trust-domain.ts";
import { awsPcaUpstream, openAwsPca } from "./aws-pca.ts";
import type { PcaClient } from "./pca-client.ts";

const folder = mkdtempSync(join(tmpdir(), "aws-pca-"));
afterAll(() => rmSync(folder, { recursive: true }));
const ARN = "arn:aws:acm-pca:eu-central-1:111122223333:certificate-authority/12ac02bc-d425";
const TEMPLATE = "arn:aws:acm-pca:::template/SubordinateCACertificate_PathLen0/V1";
const never = new AbortController().signal;

let clock: FakeClock;
let ca: CloudCa;
let pca: FakePca;

/** Private CA in this process: it signs, and takes its time if told to. */
class FakePca implements PcaClient {
  status = "ACTIVE";
  /** How often a certificate is asked for in vain. */
  pending = 0;
  readonly orders: Parameters<PcaClient["issueCertificate"]>[0][] = [];
  readonly calls: string[] = [];
  answer: { Certificate?: string; CertificateChain?: string } = {};
  fault: (action: string) => Promise<void> | void = () => undefined;
  destroyed = false;

  async describeCertificateAuthority() {
    await this.#begin("Describe");
    const { status: Status } = this;
    const facts = { SigningAlgorithm: "SHA384WITHECDSA" };
    return { CertificateAuthority: { Status, CertificateAuthorityConfiguration: facts } };
  }

  async issueCertificate(input: Parameters<PcaClient["issueCertificate"]>[0]) {
    await this.#begin("Issue");
    this.orders.push(input);
    const csr = Buffer.from(
      Buffer.from(input.Csr)
        .toString()
        .replace(/-----.*-----|\s/g, ""),
      "base64",
    );
    const Certificate = ca.sign(csr, input.Validity.Value);
    this.answer = { Certificate, CertificateChain: ca.pemChain.join("\n"), ...this.answer };
    return { CertificateArn: `${ARN}/certificate/1` };
  }

  async getCertificate() {
    await this.#begin("Get");
    if (this.pending-- > 0) throw awsFailure("RequestInProgressException");
    return this.answer;
  }

  destroy(): void {
    this.destroyed = true;
  }

  async #begin(action: string): Promise<void> {
    this.calls.push(action);
    await this.fault(action);
  }
}

beforeEach(() => {
  clock = new FakeClock();
  ca = makeCloudCa("Example", unixSeconds(clock));
  pca = new FakePca();
});

describe("awsPcaUpstream", () => {
  it("orders a certificate by template, end and algorithm, and hands over what an order must be answered with", async () => {
    await using upstream = await open();
    const { csr, key } = await makeCaOrder();
    const answer = await upstream.mintX509Ca({ csr, ttl: 600, signal: never });
    expect(pca.orders).toEqual([
      {
        CertificateAuthorityArn: ARN,
        Csr: Buffer.from(toPem("CERTIFICATE REQUEST", csr)),
        SigningAlgorithm: "SHA384WITHECDSA",
        TemplateArn: TEMPLATE,
        Validity: { Type: "ABSOLUTE", Value: unixSeconds(clock) + 600 },
        IdempotencyToken: "token",
      },
    ]);
    expect(answer.chain).toHaveLength(2);
    expect(answer.roots).toEqual([{ certificate: ca.root.der, tainted: false }]);
    const checked = checkUpstreamCa(answer, {
      trustDomain: parseTrustDomain("example.org"),
      publicKey: key.spki,
      now: unixSeconds(clock),
    });
    expect(checked).toBeDefined();
  });

  it("does not ask what the authority signs with where that is set", async () => {
    await using upstream = await open({ signing_algorithm: "SHA256WITHECDSA" });
    await mint(upstream);
    expect(pca.calls).toEqual(["Issue", "Get"]);
    expect(pca.orders[0]?.SigningAlgorithm).toBe("SHA256WITHECDSA");
  });

  it("trusts the roots of the supplemental file too, each once", async () => {
    const file = join(folder, "roots.pem");
    const other = makeCloudCa("Other", unixSeconds(clock));
    writeFileSync(file, [ca.root, other.root].map(({ der }) => toPem("CERTIFICATE", der)).join(""));
    await using upstream = await open({ supplemental_bundle_path: file });
    const { roots } = await mint(upstream);
    expect(roots.map(({ certificate }) => certificate)).toEqual([ca.root.der, other.root.der]);
    writeFileSync(file, "nothing");
    await expect(open({ supplemental_bundle_path: file })).rejects.toThrowCode(
      "CONFIG_INVALID",
      /supplemental_bundle_path .*roots\.pem: PEM holds no certificate/,
    );
  });

  it("waits for a certificate that is not issued yet", async () => {
    pca.pending = 5;
    await using upstream = await open();
    const minting = mint(upstream);
    await passed(10_000);
    expect((await minting).chain).toHaveLength(2);
    expect(pca.calls.filter((call) => call === "Get")).toHaveLength(6);
  });

  it("gives up after three minutes, and at once when it is told", async () => {
    pca.pending = Number.POSITIVE_INFINITY;
    const upstream = await open();
    const late = expect(mint(upstream)).rejects.toThrowCode("UPSTREAM_UNAVAILABLE", /three minutes/);
    await passed(181_000);
    await late;
    const abort = new AbortController();
    const ended = expect(mint(upstream, abort.signal)).rejects.toThrowCode(
      "UPSTREAM_UNAVAILABLE",
      /given up/,
    );
    await passed(100);
    abort.abort(new Error("enough"));
    await ended;
    const closed = expect(mint(upstream)).rejects.toThrowCode("UPSTREAM_UNAVAILABLE", /given up/);
    await passed(100);
    await upstream[Symbol.asyncDispose]();
    await closed;
    expect(pca.destroyed).toBe(true);
    expect(clock.pending).toBe(0);
  });

  it("gives up a call that is not answered", async () => {
    pca.fault = () => new Promise(() => undefined);
    await using upstream = await open();
    const late = expect(mint(upstream)).rejects.toThrowCode(
      "UPSTREAM_UNAVAILABLE",
      "acm-pca:DescribeCertificateAuthority failed: no answer within 15000 ms",
    );
    await passed(15_000);
    await late;
  });

  it.each([
    [
      "Issue",
      awsFailure("ThrottlingException"),
      "UPSTREAM_UNAVAILABLE",
      /IssueCertificate failed: Throttling/,
    ],
    [
      "Issue",
      awsFailure("AccessDeniedException"),
      "UPSTREAM_REFUSED",
      /IssueCertificate failed: AccessDenied/,
    ],
    ["Issue", awsFailure("MalformedCSRException"), "UPSTREAM_REFUSED", /MalformedCSR/],
    ["Describe", awsFailure("ResourceNotFoundException"), "UPSTREAM_REFUSED", /DescribeCertificateAuthority/],
    ["Get", awsFailure("RequestFailedException"), "UPSTREAM_REFUSED", /GetCertificate failed: RequestFailed/],
    [
      "Get",
      awsFailure("InternalFailure", 500),
      "UPSTREAM_UNAVAILABLE",
      /GetCertificate failed: InternalFailure/,
    ],
  ] as const)("says of %s that failed with %s: %s", async (action, error, code, reason) => {
    pca.fault = (called) => {
      if (called === action) throw error;
    };
    await using upstream = await open();
    await expect(mint(upstream)).rejects.toThrowCode(code, reason);
  });

  it("refuses an authority that is not active, before it orders anything", async () => {
    pca.status = "DISABLED";
    await using upstream = await open();
    await expect(mint(upstream)).rejects.toThrowCode("UPSTREAM_REFUSED", /status DISABLED, expected ACTIVE/);
    expect(pca.orders).toEqual([]);
  });

  it.each([
    ["no certificate", { Certificate: "" }, /certificate in the answer: PEM holds no certificate/],
    ["no chain", { CertificateChain: "" }, /chain in the answer: PEM holds no certificate/],
    [
      "a key in place of a certificate",
      { Certificate: "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----" },
      /kind CERTIFICATE only/,
    ],
    [
      "a certificate of rubbish",
      { Certificate: "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----" },
      /certificate in the answer/,
    ],
    ["a chain of a megabyte", { CertificateChain: "x".repeat(1_000_000) }, /262144 bytes/],
  ])("refuses an answer with %s", async (_, answer, reason) => {
    pca.answer = answer;
    await using upstream = await open();
    await expect(mint(upstream)).rejects.toThrowCode("UPSTREAM_REFUSED", reason);
  });

  it("refuses two certificates for one, and a chain without end", async () => {
    pca.answer = { Certificate: ca.pemChain.join("") };
    await using upstream = await open();
    await expect(mint(upstream)).rejects.toThrowCode("UPSTREAM_REFUSED", /one certificate/);
    pca.answer = { CertificateChain: Array.from({ length: 17 }, () => ca.pemChain[0]).join("") };
    await expect(mint(upstream)).rejects.toThrowCode("UPSTREAM_REFUSED", /at most 16/);
  });

  it("hands over another's certificate as it came, for whoever ordered to refuse", async () => {
    const stranger = makeCloudCa("Stranger", unixSeconds(clock));
    const { csr } = await makeCaOrder();
    pca.answer = { Certificate: stranger.sign(csr, unixSeconds(clock) + 60) };
    await using upstream = await open();
    const answer = await mint(upstream);
    expect(readCertificate(answer.chain[0]!).issuer).not.toEqual(readCertificate(answer.chain[1]!).subject);
    expect(() =>
      checkUpstreamCa(answer, {
        trustDomain: parseTrustDomain("example.org"),
        publicKey: Buffer.of(1),
        now: unixSeconds(clock),
      }),
    ).toThrowCode("UPSTREAM_REFUSED");
  });
});

describe("the settings of awsPcaUpstream", () => {
  const good = { region: "eu-central-1", certificate_authority_arn: ARN };

  it.each([
    ["no authority", { region: "eu-central-1" }],
    ["an ARN of something else", { ...good, certificate_authority_arn: "arn:aws:kms:eu:1:key/x" }],
    ["a template of something else", { ...good, ca_signing_template_arn: "SubordinateCACertificate" }],
    ["an algorithm in small letters", { ...good, signing_algorithm: "sha256" }],
    ["a secret in the text", { ...good, secret_access_key: "x" }],
  ])("refuse %s", async (_, settings) => {
    expect((await awsPcaUpstream.config["~standard"].validate(settings)).issues).toBeDefined();
  });

  it("say which package is missing and how to get it", async () => {
    const parsed = await acceptedConfig(awsPcaUpstream, { ...good, packages_folder: folder });
    const host = recordingHost(clock, "example.org", []);
    await expect((async () => awsPcaUpstream.create(parsed, host))()).rejects.toThrowCode(
      "CONFIG_INVALID",
      /npm install @aws-sdk\/client-acm-pca/,
    );
  });
});

async function open(settings: Readonly<Record<string, unknown>> = {}): Promise<UpstreamAuthority> {
  const given = { region: "eu-central-1", certificate_authority_arn: ARN, ...settings };
  return openAwsPca(await acceptedConfig(awsPcaUpstream, given), pca, clock, () => "token");
}

/** Time passes once the calls under way have come to where they wait. */
async function passed(milliseconds: number): Promise<void> {
  for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
  await clock.advance(milliseconds);
}

async function mint(upstream: UpstreamAuthority, signal = never): Promise<UpstreamX509Ca> {
  const { csr } = await makeCaOrder();
  return upstream.mintX509Ca({ csr, ttl: 600, signal });
}
