import type { Clock } from "../clock.ts";
import type { TrustDomain } from "../spiffe/trust-domain.ts";

/** What every plugin gets from the program that loads it, and no more. */
export interface PluginHost {
  /** The trust domain that the program serves. */
  readonly trustDomain: TrustDomain;
  /** The only source of time a plugin may use. */
  readonly clock: Clock;
  /** A log that already names the plugin. The message is a constant sentence; facts go into `fields`. */
  readonly log: PluginLog;
}

/** Where a plugin reports what an operator should know. Never pass secrets. */
export interface PluginLog {
  debug(message: string, fields?: Readonly<Record<string, unknown>>): void;
  info(message: string, fields?: Readonly<Record<string, unknown>>): void;
  warn(message: string, fields?: Readonly<Record<string, unknown>>): void;
  error(message: string, fields?: Readonly<Record<string, unknown>>): void;
}
