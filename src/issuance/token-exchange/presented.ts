import { hash } from "node:crypto";
import { unixSeconds } from "../../clock.ts";
import type { ActClaim, Confirmation } from "../../crypto/jose/access-token.ts";
import { verifyAccessToken } from "../../crypto/jose/access-token-verify.ts";
import { splitCompactJws } from "../../crypto/jose/compact-jws.ts";
import { parseJwtSvidInsecure, verifyJwtSvid } from "../../crypto/jose/jwt-svid-verify.ts";
import type { JsonObject } from "../../crypto/jose/strict-json.ts";
import { jwkThumbprint } from "../../crypto/jose/thumbprint.ts";
import { verifyWitSvid } from "../../crypto/jose/wit-svid-verify.ts";
import { AssayError } from "../../errors/assay-error.ts";
import { isMemberOf, parseSpiffeId, type SpiffeId } from "../../spiffe/id.ts";
import type { CredentialKind } from "../../store/task-store.ts";
import type { CallerSvid } from "../caller.ts";
import type { ExchangeOptions } from "./exchange-options.ts";
import { jwtKeysOf, witKeysOf } from "./token-keys.ts";

/** Something of our own issuance that was shown and verified, but for revocation. */
export interface Presented {
  readonly kind: CredentialKind;
  /** As credentials are named in the store. */
  readonly id: string;
  readonly spiffeId: SpiffeId;
  /** The authority that signed it; empty for an X509-SVID, whose connection did not say. */
  readonly authorityId: string;
  /** Unix seconds, 0 where it does not say. */
  readonly issuedAt: number;
  /** Unix seconds. */
  readonly expiresAt: number;
  /** Empty where it names none. */
  readonly audience: readonly string[];
  /** What its holder must prove to hold; `undefined` for what is good in anybody's hands, or was proved already. */
  readonly confirmation?: Confirmation;
  readonly act?: ActClaim;
  /** Every claim as it was signed; empty for an X509-SVID. */
  readonly claims: JsonObject;
}

/** What reading stands on. */
export type ReadingOptions = Pick<
  ExchangeOptions,
  "trustDomain" | "clock" | "signing" | "issuer" | "witSvids"
>;

/**
 * A JWT-SVID of the own trust domain that was made for this server alone: its one audience is the issuer, so that no token
 * that somebody else was shown opens anything here (draft-ietf-oauth-spiffe-client-auth §4).
 * @throws AssayError `INVALID_JWT_SVID`.
 */
export async function readAssertion(options: ReadingOptions, token: string): Promise<Presented> {
  const presented = await readJwtSvid(options, token, options.issuer);
  if (presented.audience.length !== 1) {
    throw new AssayError("INVALID_JWT_SVID", "aud must be the issuer and nobody else");
  }
  return presented;
}

/**
 * Any token of our own issuance, whoever it is for: JWT-SVID, WIT-SVID or access token, told apart by `typ`.
 * @throws AssayError `INVALID_JWT_SVID`, `INVALID_WIT_SVID`, `INVALID_ACCESS_TOKEN`.
 */
export async function readToken(options: ReadingOptions, token: string): Promise<Presented> {
  switch (typeOf(token)) {
    case "at+jwt":
      return readAccessToken(options, token);
    case "wit+jwt":
      return readWitSvid(options, token);
    default:
      return readJwtSvid(options, token, parseJwtSvidInsecure(token).audience[0] ?? "");
  }
}

/**
 * A token that RFC 8693 calls a JWT: a JWT-SVID made for this server, or a WIT-SVID.
 * @throws AssayError `INVALID_JWT_SVID`, `INVALID_WIT_SVID`.
 */
export async function readSvidToken(options: ReadingOptions, token: string): Promise<Presented> {
  return typeOf(token) === "wit+jwt" ? readWitSvid(options, token) : readAssertion(options, token);
}

/** An access token of ours, whatever it is for. @throws AssayError `INVALID_ACCESS_TOKEN`. */
export async function readAccessToken(options: ReadingOptions, token: string): Promise<Presented> {
  const { signing, issuer, clock } = options;
  const facts = await verifyAccessToken(token, jwtKeysOf(signing.bundle()), {
    issuer,
    audience: undefined,
    now: unixSeconds(clock),
    leewaySeconds: LEEWAY_SECONDS,
  });
  requireEnd(options, facts.expiresAt, "INVALID_ACCESS_TOKEN");
  const { confirmation, act } = facts;
  if (confirmation === undefined) {
    throw new AssayError("INVALID_ACCESS_TOKEN", "token is bound to nobody");
  }
  return {
    kind: "access_token",
    id: facts.jti,
    spiffeId: ownId(options, facts.subject, "INVALID_ACCESS_TOKEN"),
    authorityId: facts.keyId,
    issuedAt: facts.issuedAt,
    expiresAt: facts.expiresAt,
    audience: [facts.audience],
    confirmation,
    claims: facts.claims,
    ...(act === undefined ? {} : { act }),
  };
}

