/** A source of random octets: returns `count` fresh ones. Production passes `randomBytes` of `node:crypto`. */
export type Random = (count: number) => Uint8Array;

/**
 * A certificate serial number: 16 random octets read as a positive number, never zero (RFC 5280 §4.1.2.2: positive,
 * at most 20 octets in DER; here 1 to 2^128−1, as SPIRE's).
 */
export function randomSerial(random: Random): Uint8Array {
  for (;;) {
    const serial = random(SERIAL_OCTETS);
    if (serial.some((octet) => octet !== 0)) return serial;
  }
}

/** A serial number as SPIRE's API and databases write it: decimal, without leading zeros. */
export function serialToDecimal(serial: Uint8Array): string {
  return BigInt(`0x${Buffer.from(serial).toString("hex") || "0"}`).toString();
}

/** A serial number as lower-case hex without leading zero octets, as OpenSSL and `node:crypto` write it but for case. */
export function serialToHex(serial: Uint8Array): string {
  return Buffer.from(serial)
    .toString("hex")
    .replace(/^(?:00)+(?=..)/, "");
}

const SERIAL_OCTETS = 16;
