import { AssayError } from "../errors/assay-error.ts";
import { RpcClient } from "../rpc/client.ts";
import type { RpcTarget } from "../rpc/client-target.ts";
import type { CliIo } from "./io.ts";

/**
 * Opens a client on an admin socket, runs the command with it and closes it. A command that is told to end has its calls
 * cancelled.
 * @throws AssayError whatever the command throws; `USAGE` for a path that cannot be a socket's; `SERVER_UNAVAILABLE`
 * says what to look at.
 */
export async function withAdminClient<Result>(
  io: CliIo,
  socket: string,
  run: (client: RpcClient) => Promise<Result>,
): Promise<Result> {
  using client = openClient({ kind: "unix", path: socket }, "--admin-socket");
  const cancel = (): void => client[Symbol.dispose]();
  io.signal.addEventListener("abort", cancel);
  try {
    return await run(client);
  } catch (error) {
    if (error instanceof AssayError && error.code === "SERVER_UNAVAILABLE") {
      throw new AssayError(
        "SERVER_UNAVAILABLE",
        `${connectFault(socket, error)}; is the program running, and is --admin-socket the same?`,
        { cause: error },
      );
    }
    throw error;
  } finally {
    io.signal.removeEventListener("abort", cancel);
  }
}

/** Why nobody answered, without the words of the library underneath. */
export function connectFault(socket: string, { detail }: AssayError): string {
  const errno = /\bconnect (E[A-Z]+)/.exec(detail)?.[1];
  if (errno === undefined) return `${socket}: ${detail}`;
  return `nothing answers on ${socket} (${CONNECT_FAULTS.get(errno) ?? errno})`;
}

/** A client of a socket that was named on the command line. @throws AssayError `USAGE` naming the flag. */
export function openClient(target: RpcTarget, flag: string): RpcClient {
  try {
    return new RpcClient({ target, maxReceiveMessageSize: MAX_MESSAGE });
  } catch (error) {
    if (error instanceof AssayError)
      throw new AssayError("USAGE", `${flag}: ${error.detail}`, { cause: error });
    throw error;
  }
}

const CONNECT_FAULTS: ReadonlyMap<string, string> = new Map([
  ["ENOENT", "there is no such socket"],
  ["EACCES", "this user may not connect to it"],
  ["ECONNREFUSED", "nobody listens"],
]);
// One page of a listing with long selectors may be larger than gRPC's usual 4 MiB.
const MAX_MESSAGE = 64 * 1024 * 1024;
