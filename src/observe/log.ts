/**
 * observe/ — how a program tells people what it does: log lines, metrics and the audit log.
 *
 * Must never know what a line, a number or a record means; floors above give them their sense.
 * Called by the two programs and the commands, which hand logs and counters down to the rest.
 */
import { pino } from "pino";
import type { Clock } from "../clock.ts";
import type { LogFields } from "./fields.ts";
import { loggedError } from "./log-error.ts";
import { prettyLine } from "./pretty.ts";
import { redacted } from "./redact.ts";

/**
 * Where a module reports. The message is a constant sentence; facts go into `fields`, with names of `FIELD`.
 *
 * Error: a human must act. Warn: degraded. Info: lifecycle and issuance. Debug and trace: the rest.
 */
export interface Log {
  trace(message: string, fields?: LogFields): void;
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
  /** Whether a line of this level would be written, for facts that are dear to gather. */
  isEnabled(level: LogLevel): boolean;
  /** A log whose lines all carry these fields. It follows every change of the root's level. */
  child(fields: LogFields): Log;
}

/** The root of all logs of a program, whose level can be changed while it runs. */
export interface RootLog extends Log {
  /** The level at launch. */
  readonly launchLevel: LogLevel;
  getLevel(): LogLevel;
  /** Takes effect at once, for the root and all its children. */
  setLevel(level: LogLevel): void;
}

/** From talkative to silent. With `fatal` no line of Assay's own is written. */
export const LOG_LEVELS = ["trace", "debug", "info", "warn", "error", "fatal"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** JSON lines for machines, or one readable line each for a person at a terminal. */
export const LOG_FORMATS = ["json", "pretty"] as const;
export type LogFormat = (typeof LOG_FORMATS)[number];

/** What a log needs. */
export interface LogOptions {
  readonly level: LogLevel;
  readonly clock: Clock;
  /** `json` unless said otherwise. */
  readonly format?: LogFormat;
  /** Fields of every line, such as the program's name. */
  readonly fields?: LogFields;
  /** Where lines go, each with its newline. Standard output unless said otherwise. */
  readonly destination?: LogDestination;
}

/** Something lines can be written to. */
export interface LogDestination {
  write(line: string): void;
}

/**
 * Makes the log of a program. Lines are written before the call returns, so that the last ones before a crash are
 * there. Programs write to standard output; commands that print tables make no log.
 */
export function createLog(options: LogOptions): RootLog {
  const raw = options.destination ?? pino.destination({ fd: 1, sync: true });
  const destination =
    options.format === "pretty" ? { write: (line: string) => raw.write(prettyLine(line)) } : raw;
  const writer = pino(
    {
      level: "trace",
      base: null,
      timestamp: () => `,"time":"${new Date(options.clock.now()).toISOString()}"`,
      formatters: { level: (label) => ({ level: label }) },
    },
    destination,
  );
  const threshold = { level: options.level };
  const root = logOver(
    options.fields === undefined ? writer : writer.child(cleaned(options.fields)),
    threshold,
  );
  return {
    ...root,
    launchLevel: options.level,
    getLevel: () => threshold.level,
    setLevel: (level) => void (threshold.level = level),
  };
}

/** A log that goes nowhere, for callers that want none. */
export const silentLog: Log = {
  trace() {},
  debug() {},
  info() {},
  warn() {},
  error() {},
  isEnabled: () => false,
  child: () => silentLog,
};

// pino's children keep the level they were born with, so the level lives here, in one object shared by the family.
function logOver(writer: Writer, threshold: { readonly level: LogLevel }): Log {
  const isEnabled = (level: LogLevel) => LOG_LEVELS.indexOf(level) >= LOG_LEVELS.indexOf(threshold.level);
  const at = (level: Exclude<LogLevel, "fatal">) => (message: string, fields?: LogFields) => {
    if (!isEnabled(level)) return;
    if (fields === undefined) writer[level](message);
    else writer[level](cleaned(fields), message);
  };
  return {
    trace: at("trace"),
    debug: at("debug"),
    info: at("info"),
    warn: at("warn"),
    error: at("error"),
    isEnabled,
    child: (fields) => logOver(writer.child(cleaned(fields)), threshold),
  };
}

function cleaned(fields: LogFields): Record<string, unknown> {
  const clean = redacted(fields) as Record<string, unknown>;
  const errors = Object.entries(clean).filter(([, value]) => value instanceof Error);
  if (errors.length === 0) return clean;
  return { ...clean, ...Object.fromEntries(errors.map(([key, error]) => [key, loggedError(error)])) };
}

type Writer = Pick<ReturnType<typeof pino>, Exclude<LogLevel, "fatal"> | "child">;
