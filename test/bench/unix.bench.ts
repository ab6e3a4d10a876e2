import { afterAll, describe, test } from "vitest";
import { unix } from "../../src/attestation/workload/unix/unix.ts";
import { systemClock } from "../../src/clock.ts";
import { silentLog } from "../../src/observe/log.ts";
import { parseTrustDomain } from "../../src/spiffe/trust-domain.ts";

const host = { trustDomain: parseTrustDomain("example.org"), clock: systemClock, log: silentLog };
const me = { pid: process.pid, uid: process.geteuid?.() ?? 0, gid: process.getegid?.() ?? 0 };
const { signal } = new AbortController();
const plain = await unix.create({ discover_workload_path: false, workload_size_limit: 0 }, host);
const hashing = await unix.create({ discover_workload_path: true, workload_size_limit: 0 }, host);

afterAll(async () => {
  await plain[Symbol.asyncDispose]();
  await hashing[Symbol.asyncDispose]();
});

describe("unix attestor", () => {
  test("attests a process, with and without its program", async ({ bench }) => {
    await bench.compare(
      bench("users and groups", async () => void (await plain.attest?.(me, signal))),
      bench("and the program, its hash known", async () => void (await hashing.attest?.(me, signal))),
    );
  });
});
