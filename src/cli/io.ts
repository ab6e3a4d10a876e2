import type { Clock } from "../clock.ts";
import type { Environment } from "../config/environment.ts";

/** What a command reads and writes: the process's own, or a test's. */
export interface CliIo {
  /** Results. */
  readonly stdout: (text: string) => void;
  /** Errors and progress. */
  readonly stderr: (text: string) => void;
  /** Standard input as text, read to its end; at most 1 MiB. */
  readonly stdin: () => Promise<string>;
  readonly clock: Clock;
  /** Milliseconds since the process began, on a clock that only goes forward. */
  readonly elapsed: () => number;
  /** Aborted when the person at the keyboard or the service manager wants the command to end. */
  readonly signal: AbortSignal;
  /**
   * Hands the signals over that a command passes on, until disposed: meanwhile they do not end this process, nor abort
   * `signal`.
   */
  readonly takeSignals: (
    signals: readonly NodeJS.Signals[],
    listener: (signal: NodeJS.Signals) => void,
  ) => Disposable;
  /** Sets the exit code of a command that ran well and has one of its own. */
  readonly leaveWith: (code: number) => void;
  /** Whether standard input is a terminal. */
  readonly hasTerminal: boolean;
  readonly environment: Environment;
  /** The user that the command runs as; the name is empty where the system knows none. */
  readonly user: { readonly uid: number; readonly name: string };
  /** What a person types to run this program. */
  readonly command: string;
  readonly version: string;
  /** Tells the service manager, where there is one (`sd_notify(3)`). */
  readonly notify: (state: string) => void;
  /** Tells the launcher that started this process, where one listens. */
  readonly tellLauncher: (message: Readonly<Record<string, unknown>>) => void;
}

/** How results are written: for people, or as JSON for programs. */
export type OutputForm = "pretty" | "json";

/** Writes a result in the form asked for; `pretty` makes the text for people. */
export function writeResult(io: CliIo, form: OutputForm, value: unknown, pretty: () => string): void {
  const text = form === "json" ? JSON.stringify(value, jsonValue, 2) : pretty();
  if (text !== "") io.stdout(text.endsWith("\n") ? text : `${text}\n`);
}

// Numbers of the wire that exceed a double stay exact as text; bytes are base64 as in protobuf's JSON form.
function jsonValue(this: Readonly<Record<string, unknown>>, key: string, value: unknown): unknown {
  // A Buffer has turned itself into a table of numbers before it gets here; its holder has the original.
  const bytes = this[key];
  if (bytes instanceof Uint8Array) return Buffer.from(bytes).toString("base64");
  if (typeof value !== "bigint") return value;
  const isExact = value <= Number.MAX_SAFE_INTEGER && value >= Number.MIN_SAFE_INTEGER;
  return isExact ? Number(value) : value.toString();
}
