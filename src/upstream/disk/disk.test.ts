import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeEach, describe, expect, it, onTestFinished } from "vitest";
import { unixSeconds } from "../../clock.ts";
import { createCaRequest } from "../../crypto/ca-request.ts";
import { type Certificate, readCertificate } from "../../crypto/certificate-reader.ts";
import { OIDS } from "../../crypto/der/oid.ts";
import { toPem } from "../../crypto/pem.ts";
import type { UpstreamAuthority } from "../../plugin/upstream-authority.ts";
import { checkUpstreamCa } from "../../signing/upstream/check-answer.ts";
import { parseTrustDomain } from "../../spiffe/trust-domain.ts";
import {
  makeCertificate,
  makeKey,
  type TestCertificate,
  type TestKey,
} from "../../../test/fakes/certificates.ts";
import { FakeClock } from "../../../test/fakes/clock.ts";
import { diskUpstream } from "./disk.ts";

const trustDomain = parseTrustDomain("example.org");
const clock = new FakeClock();
const now = unixSeconds(clock);
const rootKey = makeKey();
const caKey = makeKey("ec-p384");
const root = ca({ subject: "root", key: rootKey });
const middle = ca({
  subject: "middle",
  key: caKey,
  issuer: { certificate: root, key: rootKey },
  notAfter: now + 5000,
});

let folder: string;
let logged: string[];
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "assay-upstream-"));
  logged = [];
  const made = folder;
  onTestFinished(() => rm(made, { recursive: true }));
});

describe("the disk upstream authority", () => {
  it("signs by a self-signed CA, for as long as was asked for", async () => {
    const upstream = await open({ certificates: [root], key: rootKey });
    const { answer, key } = await mint(upstream, 600);
    const checked = checkUpstreamCa(answer, { trustDomain, publicKey: key.spki, now });
    expect(answer.chain).toHaveLength(1);
    expect(answer.roots.map(({ certificate }) => certificate)).toEqual([root.der]);
    expect(checked.notAfter).toBe(now + 600);
    expect(logged).toEqual([]);
  });

  it("signs by a CA below a root, with itself in the chain and no life longer than its own", async () => {
    const upstream = await open({ certificates: [middle], key: caKey, bundle: [root] });
    const { answer, key } = await mint(upstream, 90_000);
    const checked = checkUpstreamCa(answer, { trustDomain, publicKey: key.spki, now });
    expect(answer.chain.slice(1)).toEqual([middle.der]);
    expect(checked.notAfter).toBe(now + 5000);
  });

  it("leaves no more CAs below than its own certificate does", async () => {
    const bound = ca({ subject: "bound", key: rootKey, pathLength: 2 });
    const upstream = await open({ certificates: [bound], key: rootKey });
    const { answer } = await mint(upstream, 600);
    const own = readCertificate(answer.chain[0] ?? new Uint8Array());
    expect(own.basicConstraints).toEqual({ ca: true, pathLength: 1 });
  });

  it("reads its files anew for each authority", async () => {
    const upstream = await open({ certificates: [root], key: rootKey });
    const nextKey = makeKey();
    const next = ca({ subject: "next", key: nextKey });
    await write({ certificates: [next], key: nextKey });
    const { answer } = await mint(upstream, 600);
    expect(answer.roots.map(({ certificate }) => certificate)).toEqual([next.der]);
  });

  it.each<[string, Files, RegExp]>([
    ["another's key", { certificates: [root], key: makeKey() }, /key_file_path .* does not hold the key/],
    [
      "a certificate that is no CA's",
      { certificates: [ca({ subject: "x", key: rootKey, ca: false })], key: rootKey },
      /not a CA's/,
    ],
    [
      "a CA that may not sign",
      { certificates: [ca({ subject: "x", key: rootKey, keyUsage: [1, 0x02] })], key: rootKey },
      /may not sign/,
    ],
    [
      "a CA that allows none below it",
      { certificates: [ca({ subject: "x", key: rootKey, pathLength: 0 })], key: rootKey },
      /allows no CA below/,
    ],
    [
      "a CA that has expired",
      { certificates: [ca({ subject: "x", key: rootKey, notAfter: now })], key: rootKey },
      /expired/,
    ],
    [
      "a CA that is not valid yet",
      { certificates: [ca({ subject: "x", key: rootKey, notBefore: now + 9 })], key: rootKey },
      /not valid yet/,
    ],
    [
      "no roots for a CA below one",
      { certificates: [middle], key: caKey },
      /bundle_file_path must name the roots/,
    ],
    [
      "roots that it does not lead to",
      { certificates: [middle], key: caKey, bundle: [ca({ subject: "y", key: makeKey() })] },
      /leads to no root/,
    ],
    ["no PEM for a certificate", { pem: "hello", key: rootKey }, /cert_file_path .* cannot be used/],
    ["no PEM for a key", { certificates: [root], keyPem: "hello" }, /no private key in PEM/],
    ["a key that others can read", { certificates: [root], key: rootKey, mode: 0o644 }, /mode 0644/],
    ["a key that its group can write", { certificates: [root], key: rootKey, mode: 0o660 }, /mode 0660/],
  ])("refuses %s, and says so when it is opened", async (_, files, detail) => {
    const upstream = await open(files);
    expect(logged).toEqual([expect.stringMatching(detail)]);
    await expect(mint(upstream, 600)).rejects.toThrowCode("UPSTREAM_REFUSED", detail);
  });

  it("says that a file is missing, and is well again when it is there", async () => {
    const upstream = await open({ certificates: [root], key: rootKey });
    await rm(join(folder, "key.pem"));
    await expect(mint(upstream, 600)).rejects.toThrowCode("UPSTREAM_UNAVAILABLE", /key\.pem: no such file/);
    await write({ certificates: [root], key: rootKey });
    await mint(upstream, 600);
  });

  it("takes a key that the group which the platform gave it can read", async () => {
    const upstream = await open({ certificates: [root], key: rootKey, mode: 0o440 });
    await mint(upstream, 600);
  });
});

