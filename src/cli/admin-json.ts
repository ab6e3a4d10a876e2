import { request } from "node:http";
import { AssayError } from "../errors/assay-error.ts";
import { connectFault } from "./admin-client.ts";
import type { CliIo } from "./io.ts";

/**
 * Reads one resource of the server's operator API over its admin socket.
 * @throws AssayError `SERVER_UNAVAILABLE` where nobody answers, `NOT_FOUND` for a 404, `INVALID_REQUEST` with what the
 * server says for other refusals.
 */
export function readAdminJson<Value>(io: CliIo, socket: string, path: string): Promise<Value> {
  return asked(io, socket, "GET", path);
}

/** Sends a body to one resource of the operator API; none where it is not given. @throws AssayError as `readAdminJson`. */
export function postAdminJson<Value>(
  io: CliIo,
  socket: string,
  path: string,
  body?: unknown,
): Promise<Value> {
  return asked(io, socket, "POST", path, body === undefined ? undefined : JSON.stringify(body));
}

async function asked<Value>(
  io: CliIo,
  socket: string,
  method: string,
  path: string,
  body?: string,
): Promise<Value> {
  const { status, text } = await answered(io, socket, method, path, body);
  const value = parsed(socket, text);
  if (status === 200) return value as Value;
  const { detail, title } = value as { readonly detail?: string; readonly title?: string };
  throw new AssayError(
    status === 404 ? "NOT_FOUND" : "INVALID_REQUEST",
    detail ?? title ?? `status ${status}`,
  );
}

function answered(
  io: CliIo,
  socket: string,
  method: string,
  path: string,
  body?: string,
): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const headers = {
      host: "localhost",
      ...(body !== undefined && { "content-type": "application/json" }),
    };
    const asking = request({ socketPath: socket, method, path, headers, signal: io.signal });
    asking.once("error", (error) => reject(unavailable(socket, error)));
    asking.once("response", (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.once("error", (error) => reject(unavailable(socket, error)));
      response.once("end", () =>
        resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString("utf8") }),
      );
    });
    asking.end(body);
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
