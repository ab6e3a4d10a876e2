import type { Clock } from "../clock.ts";

/**
 * Makes ids for registration entries: UUIDs of version 7 (RFC 9562 §5.7), each greater than the one before as text.
 *
 * Agents that learn of entries by SPIRE's protocol see whole seconds of creation and ids, nothing else; with ids that
 * grow, a workload's first identity stays first when more are added within one second.
 */
export function orderedUuid(clock: Clock, random: (count: number) => Uint8Array): () => string {
  let last = 0;
  let counter = 0;
  return () => {
    const now = clock.now();
    if (now > last) {
      last = now;
      counter = 0;
    } else {
      counter++;
      // The counter has 12 bits; when they are used up, or the clock was set back, time is borrowed from the future.
      if (counter > MAX_COUNTER) {
        last++;
        counter = 0;
      }
    }
    const octets = Buffer.alloc(16);
    octets.writeUIntBE(last, 0, 6);
    octets.writeUInt16BE(0x7000 | counter, 6);
    octets.set(random(8), 8);
    octets[8] = ((octets[8] ?? 0) & 0x3f) | 0x80;
    return octets.toString("hex").replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
  };
}

const MAX_COUNTER = 0xfff;
