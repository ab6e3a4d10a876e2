import { z } from "zod";
import { type EndpointAddress, parseBrokerAddress } from "../spiffe/endpoint-address.ts";
import { spiffeIdFault, type SpiffeId } from "../spiffe/id.ts";
import { type TrustDomain, trustDomainFault } from "../spiffe/trust-domain.ts";
import { formatDuration, parseDuration, parseHostPort, parseSize } from "./units.ts";

/** What the documentation and error texts say about a kind of value. */
export interface KindFacts {
  /** Completes "expected …". */
  readonly expected: string;
  /** What to do about it. */
  readonly remedy: string;
}

/** The kinds of values that a text can stand for. */
export const KINDS = {
  "trust domain": {
    expected: "a trust domain name",
    remedy: "write a name such as example.org, without spiffe://",
  },
  "SPIFFE ID": { expected: "a SPIFFE ID", remedy: "write an ID such as spiffe://example.org/admin" },
  duration: {
    expected: "a duration",
    remedy: "write a number with a unit of ms, s, m, h or d, such as 90s or 1h30m",
  },
  size: {
    expected: "a size",
    remedy: "write a whole number with a unit of B, KiB, MiB or GiB, such as 100MiB",
  },
  "host:port": {
    expected: "host:port",
    remedy: "write an address and a port, such as 127.0.0.1:8081 or [::1]:8081",
  },
  file: { expected: "the path of a file", remedy: "name a file that this user can read" },
  folder: { expected: "the path of a folder", remedy: "name a folder that this user can write to" },
  socket: {
    expected: "the path of a Unix socket",
    remedy: "name a path of at most 107 bytes, without unix:",
  },
  "endpoint address": {
    expected: "the address of an endpoint, on a Unix socket or over TCP",
    remedy: "write an address such as unix:///run/assay/broker.sock or tcp://127.0.0.1:8443",
  },
  URL: {
    expected: "an https URL without query and fragment",
    remedy: "write a URL such as https://oidc.example.org",
  },
} as const satisfies Readonly<Record<string, KindFacts>>;

/** The name of a kind. */
export type Kind = keyof typeof KINDS;

/** A trust domain name (SPIFFE-ID §2.1). */
export function trustDomain() {
  return textOf<TrustDomain>("trust domain", (text) =>
    trustDomainFault(text) === undefined ? (text as TrustDomain) : undefined,
  );
}

/** A SPIFFE ID (SPIFFE-ID §2). */
export function spiffeId() {
  return textOf<SpiffeId>("SPIFFE ID", (text) =>
    spiffeIdFault(text) === undefined ? (text as SpiffeId) : undefined,
  );
}

/** A duration within bounds that are durations too; the value is in milliseconds. */
export function duration(min: string, max: string) {
  return bounded("duration", parseDuration, min, max);
}

/** A lifetime within bounds, in whole seconds since standards count in them; the value is in seconds. */
export function lifetime(min: string, max: string) {
  return bounded("duration", parseDuration, min, max)
    .refine((ms) => ms % 1000 === 0, { error: "expected a duration of whole seconds" })
    .transform((ms) => ms / 1000);
}

/** A size within bounds that are sizes too; the value is in bytes. */
export function size(min: string, max: string) {
  return bounded("size", parseSize, min, max);
}

/** An address and a port. */
export function hostPort() {
  return textOf("host:port", parseHostPort);
}

/** The address of a Broker Endpoint (Broker Endpoint §4). */
export function brokerAddress() {
  return textOf<EndpointAddress>("endpoint address", (text) => {
    try {
      return parseBrokerAddress(text);
    } catch {
      return undefined;
    }
  });
}

/** A path of a file, a folder or a socket, absolute after loading. */
export function path(kind: "file" | "folder" | "socket") {
  return textOf(kind, (text) => {
    const fits =
      text !== "" &&
      !text.includes("\0") &&
      (kind !== "socket" || (Buffer.byteLength(text) <= MAX_SOCKET_PATH && !isAddress(text)));
    return fits ? text : undefined;
  });
}

/** Whether a text is an address with a scheme: taken for a path, it would become a file of that name. */
export function isAddress(text: string): boolean {
  return /^[A-Za-z][A-Za-z0-9+.-]*:/.test(text);
}

/** An https URL that others will append paths to. */
export function httpsUrl() {
  return textOf("URL", (text) => {
    if (!URL.canParse(text)) return undefined;
    const { protocol, search, hash, username, password } = new URL(text);
    return protocol === "https:" && search + hash + username + password === "" ? text : undefined;
  });
}

function textOf<Value>(kind: Kind, parse: (text: string) => Value | undefined) {
  return z
    .string()
    .transform((text, context): Value => {
      const value = parse(text);
      if (value !== undefined) return value;
      context.addIssue({ code: "custom", message: `expected ${KINDS[kind].expected}` });
      return z.NEVER;
    })
    .meta({ kind });
}

function bounded(
  kind: "duration" | "size",
  parse: (text: string) => number | undefined,
  min: string,
  max: string,
) {
  const [least, most] = [parse(min) ?? 0, parse(max) ?? 0];
  return textOf(kind, parse)
    .refine((value) => value >= least && value <= most, {
      error: `expected ${KINDS[kind].expected} from ${min} to ${max}`,
    })
    .meta({ kind, bounds: `${min} to ${max}` });
}

/** Seconds as a person writes them, for messages. */
export function secondsText(seconds: number): string {
  return formatDuration(seconds * 1000);
}

// The kernel's sun_path has 108 bytes, the last one for the terminating zero.
const MAX_SOCKET_PATH = 107;
