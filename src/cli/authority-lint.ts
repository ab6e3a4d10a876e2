import type { Command } from "commander";
import { type Certificate, readCertificate } from "../crypto/certificate-reader.ts";
import { OIDS } from "../crypto/der/oid.ts";
import { judgeAccessToken } from "../crypto/jose/access-token-lint.ts";
import { judgeJwtSvid } from "../crypto/jose/jwt-svid-lint.ts";
import { judgeWitSvid } from "../crypto/jose/wit-svid-lint.ts";
import type { LintVerdict } from "../crypto/lint.ts";
import { parsePemCertificates } from "../crypto/pem.ts";
import type { SigningAlgorithm } from "../crypto/signature-algorithm.ts";
import { judgeX509Authority } from "../crypto/x509-authority-lint.ts";
import { judgeX509Svid } from "../crypto/x509-svid-lint.ts";
import { AssayError } from "../errors/assay-error.ts";
import { Bundle } from "../proto/gen/spire/api/server/bundle/v1/bundle_pb.ts";
import { parseSpiffeId } from "../spiffe/id.ts";
import { parseTrustDomain, parseTrustDomainOrId } from "../spiffe/trust-domain.ts";
import { withAdminClient } from "./admin-client.ts";
import { type CliIo, writeResult } from "./io.ts";
import { adminOptions, type AdminOptions } from "./options.ts";
import { readInput } from "./read-input.ts";
import { table } from "./table.ts";

/** One line of the answer. `result` is absent for rules of what is only linted while it is being made. */
interface LintLine {
  readonly subject: string;
  readonly rule: string;
  readonly detail: string;
  readonly result?: "holds" | "broken";
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
    const certificates = file === undefined ? await ofBundle(io, flags) : await ofFile(io, file);
    const lines = [
      ...certificates.flatMap((one) => judged(one, certificates)),
      ...(file === undefined ? unjudged() : []),
    ];
    const broken = lines.filter(({ result }) => result === "broken");
    const shown = flags.broken ? broken : lines;
    writeResult(io, flags.output, shown, () =>
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

async function ofBundle(io: CliIo, flags: AdminOptions): Promise<readonly Certificate[]> {
  return withAdminClient(io, flags.adminSocket, async (client) => {
    const { x509Authorities } = await client.service(Bundle).getBundle({});
    return x509Authorities.map(({ asn1 }) => readCertificate(asn1));
  });
}

async function ofFile(io: CliIo, file: string): Promise<readonly Certificate[]> {
  const pem = Buffer.from(await readInput(io, file, "<file>")).toString("utf8");
  return parsePemCertificates(pem);
}

function judged(one: Certificate, all: readonly Certificate[]): readonly LintLine[] {
  const uri = one.subjectAltName?.uris[0] ?? "";
  const name = `${uri === "" ? "a certificate without URI" : uri} ${Buffer.from(one.subjectKeyId ?? [])
    .toString("hex")
    .slice(0, 8)}`;
  const verdicts =
    one.basicConstraints?.ca === true ? authorityVerdicts(one, uri) : leafVerdicts(one, uri, all);
  return verdicts.map(({ rule, detail, holds }) => ({
    subject: name.trimEnd(),
    rule,
    detail,
    result: holds ? ("holds" as const) : ("broken" as const),
  }));
}

function authorityVerdicts(one: Certificate, uri: string): readonly LintVerdict[] {
  let trustDomain = "";
  try {
    trustDomain = parseTrustDomainOrId(uri);
  } catch {
    // What it says is no trust domain, and the rule about the URI will say so.
  }
  return judgeX509Authority(one, { trustDomain });
}

/** A leaf as it stands: who ordered what is not known here, so only its issuer and the profile can be asked about. */
function leafVerdicts(one: Certificate, uri: string, all: readonly Certificate[]): readonly LintVerdict[] {
  const authorityKeyId = Buffer.from(one.authorityKeyId ?? []);
  const issuer = all.find(
    ({ basicConstraints, subjectKeyId }) =>
      basicConstraints?.ca === true && subjectKeyId !== undefined && authorityKeyId.equals(subjectKeyId),
  );
  return judgeX509Svid(one, {
    spiffeId: uri,
    spki: one.spki,
    dnsNames: one.subjectAltName?.dnsNames ?? [],
    issuer: issuer?.subject ?? one.issuer,
    authorityKeyId: issuer?.subjectKeyId ?? authorityKeyId,
    signatureAlgorithm: SIGNATURES.get(one.signatureAlgorithm.oid) ?? "ecdsa-sha256",
    authorityNotAfter: issuer?.notAfter ?? Number.MAX_SAFE_INTEGER,
  });
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

const SIGNATURES: ReadonlyMap<string, SigningAlgorithm> = new Map([
  [OIDS.ecdsaWithSha256, "ecdsa-sha256"],
  [OIDS.ecdsaWithSha384, "ecdsa-sha384"],
  [OIDS.sha256WithRsaEncryption, "rsa-sha256"],
]);
