/** Where commands look for the server's admin socket unless told: where a server without flags makes it. */
export const DEFAULT_ADMIN_SOCKET = "/var/lib/assay/server/admin.sock";

/** Where commands look for the agent's admin socket unless told. */
export const DEFAULT_AGENT_ADMIN_SOCKET = "/var/lib/assay/agent/admin.sock";

/** The Workload Endpoint that commands use where neither a flag nor `SPIFFE_ENDPOINT_SOCKET` names one. */
export const DEFAULT_WORKLOAD_ENDPOINT = "unix:///run/assay/agent.sock";
