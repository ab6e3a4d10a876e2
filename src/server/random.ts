import { randomBytes, randomInt } from "node:crypto";

/** Random octets from a block that is filled now and then: asking the system for each serial number costs 2 µs. */
export function pooledRandom(): (count: number) => Uint8Array {
  let pool = Buffer.alloc(0);
  let at = 0;
  return (count) => {
    if (count > POOL_BYTES / 4) return randomBytes(count);
    if (at + count > pool.length) {
      pool = randomBytes(POOL_BYTES);
      at = 0;
    }
    at += count;
    return pool.subarray(at - count, at);
  };
}

/** From 0 up to but without 1. */
export function randomFraction(): number {
  return randomInt(RANDOM_STEPS) / RANDOM_STEPS;
}

const POOL_BYTES = 4096;
const RANDOM_STEPS = 2 ** 32;
