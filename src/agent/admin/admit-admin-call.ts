import { AssayError } from "../../errors/assay-error.ts";
import type { PeerProcess } from "../../peer/identify-peer.ts";
import { DelegatedIdentity } from "../../proto/gen/spire/api/agent/delegatedidentity/v1/delegatedidentity_pb.ts";
import type { CallContext } from "../../rpc/call-context.ts";

/**
 * Keeps everything on the admin socket but the Delegated Identity API to the agent's own user, however far the operator
 * has opened the socket for delegates, who are told by their identities.
 * @throws AssayError `AUTHORIZATION_DENIED`.
 */
export function admitAdminCall({ method, peer }: CallContext<PeerProcess, undefined>): undefined {
  if (method.startsWith(DELEGATED_PREFIX) || isOwnUser(peer)) return;
  throw new AssayError("AUTHORIZATION_DENIED", "only the agent's own user may call this method");
}

/** Whether a process runs as the agent's own user, or as root. */
export function isOwnUser({ uid }: Pick<PeerProcess, "uid">): boolean {
  return uid === 0 || uid === process.geteuid?.();
}

const DELEGATED_PREFIX = `/${DelegatedIdentity.typeName}/`;
