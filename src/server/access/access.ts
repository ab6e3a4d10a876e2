/**
 * server/access — who may call what, decided in this one place and denied by default.
 *
 * Must never know what a method does; it knows names, roles and the state of nodes.
 * Called by the server's gRPC and JSON faces before every call.
 */
import { type Clock, unixSeconds } from "../../clock.ts";
import { AssayError } from "../../errors/assay-error.ts";
import type { ErrorCode } from "../../errors/codes.ts";
import type { Caller, CallerSvid } from "../../issuance/caller.ts";
import type { SpiffeId } from "../../spiffe/id.ts";
import { isAgentId } from "../../spiffe/reserved.ts";
import type { TrustDomain } from "../../spiffe/trust-domain.ts";
import type { NodeRecord } from "../../store/records.ts";
import { type Role, rolesFor } from "./roles.ts";

/** What the decision needs to know about nodes and entries, all from memory. */
export interface AccessFacts {
  node(id: SpiffeId): NodeRecord | undefined;
  /** Whether an unexpired entry of this ID has the flag. */
  hasFlag(id: SpiffeId, flag: "admin" | "downstream"): boolean;
  /** Makes the serial of a renewal the active one, durably. */
  activatePending(id: SpiffeId, serial: string): Promise<unknown>;
}

/** What access control is made of. */
export interface AccessOptions {
  readonly trustDomain: TrustDomain;
  readonly clock: Clock;
  readonly facts: AccessFacts;
  /** IDs that are administrators without an entry. */
  readonly adminIds: ReadonlySet<SpiffeId>;
}

/** Decides who may call what. */
export interface Access {
  /**
   * Gives the role in which the caller may call the method. Answers at once except where a renewed agent SVID is
   * used for the first time, which is written down first.
   * @throws AssayError `AUTHORIZATION_DENIED`, or for callers that could be agents the reason why they are none:
   * `AGENT_EXPIRED`, `AGENT_NOT_ATTESTED`, `AGENT_NOT_ACTIVE`, `AGENT_BANNED`.
   */
  authorize(method: string, caller: Caller): Role | Promise<Role>;
  /** Whether the caller has the role, by the same rules; for faces that are not named by gRPC methods. */
  holds(role: "local" | "admin", caller: Caller): boolean;
}

/** Makes the access control of one server. */
export function createAccess(options: AccessOptions): Access {
  const { facts, clock, trustDomain, adminIds } = options;

  function holds(role: Exclude<Role, "agent">, caller: Caller): boolean {
    switch (role) {
      case "any":
        return true;
      case "local":
        return caller.process !== undefined && caller.svid === undefined;
      case "admin":
        return (
          isCurrent(caller.svid) &&
          (adminIds.has(caller.svid.spiffeId) || facts.hasFlag(caller.svid.spiffeId, "admin"))
        );
      case "downstream":
        return isCurrent(caller.svid) && facts.hasFlag(caller.svid.spiffeId, "downstream");
    }
  }

  function isCurrent(svid: CallerSvid | undefined): svid is CallerSvid {
    return svid !== undefined && svid.notAfter > unixSeconds(clock);
  }

  function asAgent(method: string, svid: CallerSvid): Role | Promise<Role> {
    const node = facts.node(svid.spiffeId);
    if (!isCurrent(svid)) throw denied(method, "AGENT_EXPIRED");
    if (node === undefined) throw denied(method, "AGENT_NOT_ATTESTED");
    if (node.banned) throw denied(method, "AGENT_BANNED");
    if (svid.serial === node.serial) return "agent";
    if (node.pendingSerial === "" || svid.serial !== node.pendingSerial)
      throw denied(method, "AGENT_NOT_ACTIVE");
    return activated(method, svid);
  }

  async function activated(method: string, svid: CallerSvid): Promise<Role> {
    await facts.activatePending(svid.spiffeId, svid.serial);
    // Another call may have done it first, or the node may be gone meanwhile: the record says.
    if (facts.node(svid.spiffeId)?.serial !== svid.serial) throw denied(method, "AGENT_NOT_ACTIVE");
    return "agent";
  }

  return {
    holds,
    authorize(method, caller) {
      const roles = rolesFor(method);
      for (const role of roles) {
        if (role !== "agent" && holds(role, caller)) return role;
      }
      if (
        roles.includes("agent") &&
        caller.svid !== undefined &&
        isAgentId(caller.svid.spiffeId, trustDomain)
      ) {
        return asAgent(method, caller.svid);
      }
      throw denied(method, "AUTHORIZATION_DENIED");
    },
  };
}

function denied(method: string, code: ErrorCode): AssayError {
  return new AssayError(code, `authorization denied for method ${method}`);
}
