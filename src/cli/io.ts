import type { Clock } from "../clock.ts";

/** What a command reads and writes: the process's own, or a test's. */
export interface CliIo {
  /** Results. */
  readonly stdout: (text: string) => void;
  /** Errors and progress. */
  readonly stderr: (text: string) => void;
  /** Standard input as text, read to its end; at most 1 MiB. */
  readonly stdin: () => Promise<string>;
  readonly clock: Clock;
  /** Aborted when the person at the keyboard or the service manager wants the command to end. */
  readonly signal: AbortSignal;
  /** The user the command runs as. */
  readonly uid: number;
}

/** How results are written: a table for people, JSON for programs. */
export type OutputForm = "pretty" | "json";

/** Writes a result in the form asked for; `pretty` makes the text for people. */
export function writeResult(io: CliIo, form: OutputForm, value: unknown, pretty: () => string): void {
  const text = form === "json" ? JSON.stringify(value, jsonValue, 2) : pretty();
  io.stdout(text.endsWith("\n") ? text : `${text}\n`);
}

// Numbers of the wire that exceed a double stay exact as text; bytes are base64 as in protobuf's JSON form.
function jsonValue(_key: string, value: unknown): unknown {
  if (typeof value === "bigint") {
    return value <= Number.MAX_SAFE_INTEGER && value >= Number.MIN_SAFE_INTEGER
      ? Number(value)
      : value.toString();
  }
  if (value instanceof Uint8Array) return Buffer.from(value).toString("base64");
  return value;
}
