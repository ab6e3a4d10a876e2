import { AssayError } from "../errors/assay-error.ts";
import { isMemberOf, pathOf, type SpiffeId, spiffeIdOf } from "./id.ts";
import type { TrustDomain } from "./trust-domain.ts";

/** The ID that the server presents: `/spire/server`, which SPIRE's agents insist on. */
export function serverId(trustDomain: TrustDomain): SpiffeId {
  return spiffeIdOf(trustDomain, SERVER_PATH);
}

/**
 * The ID of an agent: `/spire/agent/<attestor>/<suffix>`.
 * @throws AssayError `INVALID_SPIFFE_ID` where the suffix is no path.
 */
export function agentId(trustDomain: TrustDomain, attestor: string, suffix: string): SpiffeId {
  return spiffeIdOf(trustDomain, `${AGENT_PREFIX}${attestor}/${suffix}`);
}

/** Whether the ID lies in the trust domain's agent namespace. */
export function isAgentId(id: SpiffeId, trustDomain: TrustDomain): boolean {
  return isMemberOf(id, trustDomain) && pathOf(id).startsWith(AGENT_PREFIX);
}

/** Whether the path is kept for the issuer's own use: `/spire` and everything below it. */
export function isReservedPath(path: string): boolean {
  return path === "/spire" || path.startsWith("/spire/");
}

/**
 * The parent of the entries of tasks that one task attestor vouches for: `/spire/task/<instance>`.
 * @throws AssayError `INVALID_SPIFFE_ID` unless the instance's name is 1 to 64 of `a-z 0-9 -`.
 */
export function taskParentId(trustDomain: TrustDomain, instance: string): SpiffeId {
  if (!TASK_INSTANCE.test(instance)) {
    throw new AssayError(
      "INVALID_SPIFFE_ID",
      "expected the name of a task attestor: 1 to 64 lower-case letters, numbers and dashes",
    );
  }
  return spiffeIdOf(trustDomain, `${TASK_PREFIX}${instance}`);
}

/** The task attestor whose tasks' entries have this parent, or `undefined` where it is no parent of such entries. */
export function taskInstanceOf(parentId: SpiffeId, trustDomain: TrustDomain): string | undefined {
  if (!isMemberOf(parentId, trustDomain)) return undefined;
  const path = pathOf(parentId);
  const instance = path.startsWith(TASK_PREFIX) ? path.slice(TASK_PREFIX.length) : "";
  return TASK_INSTANCE.test(instance) ? instance : undefined;
}

/** Whether the path lies where tasks and their parents are: `/spire/task` and everything below it. */
export function isTaskPath(path: string): boolean {
  return path === "/spire/task" || path.startsWith(TASK_PREFIX);
}

const SERVER_PATH = "/spire/server";
const AGENT_PREFIX = "/spire/agent/";
const TASK_PREFIX = "/spire/task/";
const TASK_INSTANCE = /^[a-z0-9-]{1,64}$/;
