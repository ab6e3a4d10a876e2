/**
 * The only place that reads environment variables, and the only two there are. Both are other people's conventions;
 * every setting of our own is a key of the file or a flag.
 */
export interface Environment {
  /** Address of the Workload Endpoint (Workload Endpoint §4), for commands that act as a workload. */
  readonly spiffeEndpointSocket: string | undefined;
  /** Where systemd is told that the program is ready (`sd_notify(3)`). */
  readonly notifySocket: string | undefined;
}

/** Reads the environment; an empty variable counts as absent. */
export function readEnvironment(
  variables: Readonly<Record<string, string | undefined>> = process.env,
): Environment {
  return {
    spiffeEndpointSocket: variables["SPIFFE_ENDPOINT_SOCKET"] || undefined,
    notifySocket: variables["NOTIFY_SOCKET"] || undefined,
  };
}
