import type { LintFinding } from "../lint.ts";
import { AssayError } from "../../errors/assay-error.ts";
import { dateClaim, splitCompactJws, verifyCompactJws } from "./compact-jws.ts";
import type { JwtVerificationKey } from "./jwt-svid-verify.ts";
import type { JwtSvidAlgorithm } from "./jwt-svid.ts";
import { compressStatusList, expandStatusList, type StatusBits, type StatusList } from "./status-list.ts";
import { svidAlgorithmOf } from "./svid-algorithms.ts";
import { hasMembers, isJsonObject, readTokenInput } from "./token-input.ts";

/** Media type of a status list in a JWT (Token Status List §8.1). */
export const STATUS_LIST_MEDIA_TYPE = "application/statuslist+jwt";

/** What a status list token says (Token Status List §5.1). Times are whole Unix seconds. */
export interface StatusListClaims {
  /** URI that tokens name in `status_list.uri`, and where it is fetched. */
  readonly uri: string;
  /** One bit each, 1 for invalid; at most 1 MiB. */
  readonly list: Uint8Array;
  readonly iat: number;
  readonly exp: number;
  /** How long it may be kept before it is fetched again, in seconds, at least 1. */
  readonly ttl: number;
}

/**
 * The JWS signing input of a status list token: header with exactly `alg`, `kid` and `typ: statuslist+jwt`, claims in a
 * fixed order.
 * @throws AssayError `INTERNAL` for times that are not whole seconds.
 */
export function statusListSigningInput(options: {
  readonly keyId: string;
  readonly alg: JwtSvidAlgorithm;
  readonly claims: StatusListClaims;
}): Uint8Array {
  const { uri, list, iat, exp, ttl } = options.claims;
  if (![iat, exp, ttl].every((value) => Number.isSafeInteger(value))) {
    throw new AssayError("INTERNAL", "iat, exp and ttl must be whole seconds");
  }
  const header = JSON.stringify({ alg: options.alg, kid: options.keyId, typ: TYPE });
  const status_list = { bits: 1, lst: compressStatusList(list) };
  const claims = JSON.stringify({ sub: uri, iat, exp, ttl, status_list });
  return Buffer.from(`${base64url(header)}.${base64url(claims)}`, "latin1");
}

/** What a status list token was ordered to say. */
export interface StatusListOrdered extends StatusListClaims {
  readonly keyId: string;
  /** Algorithm of the authority's key. */
  readonly algorithm: string;
  /** Unix seconds. */
  readonly authorityNotAfter: number;
}

/**
 * Reads the bytes that are about to be signed as somebody would who does not know how they were made, unfolds the list
 * and compares it with what was ordered. Nothing is signed that has a finding.
 */
export function lintStatusListInput(input: Uint8Array, ordered: StatusListOrdered): readonly LintFinding[] {
  const findings: LintFinding[] = [];
  const expect = (holds: boolean, rule: string, detail: string) => {
    if (!holds) findings.push({ rule, detail });
  };
  const read = readTokenInput(input);
  if (read === undefined) {
    return [{ rule: "§5.1", detail: "token must be a header and claims, each a JSON object in base64url" }];
  }
  const { header, claims } = read;
  const { keyId, algorithm, uri, iat, exp, ttl, list } = ordered;
  expect(hasMembers(header, ["alg", "kid", "typ"]), "§5.1", "header must have alg, kid and typ alone");
  expect(header["typ"] === TYPE, "§5.1", `typ must be ${TYPE}`);
  expect(header["kid"] === keyId && keyId !== "", "§5.1", "kid must be the authority's");
  expect(
    header["alg"] === algorithm && svidAlgorithmOf(algorithm) !== undefined,
    "§5.1",
    "alg must be the authority's",
  );
  const members = ["sub", "iat", "exp", "ttl", "status_list"];
  expect(hasMembers(claims, members), "§5.1", `claims must be ${members.join(", ")} alone`);
  expect(claims["sub"] === uri && uri !== "", "§5.1", "sub must be the URI of the list");
  expect(claims["iat"] === iat && iat < exp, "§5.1", "iat must be before exp");
  expect(claims["exp"] === exp, "§5.1", "exp must be as ordered");
  expect(exp <= ordered.authorityNotAfter, "§5.1", "exp must not be after the authority's end");
  expect(claims["ttl"] === ttl && ttl >= 1, "§5.1", "ttl must be as ordered, at least a second");
  expect(holdsList(claims["status_list"], list), "§4.2", "status_list must unfold to the list ordered");
  return findings;
}

