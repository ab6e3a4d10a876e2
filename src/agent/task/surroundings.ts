import { execFile } from "node:child_process";
import type { JobSurroundings, Variables } from "../../attestation/task/platforms/job-platform.ts";
import { AssayError } from "../../errors/assay-error.ts";
import { isErrno } from "../../files/file-error.ts";
import { readBounded } from "../../files/read-bounded.ts";
import type { WebClient } from "./web-client.ts";

/** What a job on this machine can reach. */
export function jobSurroundings(variables: Variables, web: Pick<WebClient, "send">): JobSurroundings {
  return {
    variables,
    async readFile(path) {
      return (await readBounded(path, MAX_FILE, { code: "CONFIG_INVALID" })).toString("utf8");
    },
    run: (command, args, signal) => runProgram(command, args, variables, signal),
    async ask(request, signal) {
      try {
        const { status, body } = await web.send({ ...request, signal });
        return { status, body: body.toString("utf8") };
      } catch (cause) {
        signal.throwIfAborted();
        const reason = cause instanceof AssayError ? cause.detail : "unknown reason";
        // No other attempt would be better.
        if (cause instanceof AssayError && cause.code === "INVALID_URL") {
          throw new AssayError("CONFIG_INVALID", `the platform's endpoint: ${reason}`, { cause });
        }
        throw new AssayError("REMOTE_UNAVAILABLE", `the platform's endpoint: ${reason}`, { cause });
      }
    },
  };
}

function runProgram(
  command: string,
  args: readonly string[],
  env: Variables,
  signal: AbortSignal,
): Promise<string> {
  return new Promise((resolve, reject) => {
    const options = { env, signal, timeout: TIMEOUT, maxBuffer: MAX_FILE, encoding: "utf8" } as const;
    execFile(command, args, options, (cause, stdout) => {
      if (cause === null) resolve(stdout);
      else if (signal.aborted) reject(signal.reason as Error);
      else if (isErrno(cause, "ENOENT")) {
        reject(new AssayError("CONFIG_INVALID", `${command} is not on the PATH of this job`, { cause }));
      } else {
        // What it printed may hold a token, so it is not repeated.
        const how =
          typeof cause.code === "number" ? `exit status ${cause.code}` : (cause.signal ?? "no exit status");
        reject(new AssayError("REMOTE_UNAVAILABLE", `${command} gave no token (${how})`));
      }
    });
  });
}

const MAX_FILE = 64 * 1024;
const TIMEOUT = 30_000;
