import { request } from "node:http";
import { AssayError } from "../errors/assay-error.ts";
import { connectFault } from "./admin-client.ts";
import type { CliIo } from "./io.ts";

/**
 * Reads one resource of the server's operator API over its admin socket.
 * @throws AssayError `SERVER_UNAVAILABLE` where nobody answers, `NOT_FOUND` for a 404, `INVALID_REQUEST` with what the
 * server says for other refusals.
 */
export async function readAdminJson<Value>(io: CliIo, socket: string, path: string): Promise<Value> {
  const { status, text } = await answered(io, socket, path);
  const body = parsed(socket, text);
  if (status === 200) return body as Value;
  const { detail, title } = body as { readonly detail?: string; readonly title?: string };
  throw new AssayError(
    status === 404 ? "NOT_FOUND" : "INVALID_REQUEST",
    detail ?? title ?? `status ${status}`,
  );
}

function answered(io: CliIo, socket: string, path: string): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const asking = request({ socketPath: socket, path, headers: { host: "localhost" }, signal: io.signal });
    asking.once("error", (error) => reject(unavailable(socket, error)));
    asking.once("response", (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.once("error", (error) => reject(unavailable(socket, error)));
      response.once("end", () =>
        resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString("utf8") }),
      );
    });
    asking.end();
  });
}

function parsed(socket: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new AssayError("SERVER_UNAVAILABLE", `${socket}: the answer is not JSON`, { cause });
  }
}

function unavailable(socket: string, cause: Error): AssayError {
  const fault = connectFault(socket, new AssayError("SERVER_UNAVAILABLE", cause.message));
  return new AssayError(
    "SERVER_UNAVAILABLE",
    `${fault}; is the program running, and is --admin-socket the same?`,
    { cause },
  );
}
