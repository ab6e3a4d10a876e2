/**
 * The only place that reads environment variables. They are other people's conventions, and every setting of our own is a
 * key of the file or a flag; but for a CI job, which has no other place: there a variable stands for a flag.
 */
export interface Environment {
  /** Address of the Workload Endpoint (Workload Endpoint §4), for commands that act as a workload. */
  readonly spiffeEndpointSocket: string | undefined;
  /** Where systemd is told that the program is ready (`sd_notify(3)`). */
  readonly notifySocket: string | undefined;
  /** All variables, for the command that a job runs and for what its CI platform put among them. */
  readonly variables: Readonly<Record<string, string | undefined>>;
}

/** Reads the environment; an empty variable counts as absent. */
export function readEnvironment(
  variables: Readonly<Record<string, string | undefined>> = process.env,
): Environment {
  return {
    spiffeEndpointSocket: variables["SPIFFE_ENDPOINT_SOCKET"] || undefined,
    notifySocket: variables["NOTIFY_SOCKET"] || undefined,
    variables,
  };
}
