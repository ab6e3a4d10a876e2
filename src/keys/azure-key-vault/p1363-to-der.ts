/** An ECDSA signature from the fixed-length form of JWS (RFC 7518 §3.4) in the ASN.1 form of X.509 (RFC 3279 §2.2.3). */
export function p1363ToDer(signature: Uint8Array): Uint8Array {
  const size = signature.length / 2;
  const content = Buffer.concat([integer(signature.subarray(0, size)), integer(signature.subarray(size))]);
  return element(0x30, content);
}

function integer(half: Uint8Array): Buffer {
  const first = half.findIndex((octet) => octet !== 0);
  const magnitude = first < 0 ? Uint8Array.of(0) : half.subarray(first);
  const isNegative = (magnitude[0] as number) >= 0x80;
  return element(2, isNegative ? Buffer.concat([Buffer.of(0), magnitude]) : magnitude);
}

// Two integers of 49 octets are below the 128 at which a length takes more than one.
function element(tag: number, content: Uint8Array): Buffer {
  return Buffer.concat([Buffer.of(tag, content.length), content]);
}
