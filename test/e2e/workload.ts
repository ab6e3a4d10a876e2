import { SpiffeWorkloadAPI } from "../../src/proto/gen/spiffe/workload/workload_pb.ts";
import { RpcClient } from "../../src/rpc/client.ts";
import { assayJson } from "./harness.ts";
import { run, type RunOptions } from "./program.ts";

/** What every call of the Workload API carries. */
export const SECURITY_HEADER = { "workload.spiffe.io": "true" } as const;

/** A user who has no entry in any test: `nobody` by its number. */
export const NOBODY = { uid: 65_534, gid: 65_534, cwd: "/" } as const;

/** Selectors that describe the user who runs the tests. */
export const OWN_SELECTORS = [`unix:uid:${process.getuid?.() ?? 0}`] as const;

/** An X509-SVID as `assay fetch x509 --output json` prints it. */
export interface FetchedX509Svid {
  readonly spiffe_id: string;
  readonly serial: string;
  readonly authority: string;
  readonly not_after: string;
}

/** Fetches X509-SVIDs as this very user, by the command. */
export function fetchX509(endpoint: string): Promise<readonly FetchedX509Svid[]> {
  return assayJson<readonly FetchedX509Svid[]>(["fetch", "x509", `--socket=${endpoint}`]);
}

/** Asks a Unix socket by curl, as a shell script would. */
export async function curl(
  socket: string,
  path: string,
  args: readonly string[] = [`--header=${SECURITY}`],
  options: RunOptions = {},
): Promise<{ readonly status: number; readonly body: string }> {
  const outcome = await run(
    "curl",
    [
      "--silent",
      "--max-time",
      "20",
      `--unix-socket`,
      socket,
      "--write-out",
      "\n%{http_code}",
      // curl wants an option and its value apart.
      ...args.flatMap((arg) => {
        const [, name = "", value] = /^(--[a-z-]+)=(.*)$/s.exec(arg) ?? [];
        return value === undefined ? [arg] : [name, value];
      }),
      `http://localhost${path}`,
    ],
    options,
  );
  const end = outcome.stdout.lastIndexOf("\n");
  return { status: Number(outcome.stdout.slice(end + 1)), body: outcome.stdout.slice(0, end) };
}

/** A gRPC client of a Workload Endpoint. */
export function workloadClient(socket: string): RpcClient {
  return new RpcClient({ target: { kind: "unix", path: socket }, reconnect: { first: 50, longest: 200 } });
}

/** An open stream of X509-SVIDs, each message as its SPIFFE IDs in order. */
export class X509Stream implements Disposable {
  readonly #abort = new AbortController();
  readonly #messages;

  constructor(client: RpcClient) {
    this.#messages = client
      .service(SpiffeWorkloadAPI)
      .fetchX509SVID({}, { headers: SECURITY_HEADER, signal: this.#abort.signal });
  }

  /** The IDs of the next message. Fails with what the stream ended with. */
  async next(): Promise<readonly string[]> {
    const { value, done } = await this.#messages.next();
    if (done === true) throw new Error("the stream ended with OK, which it never may");
    return value.svids.map(({ spiffeId }) => spiffeId);
  }

  [Symbol.dispose](): void {
    this.#abort.abort();
  }
}

const SECURITY = "workload.spiffe.io: true";
