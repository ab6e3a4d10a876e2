import { deflateSync, inflateSync } from "node:zlib";
import { AssayError } from "../../errors/assay-error.ts";

/** How many bits each status of a list has (Token Status List §4.1). */
export type StatusBits = 1 | 2 | 4 | 8;

/** A list of statuses, many to an octet, the first in its least significant bits. */
export interface StatusList {
  readonly bits: StatusBits;
  readonly octets: Uint8Array;
}

/**
 * A list of one bit each in which these places are set. `size` is the number of places, a multiple of 8.
 * @throws RangeError for a place that the list does not have.
 */
export function statusBitsOf(places: Iterable<number>, size: number): Uint8Array {
  const octets = new Uint8Array(size / 8);
  for (const place of places) {
    if (!(Number.isInteger(place) && place >= 0 && place < size))
      throw new RangeError(`place ${place} is not among ${size}`);
    octets[place >>> 3] = (octets[place >>> 3] as number) | (1 << (place & 7));
  }
  return octets;
}

/** The status at a place, from 0: 0 is valid, 1 invalid, 2 suspended (Token Status List §7.1). @throws AssayError `INVALID_STATUS_LIST` for a place that the list does not have. */
export function statusAt({ bits, octets }: StatusList, place: number): number {
  const perOctet = 8 / bits;
  const octet = Number.isSafeInteger(place) && place >= 0 ? octets[Math.floor(place / perOctet)] : undefined;
  if (octet === undefined) return fail("place is outside the status list");
  return (octet >>> ((place % perOctet) * bits)) & ((1 << bits) - 1);
}

/** The octets of a list as `lst` has them: compressed as ZLIB, in base64url without padding (Token Status List §4.2). */
export function compressStatusList(octets: Uint8Array): string {
  return deflateSync(octets, { level: 9 }).toString("base64url");
}

/**
 * The octets that `lst` holds. What would unfold to more than `maxOctets` is given up while it unfolds.
 * @throws AssayError `INVALID_STATUS_LIST`.
 */
export function expandStatusList(lst: string, maxOctets: number): Uint8Array {
  const compressed = Buffer.from(lst, "base64url");
  if (compressed.toString("base64url") !== lst) return fail("lst must be unpadded base64url");
  let unfolded: { readonly buffer: Buffer; readonly engine: { readonly bytesWritten: number } };
  try {
    // With `info` Node gives an object, which its types do not know.
    unfolded = inflateSync(compressed, {
      maxOutputLength: maxOctets,
      info: true,
    }) as unknown as typeof unfolded;
  } catch {
    return fail(`lst must be ZLIB and unfold to at most ${maxOctets} octets`);
  }
  if (unfolded.engine.bytesWritten !== compressed.length) fail("lst has trailing octets");
  if (unfolded.buffer.length === 0) fail("lst must not be empty");
  return unfolded.buffer;
}

function fail(detail: string): never {
  throw new AssayError("INVALID_STATUS_LIST", detail);
}
