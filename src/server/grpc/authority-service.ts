import { LocalAuthority } from "../../proto/gen/spire/api/server/localauthority/v1/localauthority_pb.ts";
import type { ServiceHandlers } from "../../rpc/handlers.ts";
import type { Signing } from "../../signing/signing.ts";
import type { AuthorityRecord } from "../../store/records.ts";
import type { ServerCall } from "../call.ts";

/** Handlers of `spire.api.server.localauthority.v1.LocalAuthority`: what authorities this server has. */
export function authorityService(
  signing: Pick<Signing, "authorities">,
): ServiceHandlers<typeof LocalAuthority, ServerCall> {
  const states = (kind: AuthorityRecord["kind"]) => {
    const records = signing
      .authorities()
      .filter((record) => record.kind === kind)
      .toSorted((a, b) => b.changedAt - a.changedAt);
    const of = (state: AuthorityRecord["state"]) => {
      const record = records.find((candidate) => candidate.state === state);
      return record === undefined
        ? undefined
        : { authorityId: record.id, expiresAt: BigInt(record.notAfter) };
    };
    const [active, prepared, old] = [of("active"), of("prepared"), of("old")];
    return {
      ...(active === undefined ? {} : { active }),
      ...(prepared === undefined ? {} : { prepared }),
      ...(old === undefined ? {} : { old }),
    };
  };
  return {
    getX509AuthorityState: () => states("x509"),
    getJWTAuthorityState: () => states("jwt"),
  };
}
