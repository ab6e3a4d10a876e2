import type { ErrorCode } from "../../errors/codes.ts";

/** Whether an error is the server's word that the agent itself is at fault, and not the call. */
export function isDenial(code: ErrorCode): boolean {
  return DENIALS.has(code);
}

const DENIALS: ReadonlySet<ErrorCode> = new Set([
  "AGENT_BANNED",
  "AGENT_EXPIRED",
  "AGENT_NOT_ACTIVE",
  "AGENT_NOT_ATTESTED",
  "AGENT_MUST_REATTEST",
]);