/** What a fetcher of status lists knows besides the token. */
export interface StatusListExpectations {
  /** From the token whose status is looked up; must be the `sub` of the list (Token Status List §8.3). */
  readonly uri: string;
  /** Unix seconds. */
  readonly now: number;
  /** How far clocks may differ, in seconds, 0 unless given. */
  readonly leewaySeconds?: number;
  /** The most that the list may unfold to, in octets, 1 MiB unless given. */
  readonly maxListOctets?: number;
}

/** A status list that may be relied on until it expires or its `ttl` is over. */
export interface StatusListFacts extends StatusList {
  /** Unix seconds. */
  readonly issuedAt: number;
  /** Unix seconds, where the list says so. */
  readonly expiresAt?: number;
  /** How long it may be kept, in seconds, where the list says so. */
  readonly ttl?: number;
  readonly keyId: string;
}

/**
 * Validates a status list token (Token Status List §8.3) of at most 2,000,000 characters. Its statuses are read by
 * `statusAt`. In this order: size, form, `alg`, `typ`, signature, claims, and last the list is unfolded.
 * @throws AssayError `INVALID_STATUS_LIST`.
 */
export async function verifyStatusList(
  token: string,
  keys: ReadonlyMap<string, JwtVerificationKey>,
  expected: StatusListExpectations,
): Promise<StatusListFacts> {
  const jws = splitCompactJws(token, KIND);
  const { kid } = jws.header;
  if (typeof kid !== "string" || kid === "") return fail("kid is missing");
  const key = keys.get(kid)?.publicKey;
  if (key === undefined) return fail("no JWT authority of the issuer has this kid");
  await verifyCompactJws(jws, key, CODE);
  const { sub, ttl, status_list: list } = jws.payload;
  const { now, leewaySeconds = 0 } = expected;
  if (sub !== expected.uri) fail("sub must be the URI of the list");
  const issuedAt = dateClaim(jws.payload, "iat", CODE) ?? fail("iat is missing");
  const expiresAt = dateClaim(jws.payload, "exp", CODE);
  if (ttl !== undefined && !(typeof ttl === "number" && ttl > 0)) return fail("ttl must be positive");
  // What must hold is asked for, so that a leeway that is no number lets nothing in.
  if (!(issuedAt <= now + leewaySeconds)) fail("list was issued in the future");
  if (expiresAt !== undefined && !(now < expiresAt + leewaySeconds)) fail("list has expired");
  if (!isJsonObject(list)) return fail("status_list is missing");
  const { bits, lst } = list;
  if (!isStatusBits(bits)) return fail("bits must be 1, 2, 4 or 8");
  if (typeof lst !== "string") return fail("lst is missing");
  const octets = expandStatusList(lst, expected.maxListOctets ?? MAX_LIST_OCTETS);
  return {
    bits,
    octets,
    issuedAt,
    keyId: kid,
    ...(expiresAt === undefined ? {} : { expiresAt }),
    ...(ttl === undefined ? {} : { ttl }),
  };
}

function holdsList(status: unknown, list: Uint8Array): boolean {
  if (!isJsonObject(status) || !hasMembers(status, ["bits", "lst"])) return false;
  const { bits, lst } = status;
  if (bits !== 1 || typeof lst !== "string" || list.length > MAX_LIST_OCTETS) return false;
  try {
    return Buffer.compare(expandStatusList(lst, MAX_LIST_OCTETS), list) === 0;
  } catch {
    return false;
  }
}

function isStatusBits(value: unknown): value is StatusBits {
  return value === 1 || value === 2 || value === 4 || value === 8;
}

function base64url(text: string): string {
  return Buffer.from(text, "utf8").toString("base64url");
}

function fail(detail: string): never {
  throw new AssayError(CODE, detail);
}

const CODE = "INVALID_STATUS_LIST";
const TYPE = "statuslist+jwt";
const MAX_LIST_OCTETS = 1024 * 1024;
const KIND = { code: CODE, types: [TYPE], typeOptional: false, maxCharacters: 2_000_000 } as const;
