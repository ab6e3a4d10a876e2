import type { Random } from "./random.ts";

/** An input made of the corpus: one seed, changed in up to eight ways. */
export function mutated(corpus: readonly Buffer[], dictionary: readonly Buffer[], random: Random): Buffer {
  let bytes = Buffer.from(random.pick(corpus));
  const changes = 1 + random.below(8);
  for (let n = 0; n < changes; n++) bytes = changed(bytes, corpus, dictionary, random);
  return bytes.subarray(0, MAX_INPUT);
}

function changed(
  bytes: Buffer,
  corpus: readonly Buffer[],
  dictionary: readonly Buffer[],
  random: Random,
): Buffer<ArrayBuffer> {
  const at = random.below(bytes.length + 1);
  const end = Math.min(bytes.length, at + random.below(32));
  const [head, middle, tail] = [bytes.subarray(0, at), bytes.subarray(at, end), bytes.subarray(end)];
  switch (random.below(10)) {
    case 0:
      return Buffer.concat([head, Buffer.of(random.below(256)), bytes.subarray(at)]);
    case 1:
      return Buffer.concat([head, tail]);
    case 2:
      return Buffer.concat([head, middle, middle, tail]);
    case 3:
      return Buffer.concat([head, random.pick(OCTETS), bytes.subarray(Math.min(bytes.length, at + 1))]);
    case 4:
      return Buffer.concat([head, ...Array<Buffer>(random.below(64)).fill(middle), tail]);
    case 5: {
      const other = random.pick(corpus);
      return Buffer.concat([head, other.subarray(random.below(other.length + 1))]);
    }
    case 6:
      return dictionary.length === 0
        ? Buffer.from(bytes)
        : Buffer.concat([head, random.pick(dictionary), tail]);
    case 7:
      return Buffer.from(head);
    default: {
      const copy = Buffer.from(bytes);
      const place = random.below(Math.max(1, copy.length));
      copy[place] = (copy[place] ?? 0) ^ (1 << random.below(8));
      return copy;
    }
  }
}

const OCTETS = [0x00, 0x01, 0x7f, 0x80, 0x81, 0x84, 0xff, 0x30].map((octet) => Buffer.of(octet));
const MAX_INPUT = 256 * 1024;
