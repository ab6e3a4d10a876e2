/**
 * main.ts — the process around a command: arguments, streams, signals and the exit code.
 *
 * Must never know a command; it hands all of them what is the process's own.
 * Called by the launcher.
 */
import { existsSync, readFileSync } from "node:fs";
import { userInfo } from "node:os";
import { isatty } from "node:tty";
import { systemClock } from "./clock.ts";
import type { CliIo } from "./cli/io.ts";
import { reportFailure, runCli } from "./cli/run.ts";
import { readEnvironment } from "./config/environment.ts";
import { AssayError, toAssayError } from "./errors/assay-error.ts";
import { sdNotify } from "./peer/sd-notify.ts";

// Above the code, unlike elsewhere: the command below runs while this module is still being evaluated.
const GRACE = 4_800;
const MAX_INPUT = 1024 * 1024;
const ORDERLY = ["SIGTERM", "SIGINT"] as const;

const args = process.argv.slice(2);
const ending = new AbortController();
const environment = readEnvironment();
const io: CliIo = {
  stdout: (text) => void process.stdout.write(text),
  stderr: (text) => void process.stderr.write(text),
  stdin: readStandardInput,
  clock: systemClock,
  elapsed: () => performance.now(),
  signal: ending.signal,
  takeSignals,
  leaveWith: (status) => {
    process.exitCode = status;
  },
  hasTerminal: isatty(0),
  environment,
  user: caller(),
  command: isCheckout() ? "npx assay" : "assay",
  version: versionOfPackage(),
  notify: (state) => {
    if (environment.notifySocket !== undefined) sdNotify(environment.notifySocket, state);
  },
  tellLauncher: (message) => void process.send?.(message),
};

// The first signal asks for an orderly end; listening no longer, the second one ends the process at once.
for (const signal of ORDERLY) process.once(signal, end);
process.stdout.on("error", end);
// Progress that nobody reads any more is no reason to end. And it is opened before a command is started that shares it:
// opened later, a pipe would no longer block the command either, whose next large write would fail.
process.stderr.on("error", () => undefined);
process.once("uncaughtException", (error: unknown) => {
  process.exitCode = reportFailure(toAssayError(error), args, io);
  end();
});

// Our timers keep no process alive, and between two attempts a command may wait for nothing but a timer.
const held = setInterval(() => undefined, 2 ** 30);
const code = await runCli(args, io);
clearInterval(held);
process.exitCode ??= code;
// An open channel to the launcher would keep the process alive.
if (process.connected) process.disconnect?.();

function end(): void {
  if (ending.signal.aborted) return;
  ending.abort();
  systemClock.schedule(GRACE, () => {
    io.stderr("assay: did not stop in time, ending at once\n");
    process.kill(process.pid, "SIGKILL");
  });
}

function takeSignals(
  signals: readonly NodeJS.Signals[],
  listener: (signal: NodeJS.Signals) => void,
): Disposable {
  for (const signal of ORDERLY) process.removeListener(signal, end);
  for (const signal of signals) process.on(signal, listener);
  return {
    [Symbol.dispose]() {
      for (const signal of signals) process.removeListener(signal, listener);
      for (const signal of ORDERLY) process.once(signal, end);
    },
  };
}

async function readStandardInput(): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of process.stdin) {
    const bytes = Buffer.from(chunk as Uint8Array);
    size += bytes.length;
    if (size > MAX_INPUT) throw new AssayError("USAGE", "standard input is larger than 1 MiB");
    chunks.push(bytes);
  }
  return Buffer.concat(chunks).toString("utf8");
}

function caller(): CliIo["user"] {
  const uid = process.geteuid?.() ?? 0;
  try {
    return { uid, name: userInfo().username };
  } catch {
    // Containers run users that no file names.
    return { uid, name: "" };
  }
}

function isCheckout(): boolean {
  return (
    existsSync(new URL("../src/main.ts", import.meta.url)) && existsSync(new URL("../.git", import.meta.url))
  );
}

function versionOfPackage(): string {
  const text = readFileSync(new URL("../package.json", import.meta.url), "utf8");
  return (JSON.parse(text) as { readonly version: string }).version;
}