/** A WIT-SVID of ours. @throws AssayError `INVALID_WIT_SVID`, also where WIT-SVIDs are switched off. */
export async function readWitSvid(options: ReadingOptions, token: string): Promise<Presented> {
  if (!options.witSvids) throw new AssayError("INVALID_WIT_SVID", "WIT-SVIDs are switched off");
  const facts = await verifyWitSvid(token, witKeysOf(options.signing.bundle()), {
    now: unixSeconds(options.clock),
  });
  const { claims } = facts;
  const cnf = claims["cnf"] as { readonly jwk: unknown };
  const { jti, iat } = claims;
  return {
    kind: "wit",
    id: typeof jti === "string" ? jti : signingInputHash(token),
    spiffeId: ownId(options, facts.spiffeId, "INVALID_WIT_SVID"),
    authorityId: facts.keyId,
    issuedAt: typeof iat === "number" ? iat : 0,
    expiresAt: facts.expiresAt,
    audience: [],
    confirmation: { jkt: jwkThumbprint(cnf.jwk, "INVALID_WIT_SVID") },
    claims,
  };
}

/**
 * The X509-SVID that the caller proved on its connection, which may outlive it.
 * @throws AssayError `CLIENT_REFUSED` where it has expired or is of another trust domain.
 */
export function readClientSvid(
  options: Pick<ReadingOptions, "clock" | "trustDomain">,
  { spiffeId, serial, notAfter }: CallerSvid,
): Presented {
  if (!(unixSeconds(options.clock) < notAfter))
    throw new AssayError("CLIENT_REFUSED", "X509-SVID has expired");
  ownId(options, spiffeId, "CLIENT_REFUSED");
  return {
    kind: "x509",
    id: serial,
    spiffeId,
    authorityId: "",
    issuedAt: 0,
    expiresAt: notAfter,
    audience: [],
    claims: {},
  };
}

async function readJwtSvid(options: ReadingOptions, token: string, audience: string): Promise<Presented> {
  const { signing, clock, issuer } = options;
  const facts = await verifyJwtSvid(token, jwtKeysOf(signing.bundle()), {
    audience,
    now: unixSeconds(clock),
    leewaySeconds: LEEWAY_SECONDS,
  });
  requireEnd(options, facts.expiresAt, "INVALID_JWT_SVID");
  const { iss, jti } = facts.claims;
  // All of ours have it where an issuer is configured; one of before says nothing else than that.
  if (iss !== undefined && iss !== issuer) throw new AssayError("INVALID_JWT_SVID", "iss must be the issuer");
  return {
    kind: "jwt",
    id: typeof jti === "string" ? jti : signingInputHash(token),
    spiffeId: ownId(options, facts.spiffeId, "INVALID_JWT_SVID"),
    authorityId: facts.keyId,
    issuedAt: facts.issuedAt ?? 0,
    expiresAt: facts.expiresAt,
    audience: facts.audience,
    claims: facts.claims,
  };
}

/** The leeway is for beginnings, since clocks of servers differ; what has ended has ended. */
function requireEnd(
  { clock }: ReadingOptions,
  expiresAt: number,
  code: "INVALID_JWT_SVID" | "INVALID_ACCESS_TOKEN",
) {
  if (!(unixSeconds(clock) < expiresAt)) throw new AssayError(code, "token has expired");
}

function ownId(
  { trustDomain }: Pick<ReadingOptions, "trustDomain">,
  subject: string,
  code: "INVALID_JWT_SVID" | "INVALID_WIT_SVID" | "INVALID_ACCESS_TOKEN" | "CLIENT_REFUSED",
): SpiffeId {
  const spiffeId = parseSpiffeId(subject);
  if (!isMemberOf(spiffeId, trustDomain)) throw new AssayError(code, "subject is of another trust domain");
  return spiffeId;
}

/** What the header says of the token's kind; each kind's own reader has the last word. */
function typeOf(token: string): unknown {
  return splitCompactJws(token, {
    code: "INVALID_JWT_SVID",
    types: ["JWT", "JOSE", "at+jwt", "wit+jwt"],
    typeOptional: true,
  }).header["typ"];
}

/** By what tokens without `jti` are traced: see `PreparedJwtSvid.tokenId`. */
function signingInputHash(token: string): string {
  return hash("sha256", token.slice(0, token.lastIndexOf(".")), "hex");
}

const LEEWAY_SECONDS = 5;
