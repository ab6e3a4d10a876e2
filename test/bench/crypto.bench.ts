import { createPrivateKey, randomBytes, sign, verify } from "node:crypto";
import { test } from "vitest";
import { readCertificate } from "../../src/crypto/certificate-reader.ts";
import { assembleJwtSvid, jwtSvidSigningInput } from "../../src/crypto/jose/jwt-svid.ts";
import { generateEcKeyPair, importPublicKey, subjectKeyIdentifier } from "../../src/crypto/keys.ts";
import { createCertificationRequest } from "../../src/crypto/pkcs10-writer.ts";
import { readCertificationRequest } from "../../src/crypto/pkcs10.ts";
import { randomSerial } from "../../src/crypto/random.ts";
import { createX509AuthorityCertificate } from "../../src/crypto/x509-authority.ts";
import { lintX509SvidTbs } from "../../src/crypto/x509-svid-lint.ts";
import { createX509SvidTemplate } from "../../src/crypto/x509-svid-template.ts";
import { verifyJwtSvid } from "../../src/crypto/jose/jwt-svid-verify.ts";

// Figures are ratios to the raw signature or verification of the same run: read them within one group only.
const NOW = 1_790_000_000;
const key = (() => {
  const pair = generateEcKeyPair("ec-p256");
  return {
    ...pair,
    private: createPrivateKey({ key: Buffer.from(pair.pkcs8), format: "der", type: "pkcs8" }),
  };
})();
const authority = readCertificate(
  await createX509AuthorityCertificate(
    {
      trustDomain: "example.org",
      spki: key.spki,
      serial: randomBytes(16),
      notBefore: NOW - 10,
      notAfter: NOW + 86_400,
      signatureAlgorithm: "ecdsa-sha256",
    },
    (bytes) => sign("sha256", bytes, key.private),
  ),
);
const issuer = {
  issuer: authority.subject,
  authorityKeyId: subjectKeyIdentifier(key.spki),
  signatureAlgorithm: "ecdsa-sha256",
} as const;
const template = createX509SvidTemplate(issuer);
const fieldsFor = (spki: Uint8Array) => ({
  spki,
  subjectKeyId: subjectKeyIdentifier(spki),
  spiffeId: "spiffe://example.org/ns/default/sa/web",
  dnsNames: [],
  serial: randomSerial(randomBytes),
  notBefore: NOW - 10,
  notAfter: NOW + 3600,
});
const fields = fieldsFor(key.spki);
const tbs = template.build(fields);
const expected = { ...fields, ...issuer, authorityNotAfter: authority.notAfter };
const mint = (spki: Uint8Array) => {
  const wanted = fieldsFor(spki);
  const bytes = template.build(wanted);
  const findings = lintX509SvidTbs(bytes, { ...wanted, ...issuer, authorityNotAfter: authority.notAfter });
  if (findings.length > 0) throw new Error("lint");
  return template.assemble(bytes, sign("sha256", bytes, key.private));
};
const csr = createCertificationRequest({ spki: key.spki }, "ecdsa-sha256", (info) =>
  sign("sha256", info, key.private),
);
const claims = { sub: "spiffe://example.org/x", aud: ["audience"], exp: NOW + 300, iat: NOW };
const mintJwt = () => {
  const input = jwtSvidSigningInput({ keyId: "k", alg: "ES256", claims });
  return assembleJwtSvid(input, sign("sha256", input, { key: key.private, dsaEncoding: "ieee-p1363" }));
};
const token = mintJwt();
const publicKey = importPublicKey(key.spki, "INTERNAL");
const keys = new Map([["k", { publicKey }]]);
const signature = sign("sha256", tbs, key.private);

test("X509-SVIDs", { timeout: 120_000 }, async ({ bench }) => {
  await bench.compare(
    bench("raw P-256 signature", () => void sign("sha256", tbs, key.private)),
    bench("serial, template, lint, signature, assembly", () => void mint(key.spki)),
    bench("template alone", () => void template.build(fields)),
    bench("lint alone", () => void lintX509SvidTbs(tbs, expected)),
    bench("raw P-256 verification", () => void verify("sha256", tbs, publicKey, signature)),
    bench("CSR verification", () => void readCertificationRequest(csr)),
    bench("CSR verification and X509-SVID", () => void mint(readCertificationRequest(csr).spki)),
    bench("new key and X509-SVID", () => void mint(generateEcKeyPair("ec-p256").spki)),
  );
});

test("JWT-SVIDs", { timeout: 120_000 }, async ({ bench }) => {
  await bench.compare(
    bench(
      "raw P-256 signature",
      () => void sign("sha256", tbs, { key: key.private, dsaEncoding: "ieee-p1363" }),
    ),
    bench("JWT-SVID", () => void mintJwt()),
    bench("JWT-SVID validation", async () => {
      await verifyJwtSvid(token, keys, { audience: "audience", now: NOW });
    }),
  );
});
