import { unixSeconds } from "../../clock.ts";
import { AssayError } from "../../errors/assay-error.ts";
import type { AccessTokenOrder, IssuedToken } from "../../signing/signing.ts";
import type { CredentialRecord } from "../../store/task-store.ts";
import type { ExchangeOptions } from "./exchange-options.ts";

/**
 * Mints an access token with a place in a status list, and writes it down: what was not written down does not leave.
 * @throws AssayError `NO_IDENTITY_ISSUED` where its task is over, or what it was exchanged for is revoked;
 * `STORE_UNAVAILABLE`, signing's.
 */
export async function recordedToken(
  options: Pick<ExchangeOptions, "signing" | "credentials" | "statusListUri" | "clock" | "newTokenId">,
  order: Omit<AccessTokenOrder, "jti" | "status">,
  origin: Pick<CredentialRecord, "spiffeId" | "entryId" | "taskId" | "parent">,
): Promise<IssuedToken> {
  const { signing, credentials, statusListUri, clock, newTokenId } = options;
  const status = await credentials.reserveStatus(unixSeconds(clock) + order.ttl);
  const issued = await signing.mintAccessToken({
    ...order,
    jti: newTokenId(),
    status: { uri: statusListUri(status.list), idx: status.index },
  });
  const { jti: id, keyId: authorityId, issuedAt, expiresAt } = issued;
  const credential = {
    kind: "access_token",
    id,
    authorityId,
    issuedAt,
    expiresAt,
    status,
    ...origin,
  } as const;
  if (!(await credentials.record([credential]))) {
    throw new AssayError("NO_IDENTITY_ISSUED", "what the token follows from ended meanwhile");
  }
  return issued;
}
