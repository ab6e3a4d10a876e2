import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, test } from "vitest";
import { FLAG, FRAME, frame, messageFrame, numberFrame, RawConnection } from "../abuse/frames.ts";
import { literal, requestHeaders } from "../abuse/hpack.ts";

/**
 * What a new connection with one FetchX509SVID costs, in the server's processor time, by the way it is taken: by the gRPC
 * library's own means, by a session of ours on the plain socket, by that with the front before it, and by the whole
 * Unix endpoint, which asks the kernel who calls. The same calls on connections that are kept are told beside it. Ways take turns,
 * because other processes on the machine slow all of them; the ratios are those of one and the same round.
 */
const folder = mkdtempSync(join(tmpdir(), "new-connections-"));
let child: ChildProcess;

beforeAll(async () => {
  child = fork(new URL("./new-connections-server.ts", import.meta.url), [folder]);
  await once(child, "message");
});
afterAll(() => {
  child.disconnect();
  rmSync(folder, { recursive: true });
});

describe("a FetchX509SVID", () => {
  test.each([
    ["on a connection of its own", onItsOwn],
    ["on a connection that is kept", onKept],
  ])("%s", async (title, calls) => {
    const costs = WAYS.map((): number[] => []);
    for (let round = 0; round < WARM_UP + ROUNDS; round++) {
      for (const [n, way] of WAYS.entries()) {
        const before = await cpuSeconds();
        await calls(join(folder, way));
        const cost = ((await cpuSeconds()) - before) / CALLS;
        if (round >= WARM_UP) costs[n]?.push(cost);
      }
    }
    const lines = WAYS.map((way, n) => {
      const ratios = (costs[n] ?? []).map((cost, round) => cost / (costs[0]?.[round] ?? 0));
      const spread = [0.25, 0.5, 0.75].map((share) => quantile(ratios, share).toFixed(2));
      const [best = "", median = ""] = [0.15, 0.5].map((share) =>
        (1e6 * quantile(costs[n] ?? [], share)).toFixed(0),
      );
      return `  ${way.padEnd(10)} µs best 15 % ${best}, median ${median}; to ${WAYS[0]} (quartiles) ${spread.join(" ")}`;
    });
    process.stdout.write(`FetchX509SVID ${title}, processor time a call:\n${lines.join("\n")}\n`);
  });
});

async function onItsOwn(path: string): Promise<void> {
  let left = CALLS;
  const caller = async () => {
    while (left-- > 0) {
      using connection = await RawConnection.open(path);
      await call(connection, 1);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, caller));
}

async function onKept(path: string): Promise<void> {
  let left = CALLS;
  const caller = async () => {
    using connection = await RawConnection.open(path);
    for (let stream = 1; left-- > 0; stream += 2) {
      await call(connection, stream);
      // What was received is for the client to make room for.
      connection.write(
        numberFrame(FRAME.rstStream, stream, CANCEL),
        numberFrame(FRAME.windowUpdate, 0, 2000),
      );
      connection.frames.length = 0;
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, caller));
}

async function call(connection: RawConnection, stream: number): Promise<void> {
  connection.write(frame(FRAME.headers, FLAG.endHeaders, stream, HEADERS), messageFrame(stream));
  const isAnswered = () => connection.frames.some((one) => one.stream === stream && one.type === FRAME.data);
  await connection.until(isAnswered);
  if (!isAnswered()) throw new Error("no answer");
}

async function cpuSeconds(): Promise<number> {
  child.send("");
  const [seconds] = (await once(child, "message")) as [number];
  return seconds;
}

function quantile(values: readonly number[], share: number): number {
  return values.toSorted((a, b) => a - b)[Math.floor((values.length - 1) * share)] ?? 0;
}

const HEADERS = requestHeaders(literal(":authority", "localhost"));
const CANCEL = 8;
const WAYS = ["library", "session", "front", "endpoint"] as const;
const AT_ONCE = 8;
const CALLS = 1000;
const WARM_UP = 3;
const ROUNDS = 25;
