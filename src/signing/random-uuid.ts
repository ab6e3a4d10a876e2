import type { Random } from "../crypto/random.ts";

/** A random UUID (RFC 9562 §5.4). */
export function randomUuid(random: Random): string {
  const octets = Buffer.from(random(16));
  octets[6] = ((octets[6] as number) & 0x0f) | 0x40;
  octets[8] = ((octets[8] as number) & 0x3f) | 0x80;
  return octets.toString("hex").replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
