import { unixSeconds, type Clock } from "../../clock.ts";
import { AssayError } from "../../errors/assay-error.ts";
import { type DownstreamIssuanceOptions, issueDownstreamCa } from "../../issuance/downstream-ca.ts";
import type { Bundle } from "../../proto/gen/spire/api/server/bundle/v1/bundle_pb.ts";
import type { SVID } from "../../proto/gen/spire/api/server/svid/v1/svid_pb.ts";
import type { ServiceHandlers } from "../../rpc/handlers.ts";
import type { Signing } from "../../signing/signing.ts";
import type { ServerCall } from "../call.ts";
import { type ServerLimits, takeFrom } from "../limits.ts";
import type { Operations } from "../operations/operations.ts";
import { jwtAuthoritiesFromWire, keysToWire, witAuthoritiesFromWire } from "../wire/bundle.ts";
import { operatorCall } from "./operator-call.ts";

/** What the methods for servers below this one are served with. */
export interface DownstreamOptions {
  readonly issuance: DownstreamIssuanceOptions;
  readonly signing: Pick<Signing, "bundle">;
  readonly operations: Operations;
  readonly limits: ServerLimits;
  readonly clock: Clock;
  /** Whether WIT-SVIDs are issued, and so WIT authorities taken from below. */
  readonly wit: boolean;
}

/** The method of `spire.api.server.svid.v1.SVID` for servers below this one. */
export function downstreamSvidHandlers({
  issuance,
  signing,
  limits,
}: DownstreamOptions): Pick<ServiceHandlers<typeof SVID, ServerCall>, "newDownstreamX509CA"> {
  return {
    async newDownstreamX509CA({ csr, preferredTtl }, { caller }) {
      if (csr.length === 0) throw new AssayError("INVALID_REQUEST", "missing CSR");
      if (preferredTtl < 0) {
        throw new AssayError("INVALID_REQUEST", "preferred_ttl: expected seconds, 0 for the default");
      }
      takeFrom(limits.x509Signing, caller.who);
      const ca = await issueDownstreamCa(issuance, caller.who, { csr, ttl: preferredTtl });
      return {
        caCertChain: [...ca.chain],
        x509Authorities: signing.bundle().x509Authorities.map(({ certificate }) => certificate),
      };
    },
  };
}

/** The methods of `spire.api.server.bundle.v1.Bundle` for servers below this one. */
export function downstreamBundleHandlers({
  operations,
  limits,
  clock,
  wit,
}: DownstreamOptions): Pick<
  ServiceHandlers<typeof Bundle, ServerCall>,
  "publishJWTAuthority" | "publishWITAuthority"
> {
  function requireLife(expiresAt: number, field: string): void {
    const left = expiresAt - unixSeconds(clock);
    if (left <= 0) throw new AssayError("INVALID_BUNDLE", `${field}: expires_at must lie in the future`);
    if (left > (MAX_LIFE_DAYS + 1) * DAY) {
      throw new AssayError(
        "INVALID_BUNDLE",
        `${field}: expires_at must lie at most ${MAX_LIFE_DAYS} d in the future`,
      );
    }
  }

  return {
    async publishJWTAuthority({ jwtAuthority }, context) {
      takeFrom(limits.bundle, context.caller.who);
      if (jwtAuthority === undefined) throw new AssayError("INVALID_REQUEST", "missing JWT authority");
      const [key] = jwtAuthoritiesFromWire([{ ...jwtAuthority, tainted: false }]);
      if (key === undefined) throw new AssayError("INTERNAL", "a JWT authority was read and is gone");
      requireLife(key.expiresAt, "jwt_authority");
      const keys = await operations.publishJwtAuthority(operatorCall(context), key);
      return { jwtAuthorities: keysToWire(keys) };
    },

    ...(wit && {
      async publishWITAuthority({ witAuthority }, context) {
        takeFrom(limits.bundle, context.caller.who);
        if (witAuthority === undefined) throw new AssayError("INVALID_REQUEST", "missing WIT authority");
        const [key] = witAuthoritiesFromWire([{ ...witAuthority, tainted: false }]);
        if (key === undefined) throw new AssayError("INTERNAL", "a WIT authority was read and is gone");
        requireLife(key.expiresAt, "wit_authority");
        const keys = await operations.publishWitAuthority(operatorCall(context), key);
        return { witAuthorities: keysToWire(keys) };
      },
    }),
  };
}

// The longest life that `ca_ttl` allows, and a day for clocks.
const MAX_LIFE_DAYS = 3650;
const DAY = 86_400;
