import { INTEGER, openDer, SEQUENCE } from "../crypto/der/reader.ts";
import { encode, sequence, unsignedInteger } from "../crypto/der/writer.ts";
import { AssayError } from "../errors/assay-error.ts";

/**
 * An ECDSA signature from the ASN.1 form of X.509 (RFC 3279 §2.2.3) in the fixed-length form of JWS (RFC 7518 §3.4).
 * @param size Octets of each half: 32 for P-256, 48 for P-384.
 * @throws AssayError `KEY_UNAVAILABLE` where it is no DER of two positive integers of at most `size` octets.
 */
export function derToP1363(signature: Uint8Array, size: number): Uint8Array {
  const outer = openDer(signature, "KEY_UNAVAILABLE", MAX_SIGNATURE, "signature");
  const pair = outer.enter(SEQUENCE, "signature");
  outer.done("signature");
  const halves = ["r", "s"].map((half) => {
    if (!pair.is(INTEGER)) pair.fail(`signature has no integer ${half}`);
    return fixed(pair.integer(`${half} of the signature`), size, half);
  });
  pair.done("signature");
  return Buffer.concat(halves);
}

/**
 * An ECDSA signature from the fixed-length form of JWS (RFC 7518 §3.4) in the ASN.1 form of X.509 (RFC 3279 §2.2.3).
 * @param signature r and s, of the same length each.
 */
export function p1363ToDer(signature: Uint8Array): Uint8Array {
  const size = signature.length / 2;
  return encode(
    sequence(unsignedInteger(signature.subarray(0, size)), unsignedInteger(signature.subarray(size))),
  );
}

function fixed(integer: Uint8Array, size: number, half: string): Uint8Array {
  if ((integer[0] as number) >= 0x80) fail(`${half} of the signature is negative`);
  const magnitude = integer[0] === 0 ? integer.subarray(1) : integer;
  if (magnitude.length > size) fail(`${half} of the signature has more than ${size} octets`);
  const octets = Buffer.alloc(size);
  octets.set(magnitude, size - magnitude.length);
  return octets;
}

function fail(detail: string): never {
  throw new AssayError("KEY_UNAVAILABLE", detail);
}

const MAX_SIGNATURE = 160;
