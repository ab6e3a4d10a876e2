import type { Command } from "commander";
import { type Certificate, readCertificate } from "../crypto/certificate-reader.ts";
import { isSignedBy } from "../crypto/certificate-signature.ts";
import { OIDS } from "../crypto/der/oid.ts";
import { judgeAccessToken } from "../crypto/jose/access-token-lint.ts";
import { judgeJwtSvid } from "../crypto/jose/jwt-svid-lint.ts";
import { judgeWitSvid } from "../crypto/jose/wit-svid-lint.ts";
import type { LintVerdict } from "../crypto/lint.ts";
import { parsePemCertificates } from "../crypto/pem.ts";
import type { SigningAlgorithm } from "../crypto/signature-algorithm.ts";
import { judgeX509Authority } from "../crypto/x509-authority-lint.ts";
import { type ExpectedX509Svid, judgeX509Svid } from "../crypto/x509-svid-lint.ts";
import { AssayError } from "../errors/assay-error.ts";
import { Bundle } from "../proto/gen/spire/api/server/bundle/v1/bundle_pb.ts";
import { parseSpiffeId } from "../spiffe/id.ts";
import { parseTrustDomain, parseTrustDomainOrId } from "../spiffe/trust-domain.ts";
import { withAdminClient } from "./admin-client.ts";
import { type CliIo, writeResult } from "./io.ts";
import { adminOptions, type AdminOptions } from "./options.ts";
import { readInput } from "./read-input.ts";
import { table } from "./table.ts";

/** One line of the answer. `result` is absent where nothing could be looked at. */
interface LintLine {
  readonly subject: string;
  readonly rule: string;
  readonly detail: string;
  readonly result?: "holds" | "broken";
  /** Whether it is said and nothing more: what others made is theirs to mend. */
  readonly isForeign?: boolean;
}

/** Certificates, and the trust domain that they are to be of where that is known. */
interface Linted {
  readonly certificates: readonly Certificate[];
  readonly trustDomain?: string;
}

/**
 * Adds `assay authority lint`: the rules that everything is held to before it is signed, and how the certificates of the bundle,
 * or of a file, stand to them.
 */
export function addAuthorityLintCommand(authority: Command, io: CliIo): void {
  adminOptions(
    authority
      .command("lint")
      .description(
        "hold certificates to the rules that everything is held to before it is signed, and list the rules",
      )
      .argument(
        "[file]",
        "certificates in PEM, a leaf first, or - for standard input; the bundle's unless given",
      )
      .option("--broken", "only what is broken", false),
  ).action(async (file: string | undefined, flags: AdminOptions & { readonly broken: boolean }) => {
    const linted = file === undefined ? await ofBundle(io, flags) : await ofFile(io, file);
    const lines: readonly LintLine[] = [
      ...linted.certificates.flatMap((one) => judged(one, linted)),
      ...(file === undefined ? unjudged() : []),
    ];
    const shown = flags.broken ? lines.filter(({ result }) => result === "broken") : lines;
    const broken = lines.filter(({ result, isForeign }) => result === "broken" && isForeign !== true);
    const facts = shown.map(({ subject, rule, detail, result }) => ({
      subject,
      rule,
      detail,
      ...(result !== undefined && { result }),
    }));
    writeResult(io, flags.output, facts, () =>
      table(
        ["WHAT", "RULE", "RESULT", "MUST HOLD"],
        shown.map(({ subject, rule, result = "-", detail }) => [subject, rule, result, detail]),
      ),
    );
    if (broken.length > 0) {
      throw new AssayError("CERTIFICATE_LINT_FAILED", `${broken.length} of ${lines.length} rules are broken`);
    }
  });
}

async function ofBundle(io: CliIo, flags: AdminOptions): Promise<Linted> {
  return withAdminClient(io, flags.adminSocket, async (client) => {
    const { x509Authorities, trustDomain } = await client.service(Bundle).getBundle({});
    return { certificates: x509Authorities.map(({ asn1 }) => readCertificate(asn1)), trustDomain };
  });
}

async function ofFile(io: CliIo, file: string): Promise<Linted> {
  const pem = Buffer.from(await readInput(io, file, "<file>")).toString("utf8");
  return { certificates: parsePemCertificates(pem) };
}

function judged(one: Certificate, linted: Linted): readonly LintLine[] {
  const uri = one.subjectAltName?.uris[0] ?? "";
  const name = `${uri === "" ? "a certificate without URI" : uri} ${Buffer.from(one.subjectKeyId ?? [])
    .toString("hex")
    .slice(0, 8)}`;
  const issuer = issuerOf(one, linted.certificates);
  const isRoot = uri === "" && isSelfIssued(one) && isAuthority(one);
  const verdicts = isAuthority(one)
    ? authorityVerdicts(one, linted.trustDomain ?? trustDomainOf(uri)).filter(
        ({ rule }) => !isRoot || !RULES_OF_OUR_OWN.has(rule),
      )
    : leafVerdicts(one, uri, issuer);
  return [...verdicts, signatureVerdict(one, issuer)].map(({ rule, detail, holds }) => ({
    subject: name.trimEnd(),
    rule,
    detail,
    ...(holds !== undefined && { result: holds ? ("holds" as const) : ("broken" as const) }),
    ...(isRoot && { isForeign: true }),
  }));
}

/** A rule and whether it holds; `undefined` where that cannot be told from what is here. */
type Verdict = Omit<LintVerdict, "holds"> & { readonly holds: boolean | undefined };

function authorityVerdicts(one: Certificate, trustDomain: string): readonly Verdict[] {
  return judgeX509Authority(one, { trustDomain });
}

