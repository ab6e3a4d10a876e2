import { AssayError } from "../../errors/assay-error.ts";
import { LocalAuthority } from "../../proto/gen/spire/api/server/localauthority/v1/localauthority_pb.ts";
import type { ServiceHandlers } from "../../rpc/handlers.ts";
import type { Signing } from "../../signing/signing.ts";
import type { AuthorityKind, AuthorityRecord } from "../../store/records.ts";
import type { ServerCall } from "../call.ts";
import type { AuthorityOperations } from "../operations/authority-operations.ts";
import { operatorCall } from "./operator-call.ts";

/** What `spire.api.server.localauthority.v1.LocalAuthority` is served with. */
export interface AuthorityServiceOptions {
  readonly signing: Pick<Signing, "authorityStates" | "upstream" | "upstreamIdOf">;
  readonly operations: AuthorityOperations;
  /** Whether WIT-SVIDs are issued; the methods for WIT authorities are Unimplemented otherwise. */
  readonly wit: boolean;
}

/** Handlers of `spire.api.server.localauthority.v1.LocalAuthority`: this server's authorities, moved by hand. */
export function authorityService({
  signing,
  operations,
  wit,
}: AuthorityServiceOptions): ServiceHandlers<typeof LocalAuthority, ServerCall> {
  const states = (kind: AuthorityKind) => {
    const { active, prepared, old } = signing.authorityStates(kind);
    return {
      ...(active === undefined ? {} : { active: stateToWire(active) }),
      ...(prepared === undefined ? {} : { prepared: stateToWire(prepared) }),
      ...(old === undefined ? {} : { old: stateToWire(old) }),
    };
  };
  const prepare = (kind: AuthorityKind) => async (_: unknown, context: ServerCall) => ({
    preparedAuthority: stateToWire(await operations.prepareAuthority(operatorCall(context), kind)),
  });
  const activate = (kind: AuthorityKind) => async (request: NamesAuthority, context: ServerCall) => ({
    activatedAuthority: stateToWire(
      await operations.activateAuthority(operatorCall(context), kind, idOf(request)),
    ),
  });
  const taint = (kind: AuthorityKind) => async (request: NamesAuthority, context: ServerCall) => ({
    taintedAuthority: stateToWire(
      await operations.taintAuthority(operatorCall(context), kind, idOf(request)),
    ),
  });
  const revoke = (kind: AuthorityKind) => async (request: NamesAuthority, context: ServerCall) => ({
    revokedAuthority: stateToWire(
      await operations.revokeAuthority(operatorCall(context), kind, idOf(request)),
    ),
  });

  const stateToWire = (authority: AuthorityRecord) => {
    const root = signing.upstreamIdOf(authority);
    return {
      authorityId: authority.id,
      expiresAt: BigInt(authority.notAfter),
      ...(root !== undefined && { upstreamAuthoritySubjectKeyId: root }),
    };
  };
  const upstreamId = ({ subjectKeyId }: { readonly subjectKeyId: string }): string => {
    // What was trusted there stays to be dealt with when nobody signs there any longer.
    const { isConfigured, hasRoots } = signing.upstream();
    if (!isConfigured && !hasRoots) {
      throw new AssayError("PRECONDITION_FAILED", "upstream authority is not configured");
    }
    if (subjectKeyId === "") throw new AssayError("INVALID_REQUEST", "missing subject key ID");
    return subjectKeyId.toLowerCase();
  };

  return {
    getX509AuthorityState: () => states("x509"),
    prepareX509Authority: prepare("x509"),
    activateX509Authority: activate("x509"),
    taintX509Authority: taint("x509"),
    revokeX509Authority: revoke("x509"),
    async taintX509UpstreamAuthority(request, context) {
      const root = await operations.taintUpstreamAuthority(operatorCall(context), upstreamId(request));
      return { upstreamAuthoritySubjectKeyId: root.id };
    },
    async revokeX509UpstreamAuthority(request, context) {
      const root = await operations.revokeUpstreamAuthority(operatorCall(context), upstreamId(request));
      return { upstreamAuthoritySubjectKeyId: root.id };
    },
    getJWTAuthorityState: () => states("jwt"),
    prepareJWTAuthority: prepare("jwt"),
    activateJWTAuthority: activate("jwt"),
    taintJWTAuthority: taint("jwt"),
    revokeJWTAuthority: revoke("jwt"),
    ...(wit && {
      getWITAuthorityState: () => states("wit"),
      prepareWITAuthority: prepare("wit"),
      activateWITAuthority: activate("wit"),
      taintWITAuthority: taint("wit"),
      revokeWITAuthority: revoke("wit"),
    }),
  };
}

interface NamesAuthority {
  readonly authorityId: string;
}

function idOf({ authorityId }: NamesAuthority): string {
  if (authorityId === "") throw new AssayError("INVALID_REQUEST", "missing authority ID");
  return authorityId;
}
