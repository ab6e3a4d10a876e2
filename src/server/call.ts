import type { AgentCaller, Caller } from "../issuance/caller.ts";
import { AssayError } from "../errors/assay-error.ts";
import type { CallContext } from "../rpc/call-context.ts";
import type { Role } from "./access/roles.ts";

/** What a connection knows of its other end; asked at every call, as bundles and nodes change while it lives. */
export interface ServerPeer {
  /** @throws AssayError `CALLER_NOT_IDENTIFIED` where what it showed is no longer good. */
  caller(): Caller;
}

/** A caller with the role in which it was admitted to the method. */
export interface AdmittedCaller {
  readonly who: Caller;
  readonly role: Role;
}

/** The context of every call that the server's handlers see. */
export type ServerCall = CallContext<ServerPeer, AdmittedCaller>;

/**
 * The agent behind a call that only agents may make.
 * @throws AssayError `INTERNAL` where access control let somebody else in, which would be a bug.
 */
export function agentOf({ who, role }: AdmittedCaller): AgentCaller {
  if (role !== "agent" || who.svid === undefined)
    throw new AssayError("INTERNAL", "the method is for agents only");
  return { ...who, svid: who.svid };
}