/** The trust domain that an authority of a file says it is of; what says none breaks the rule about the URI. */
function trustDomainOf(uri: string): string {
  try {
    return parseTrustDomainOrId(uri);
  } catch {
    return "";
  }
}

function isAuthority({ basicConstraints }: Certificate): boolean {
  return basicConstraints?.ca === true;
}

function isSelfIssued({ issuer, subject }: Certificate): boolean {
  return Buffer.compare(issuer, subject) === 0;
}

/** Who signed, by the key identifier that is named, or the certificate itself where it names nobody else. */
function issuerOf(one: Certificate, all: readonly Certificate[]): Certificate | undefined {
  const { authorityKeyId } = one;
  if (authorityKeyId === undefined) return isSelfIssued(one) ? one : undefined;
  return all.find(
    (other) =>
      isAuthority(other) &&
      other.subjectKeyId !== undefined &&
      Buffer.compare(other.subjectKeyId, authorityKeyId) === 0,
  );
}

function signatureVerdict(one: Certificate, issuer: Certificate | undefined): Verdict {
  return {
    rule: "RFC5280-6.1",
    detail: "signature must be by the issuer's key",
    holds: issuer === undefined ? undefined : isSignedBy(one, issuer),
  };
}

/**
 * A leaf as it stands. Who ordered what is not known here, nor always who signed: a rule that ends otherwise where these are
 * others compares with them, and says nothing.
 */
function leafVerdicts(one: Certificate, uri: string, issuer: Certificate | undefined): readonly Verdict[] {
  const algorithm = SIGNATURES.get(one.signatureAlgorithm.oid) ?? "ecdsa-sha256";
  const expected: ExpectedX509Svid = {
    spiffeId: uri,
    spki: one.spki,
    dnsNames: one.subjectAltName?.dnsNames ?? [],
    issuer: issuer?.subject ?? one.issuer,
    authorityKeyId: issuer?.subjectKeyId ?? one.authorityKeyId ?? new Uint8Array(),
    signatureAlgorithm: algorithm,
    authorityNotAfter: issuer?.notAfter ?? one.notAfter,
    notAfter: one.notAfter,
    serial: one.serial,
  };
  const stranger = Uint8Array.of(1);
  const unordered: Partial<ExpectedX509Svid> = {
    spiffeId: `${uri}?`,
    spki: stranger,
    dnsNames: [...expected.dnsNames, "?"],
    notAfter: 0,
    serial: Uint8Array.of(...one.serial, 1),
  };
  // What an authority signs with is known by what its key has signed.
  const other = { signatureAlgorithm: algorithm === "rsa-sha256" ? "ecdsa-sha256" : "rsa-sha256" } as const;
  const unsigned: Partial<ExpectedX509Svid> = {
    ...(issuer === undefined && { issuer: stranger, authorityKeyId: stranger, authorityNotAfter: 0 }),
    ...((issuer === undefined || !isSignedBy(one, issuer)) && other),
  };
  const unknown = judgeX509Svid(one, { ...expected, ...unordered, ...unsigned });
  return judgeX509Svid(one, expected).map((verdict, at) => ({
    ...verdict,
    holds: verdict.holds && unknown[at]?.holds === false ? undefined : verdict.holds,
  }));
}

/** The rules of what is linted while it is made; nothing of it is kept, so there is nothing to judge here. */
function unjudged(): readonly LintLine[] {
  const svid = { keyId: "", algorithm: "", issuedAt: 0, expiresAt: 0, authorityNotAfter: 0 };
  const nothing = { header: {}, claims: {} };
  const trustDomain = parseTrustDomain("example.org");
  const spiffeId = parseSpiffeId("spiffe://example.org/any");
  const empty = new Uint8Array();
  const kinds: readonly (readonly [string, readonly LintVerdict[]])[] = [
    ["every X509-SVID", leafRules()],
    ["every JWT-SVID", judgeJwtSvid(nothing, { ...svid, trustDomain, spiffeId, audiences: [] })],
    [
      "every WIT-SVID",
      judgeWitSvid(nothing, { ...svid, spiffeId, publicKey: empty, keyAlgorithm: "", jti: "" }),
    ],
    [
      "every access token",
      judgeAccessToken(nothing, {
        keyId: "",
        algorithm: "",
        authorityNotAfter: 0,
        confirmation: undefined,
        iss: "",
        sub: "",
        aud: "",
        clientId: "",
        jti: "",
        iat: 0,
        exp: 0,
      }),
    ],
  ];
  return kinds.flatMap(([subject, rules]) => rules.map(({ rule, detail }) => ({ subject, rule, detail })));
}

function leafRules(): readonly LintVerdict[] {
  const empty = new Uint8Array();
  return judgeX509Svid(
    {
      tbs: empty,
      version: 3,
      serial: empty,
      signatureAlgorithm: { oid: "", keyKind: "unsupported", digest: "none" },
      issuer: empty,
      notBefore: 0,
      notAfter: 0,
      subject: empty,
      spki: empty,
      extensions: [],
    },
    {
      spiffeId: "",
      spki: empty,
      dnsNames: [],
      issuer: empty,
      authorityKeyId: empty,
      signatureAlgorithm: "ecdsa-sha256",
      authorityNotAfter: 0,
      notAfter: 0,
      serial: empty,
    },
  );
}

/** What a root that others made need not keep to. */
const RULES_OF_OUR_OWN: ReadonlySet<string> = new Set(["XS-01", "XS-08", "XS-28", "XS-43"]);
const SIGNATURES: ReadonlyMap<string, SigningAlgorithm> = new Map([
  [OIDS.ecdsaWithSha256, "ecdsa-sha256"],
  [OIDS.ecdsaWithSha384, "ecdsa-sha384"],
  [OIDS.sha256WithRsaEncryption, "rsa-sha256"],
]);
