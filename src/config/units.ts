import { isIP } from "node:net";

/** Where a listener is opened or a server is reached. `host` is without brackets. */
export interface HostPort {
  readonly host: string;
  /** 0 lets the system choose. */
  readonly port: number;
}

/**
 * Milliseconds of a duration: whole or decimal numbers each with a unit (`ms s m h d`), largest unit first, each once,
 * such as `90s` or `1h30m`. `undefined` where the text is none, or longer than 100 years.
 */
export function parseDuration(text: string): number | undefined {
  const match = DURATION.exec(text);
  if (match === null || text === "") return undefined;
  const total = match
    .slice(1)
    .reduce((sum, part, i) => sum + Number(part ?? 0) * (DURATION_UNITS[i] ?? 0), 0);
  return Number.isInteger(total) && total <= MAX_DURATION ? total : undefined;
}

/** Milliseconds as a duration that `parseDuration` reads. */
export function formatDuration(milliseconds: number): string {
  let rest = milliseconds;
  let text = "";
  for (const [i, unit] of DURATION_UNITS.entries()) {
    const name = DURATION_NAMES[i] ?? "";
    const count = Math.floor(rest / unit);
    // Nobody writes 1d for the lifetime of a key; up to two days stay in hours.
    if (count === 0 || (i === 0 && count < 3)) continue;
    text += `${count}${name}`;
    rest -= count * unit;
  }
  return text === "" ? "0s" : text;
}

/** Bytes of a size: a whole number with a unit (`B KiB MiB GiB`), such as `100MiB`. `undefined` where it is none. */
export function parseSize(text: string): number | undefined {
  const [, number, unit] = /^(\d{1,9})(B|KiB|MiB|GiB)$/.exec(text) ?? [];
  if (number === undefined || unit === undefined) return undefined;
  return Number(number) * 1024 ** SIZE_NAMES.indexOf(unit);
}

/**
 * Host and port of `host:port`: an IPv4 address, an IPv6 address in brackets, or a DNS name, and a port from 0 to
 * 65535. `undefined` where the text is none.
 */
export function parseHostPort(text: string): HostPort | undefined {
  const [, v6, name, portText] =
    /^(?:\[([0-9a-fA-F:.]+)\]|([a-zA-Z0-9.-]{1,253})):(\d{1,5})$/.exec(text) ?? [];
  const host = v6 ?? name;
  const port = Number(portText);
  if (host === undefined || port > 65_535 || (v6 !== undefined && isIP(v6) !== 6)) return undefined;
  // Digits and dots alone are meant as an address: 300.1.1.1 is no name that anyone has.
  if (name !== undefined && /^[0-9.]+$/.test(name) && isIP(name) !== 4) return undefined;
  return name !== undefined && !HOST_NAME.test(name) ? undefined : { host, port };
}

const NUMBER = "(\\d{1,9}(?:\\.\\d{1,3})?)";
const DURATION = new RegExp(`^(?:${NUMBER}d)?(?:${NUMBER}h)?(?:${NUMBER}m)?(?:${NUMBER}s)?(?:${NUMBER}ms)?$`);
const DURATION_NAMES = ["d", "h", "m", "s", "ms"];
const DURATION_UNITS = [86_400_000, 3_600_000, 60_000, 1000, 1];
const MAX_DURATION = 100 * 365 * 86_400_000;
const SIZE_NAMES = ["B", "KiB", "MiB", "GiB"];
const HOST_NAME = /^(?!-)[a-zA-Z0-9-]{1,63}(?<!-)(\.(?!-)[a-zA-Z0-9-]{1,63}(?<!-))*$/;
