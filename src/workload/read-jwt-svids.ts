import { parseJwtSvidInsecure } from "../crypto/jose/jwt-svid-verify.ts";
import { AssayError } from "../errors/assay-error.ts";
import type { JWTSVID, JWTSVIDResponse } from "../proto/gen/spiffe/workload/workload_pb.ts";
import { parseSpiffeId, type SpiffeId } from "../spiffe/id.ts";
import { withoutRepeatedHints } from "./hints.ts";

/** A JWT-SVID of this workload. */
export interface WorkloadJwtSvid {
  readonly spiffeId: SpiffeId;
  /** What the operator says this identity is for; may be empty (Workload API §8). */
  readonly hint: string;
  /** JWS compact serialisation. A bearer secret: whoever has it is this workload to its audience until it expires. */
  readonly token: string;
  readonly audience: readonly string[];
  /** Unix seconds, if the token says so. */
  readonly issuedAt?: number;
  /** Unix seconds. */
  readonly expiresAt: number;
}

/** What was asked for, and when the answer came, in Unix seconds. */
export interface JwtSvidQuestion {
  readonly audience: readonly string[];
  readonly spiffeId: SpiffeId | undefined;
  readonly now: number;
}

/**
 * Reads an answer of FetchJWTSVID: every mandatory field (Workload API §4.5), tokens of the profile whose subject is the
 * ID beside them, for every audience asked for, not expired. Of SVIDs with the same hint the first counts (§6.2.1).
 * @throws AssayError naming the field: `INVALID_REQUEST`, `INVALID_SPIFFE_ID`, `INVALID_JWT_SVID`.
 */
export function readJwtSvids(
  response: JWTSVIDResponse,
  question: JwtSvidQuestion,
): readonly WorkloadJwtSvid[] {
  if (response.svids.length === 0) throw new AssayError("INVALID_REQUEST", "svids must not be empty");
  return withoutRepeatedHints(response.svids.map((svid, at) => readSvid(svid, at, question)));
}

function readSvid({ spiffeId: id, svid: token, hint }: JWTSVID, at: number, question: JwtSvidQuestion) {
  const spiffeId = parseSpiffeId(id);
  const { spiffeId: subject, audience, expiresAt, issuedAt } = parseJwtSvidInsecure(token);
  if (subject !== spiffeId) fail(at, `is not that of ${spiffeId}`);
  if (question.spiffeId !== undefined && spiffeId !== question.spiffeId) {
    fail(at, `is not that of ${question.spiffeId}, which was asked for`);
  }
  if (!question.audience.every((wanted) => audience.includes(wanted)))
    fail(at, "is for another audience than was asked for");
  if (question.now >= expiresAt) fail(at, "has expired");
  return { spiffeId, hint, token, audience, expiresAt, ...(issuedAt === undefined ? {} : { issuedAt }) };
}

function fail(at: number, detail: string): never {
  throw new AssayError("INVALID_JWT_SVID", `svids[${at}].svid ${detail}`);
}
