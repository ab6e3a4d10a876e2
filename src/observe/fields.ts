/**
 * Names of the fields in log lines, in snake_case and with SPIRE's spelling where it has one, so that one query finds
 * a fact in the logs of either.
 */
export const FIELD = {
  address: "address",
  agentId: "agent_id",
  attestor: "attestor",
  audience: "audience",
  authorityId: "authority_id",
  callerId: "caller_id",
  code: "code",
  count: "count",
  decisionId: "decision_id",
  detail: "detail",
  elapsedMs: "elapsed_ms",
  entryId: "entry_id",
  error: "error",
  expiresAt: "expires_at",
  gid: "gid",
  method: "method",
  nodeAttestorType: "node_attestor_type",
  path: "path",
  pid: "pid",
  plugin: "plugin_name",
  requestId: "request_id",
  retryMs: "retry_ms",
  selectors: "selectors",
  serial: "serial_num",
  service: "service",
  signal: "signal",
  spiffeId: "spiffe_id",
  status: "status",
  subsystem: "subsystem_name",
  trustDomain: "trust_domain",
  uid: "uid",
  version: "version",
} as const;

/** Facts that accompany a log line. Never pass secrets. */
export type LogFields = Readonly<Record<string, unknown>>;
