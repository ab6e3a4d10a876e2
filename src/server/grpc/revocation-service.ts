import type { Revocation } from "../../proto/gen/assay/api/server/v1/revocation_pb.ts";
import type { ServiceHandlers } from "../../rpc/handlers.ts";
import { parseTrustDomainOrId } from "../../spiffe/trust-domain.ts";
import type { CrlStore } from "../../store/store.ts";
import type { ServerCall } from "../call.ts";
import type { Operations } from "../operations/operations.ts";
import { revocationListToWire } from "../wire/revocation-list.ts";
import { operatorCall } from "./operator-call.ts";

/** What `assay.api.server.v1.Revocation` is served with. */
export interface RevocationServiceOptions {
  readonly crls: Pick<CrlStore, "list">;
  readonly operations: Operations;
}

/** Handlers of `assay.api.server.v1.Revocation`. */
export function revocationService({
  crls,
  operations,
}: RevocationServiceOptions): ServiceHandlers<typeof Revocation, ServerCall> {
  return {
    async listRevocationLists() {
      return { lists: (await crls.list()).map(revocationListToWire) };
    },
    async setRevocationList({ trustDomain, crl }, context) {
      const name = parseTrustDomainOrId(trustDomain);
      const list = await operations.setCrl(operatorCall(context), name, Uint8Array.from(crl));
      return { list: revocationListToWire(list) };
    },
    async deleteRevocationList({ trustDomain, authorityKeyId }, context) {
      const name = parseTrustDomainOrId(trustDomain);
      await operations.deleteCrl(operatorCall(context), name, authorityKeyId);
      return {};
    },
  };
}
