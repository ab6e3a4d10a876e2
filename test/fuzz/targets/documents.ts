import { isDeepStrictEqual } from "node:util";
import { formatBundleDocument, parseBundleDocument } from "../../../src/crypto/bundle-document.ts";
import { parseBundleMap } from "../../../src/crypto/bundle-map.ts";
import { parseJwkSet } from "../../../src/crypto/jose/jwk-set.ts";
import { parseJsonObject } from "../../../src/crypto/jose/strict-json.ts";
import { parsePemCertificates } from "../../../src/crypto/pem.ts";
import { tryParseSpiffeId } from "../../../src/spiffe/id.ts";
import { parseTrustDomain } from "../../../src/spiffe/trust-domain.ts";
import { type FuzzTarget, refuses } from "../fuzzer.ts";

const JSON_PIECES = [
  '"keys":',
  '"kty":"EC"',
  '"kty":"RSA"',
  '"use":"x509-svid"',
  '"use":"jwt-svid"',
  '"use":"wit-svid"',
  '"kid":"k"',
  '"x5c":[""]',
  '"spiffe_sequence":18446744073709551616',
  '"spiffe_sequence":1e9',
  '"spiffe_refresh_hint":-1',
  '"trust_domains":{"a.example":{"keys":[]}}',
  '"__proto__":{"keys":[]}',
  "\\u0000",
  "\\ud800",
  "[[[[[[[[[[[[[[[[",
  "null",
  "1e400",
  "\ufeff",
];

/** The JSON that tokens and bundles are made of: what is taken is what `JSON.parse` reads too. */
const json: FuzzTarget = {
  name: "json",
  dictionary: JSON_PIECES,
  run(input) {
    const value = parseJsonObject(input);
    if (typeof value === "string") return;
    if (!isDeepStrictEqual(value, JSON.parse(input.toString("utf8")))) throw new Error("reads differently");
  },
};

/** SPIFFE bundles (Trust Domain and Bundle §4), as foreign bundle endpoints send them; what is read can be written and read. */
const bundle: FuzzTarget = {
  name: "bundle",
  dictionary: JSON_PIECES,
  run(input) {
    const read = refuses(["INVALID_BUNDLE"], () => parseBundleDocument(DOMAIN, input));
    if (read === undefined) return;
    const again = parseBundleDocument(DOMAIN, Buffer.from(formatBundleDocument(read)));
    if (!isDeepStrictEqual(again, read)) throw new Error("reads differently once written");
  },
};

/** Maps of bundles (Trust Domain and Bundle §5). */
const bundleMap: FuzzTarget = {
  name: "bundle-map",
  dictionary: JSON_PIECES,
  run: (input) => void refuses(["INVALID_BUNDLE", "INVALID_TRUST_DOMAIN"], () => parseBundleMap(input)),
};

/** JWK sets (RFC 7517 §5), as a Workload API that is not ours may send them. */
const jwks: FuzzTarget = {
  name: "jwks",
  dictionary: JSON_PIECES,
  run: (input) => void refuses(["INVALID_BUNDLE"], () => parseJwkSet(input, "jwt-svid")),
};

/** PEM texts, as operators write them. */
const pem: FuzzTarget = {
  name: "pem",
  dictionary: [
    "-----BEGIN CERTIFICATE-----\n",
    "-----END CERTIFICATE-----\n",
    "-----BEGIN PRIVATE KEY-----",
    "====",
    "\r\n",
  ],
  run: (input) => void refuses(["INVALID_CERTIFICATE"], () => parsePemCertificates(input.toString("latin1"))),
};

/** SPIFFE IDs (SPIFFE-ID §2), as everybody sends them; what is taken is the text itself, in the standard's characters. */
const spiffeId: FuzzTarget = {
  name: "spiffe-id",
  dictionary: ["spiffe://", "/", "//", "/.", "/..", "%2F", "?", "#", "@", ":80", "SPIFFE://", "\u0000", "é"],
  run(input) {
    const text = input.toString("utf8");
    const id = tryParseSpiffeId(text);
    if (id === undefined) return;
    if (id !== text) throw new Error("was normalised");
    if (
      !/^spiffe:\/\/[a-z0-9._-]{1,255}(\/[a-zA-Z0-9._-]+)*$/.test(text) ||
      /\/\.{1,2}(\/|$)/.test(text.slice(9))
    ) {
      throw new Error("must have been refused");
    }
  },
};

const DOMAIN = parseTrustDomain("fuzz.example");

export const documentTargets: readonly FuzzTarget[] = [json, bundle, bundleMap, jwks, pem, spiffeId];
