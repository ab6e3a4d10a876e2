import { afterEach, describe, expect, it } from "vitest";
import { makeKey } from "../../test/fakes/certificates.ts";
import { brokenSignature, makeCsr, trailingOctet } from "../../test/fakes/issuance-csr.ts";
import { RequestPool } from "./request-pool.ts";

let pool: RequestPool;
let busy = true;
const open = (threads = 1) => {
  busy = true;
  pool = new RequestPool({ isBusy: () => busy, threads });
};
afterEach(() => pool[Symbol.asyncDispose]());
const requests = (count: number) => Array.from({ length: count }, () => makeCsr());

describe("a pool of threads for requests", () => {
  it("says of each request what reading it here would say", async () => {
    open();
    const keys = [makeKey(), makeKey()] as const;
    const good = keys.map((key) => makeCsr({}, key));
    const all = [...good, brokenSignature(makeCsr()), trailingOctet(makeCsr()), new Uint8Array()];
    const keyOf = await pool.readAhead(all);
    for (const [at, key] of keys.entries()) {
      const read = keyOf?.(good[at] as Uint8Array);
      expect(read?.keyType).toBe("ec-p256");
      expect(Buffer.from(read?.spki ?? []).equals(key.spki)).toBe(true);
    }
    expect(() => keyOf?.(all[2] as Uint8Array)).toThrowCode("INVALID_CSR", /does not verify/);
    expect(() => keyOf?.(all[3] as Uint8Array)).toThrowCode("INVALID_CSR", /trailing/);
    expect(() => keyOf?.(all[4] as Uint8Array)).toThrowCode("INVALID_CSR", /missing/);
  });

  it("is not used, nor started, while there is time, for a few requests, or without threads", () => {
    open();
    busy = false;
    expect(pool.readAhead(requests(50))).toBeUndefined();
    busy = true;
    expect(pool.readAhead(requests(4))).toBeUndefined();
    expect(pool.threads).toBe(0);
    pool = new RequestPool({ isBusy: () => true, threads: 0 });
    expect(pool.readAhead(requests(50))).toBeUndefined();
  });

  it("starts a thread for each job up to its bound, and gives no more away than they can do", async () => {
    open(2);
    const jobs = [1, 2, 3, 4].map(() => pool.readAhead(requests(5)));
    expect(pool.threads).toBe(2);
    expect(jobs.every((job) => job !== undefined)).toBe(true);
    expect(pool.readAhead(requests(5))).toBeUndefined();
    for (const job of jobs) await job;
    const again = pool.readAhead(requests(5));
    expect(again).toBeDefined();
    await again;
    expect(pool.threads).toBe(2);
  });

  it("leaves the bytes that it was given as they were, views of a larger message too", async () => {
    open();
    const request = makeCsr();
    const message = new Uint8Array(4 + 5 * request.length);
    const views = [0, 1, 2, 3, 4].map((n) =>
      message.subarray(4 + n * request.length, 4 + (n + 1) * request.length),
    );
    for (const view of views) view.set(request);
    const keyOf = await pool.readAhead(views);
    expect(views.every((view) => Buffer.compare(view, request) === 0)).toBe(true);
    expect(() => views.map((view) => keyOf?.(view))).not.toThrow();
  });

  it("reads here what a thread had not answered when the pool ended, and starts none any more", async () => {
    open();
    const asked = requests(200);
    const ahead = pool.readAhead(asked);
    await pool[Symbol.asyncDispose]();
    const keyOf = await ahead;
    expect(asked.map((request) => keyOf?.(request).keyType)).toEqual(asked.map(() => "ec-p256"));
    expect(pool.readAhead(asked)).toBeUndefined();
    expect(pool.threads).toBe(0);
  });
});
