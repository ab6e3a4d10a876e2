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
  const { status, body } = await answered(io, socket, path);
  if (status === 200) return body as Value;
  const { detail, title } = body as { readonly detail?: string; readonly title?: string };
  throw new AssayError(
    status === 404 ? "NOT_FOUND" : "INVALID_REQUEST",
    detail ?? title ?? `status ${status}`,
  );
}

function answered(io: CliIo, socket: string, path: string): Promise<{ status: number; body: unknown }> {
  return new Promise((resolve, reject) => {
    const asking = request({ socketPath: socket, path, headers: { host: "localhost" }, signal: io.signal });
    asking.once("error", (error) => {
      const fault = new AssayError("SERVER_UNAVAILABLE", error.message, { cause: error });
      reject(
        new AssayError(
          "SERVER_UNAVAILABLE",
          `${connectFault(socket, fault)}; is the program running, and is --admin-socket the same?`,
          { cause: error },
        ),
      );
    });
    asking.once("response", (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.once("error", reject);
      response.once("end", () => {
        try {
          resolve({
            status: response.statusCode ?? 0,
            body: JSON.parse(Buffer.concat(chunks).toString("utf8")),
          });
        } catch (cause) {
          reject(new AssayError("SERVER_UNAVAILABLE", `${socket}: the answer is not JSON`, { cause }));
        }
      });
    });
    asking.end();
  });
}