interface Files {
  readonly certificates?: readonly Certificate[];
  readonly pem?: string;
  readonly key?: TestKey;
  readonly keyPem?: string;
  readonly bundle?: readonly Certificate[];
  readonly mode?: number;
}

async function write({ certificates = [], pem, key, keyPem, bundle, mode = 0o600 }: Files): Promise<void> {
  const text = (list: readonly Certificate[]) => list.map(({ der }) => toPem("CERTIFICATE", der)).join("");
  await writeFile(join(folder, "ca.pem"), pem ?? text(certificates));
  await writeFile(join(folder, "key.pem"), keyPem ?? toPem("PRIVATE KEY", key?.pkcs8 ?? new Uint8Array()));
  await chmod(join(folder, "key.pem"), mode);
  if (bundle !== undefined) await writeFile(join(folder, "bundle.pem"), text(bundle));
}

async function open(files: Files): Promise<UpstreamAuthority> {
  await write(files);
  const log = (message: string, fields?: Readonly<Record<string, unknown>>) =>
    void logged.push(`${message} ${String(fields?.["detail"])}`);
  return diskUpstream.create(
    {
      cert_file_path: join(folder, "ca.pem"),
      key_file_path: join(folder, "key.pem"),
      ...(files.bundle !== undefined && { bundle_file_path: join(folder, "bundle.pem") }),
    },
    { trustDomain, clock, log: { debug: log, info: log, warn: log, error: log } },
  );
}

async function mint(upstream: UpstreamAuthority, ttl: number) {
  const key = makeKey();
  const subject = [{ oid: OIDS.organization, value: "SPIFFE" }];
  const csr = await createCaRequest({ trustDomain, spki: key.spki, subject }, "ecdsa-sha256", key.sign);
  const answer = await upstream.mintX509Ca({ csr, ttl, signal: new AbortController().signal });
  expect(readCertificate(answer.chain[0] ?? new Uint8Array()).spki).toEqual(key.spki);
  return { answer, key };
}

function ca(wanted: Pick<TestCertificate, "subject" | "key"> & Partial<TestCertificate>): Certificate {
  return makeCertificate({ ca: true, notBefore: now - 60, notAfter: now + 9000, ...wanted });
}
