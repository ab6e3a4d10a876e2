import { AssayError } from "../errors/assay-error.ts";
import { RpcClient } from "../rpc/client.ts";

/**
 * Opens a client on an admin socket, runs the command with it and closes it.
 * @throws AssayError whatever the command throws; `SERVER_UNAVAILABLE` says what to look at.
 */
export async function withAdminClient<Result>(
  socket: string,
  run: (client: RpcClient) => Promise<Result>,
): Promise<Result> {
  using client = new RpcClient({
    target: { kind: "unix", path: socket },
    maxReceiveMessageSize: MAX_MESSAGE,
  });
  try {
    return await run(client);
  } catch (error) {
    if (error instanceof AssayError && error.code === "SERVER_UNAVAILABLE") {
      throw new AssayError(
        "SERVER_UNAVAILABLE",
        `nothing answers on ${socket} (${error.detail}); is the program running, and is --admin-socket the same?`,
        { cause: error },
      );
    }
    throw error;
  }
}

// One page of a listing with long selectors may be larger than gRPC's usual 4 MiB.
const MAX_MESSAGE = 64 * 1024 * 1024;
