import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { type ClientHttp2Session, connect as http2Connect } from "node:http2";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, test } from "vitest";

/**
 * What the front costs: calls per second of the server's processor time, with it and on the plain socket, on
 * connections that are kept. The handlers do nothing, so the real share is smaller than what is printed. Modes take
 * turns, because other processes on the machine slow both; the best rounds are those that were disturbed least.
 */
const folder = mkdtempSync(join(tmpdir(), "authority-front-"));
const path = join(folder, "s");
let child: ChildProcess;

beforeAll(async () => {
  child = fork(join(import.meta.dirname, "authority-front-server.ts"), [path]);
  await once(child, "message");
});
afterAll(() => {
  child.disconnect();
  rmSync(folder, { recursive: true });
});

describe("the :authority front", () => {
  test.each([
    ["FetchX509SVID, taken back after its message", "FetchX509SVID", 1],
    ["FetchX509SVID, 8 at once", "FetchX509SVID", 8],
    ["FetchJWTSVID, one after the other", "FetchJWTSVID", 1],
    ["FetchJWTSVID, 8 at once", "FetchJWTSVID", 8],
  ])("%s", async (title, method, atOnce) => {
    const rates: Record<Mode, number[]> = { native: [], front: [] };
    for (let round = 0; round <= ROUNDS; round++) {
      for (const mode of ["native", "front"] as const) {
        const rate = await callsPerCpuSecond(mode, method, atOnce);
        // The first round warms up the code.
        if (round > 0) rates[mode].push(rate);
      }
    }
    const line = [0.5, 0.85].map((share) => {
      const [native, front] = [quantile(rates.native, share), quantile(rates.front, share)];
      return `${native.toFixed(0)} native, ${front.toFixed(0)} with the front, ratio ${(front / native).toFixed(2)}`;
    });
    process.stdout.write(`${title}, calls per CPU-second:\n  median    ${line.join("\n  best 15 % ")}\n`);
  });
});

type Mode = "native" | "front";

async function callsPerCpuSecond(mode: Mode, method: string, atOnce: number): Promise<number> {
  await cpuSeconds(mode);
  const sessions = Array.from({ length: CONNECTIONS }, () =>
    http2Connect("http://localhost", { createConnection: () => connect(path) }),
  );
  await Promise.all(sessions.map((session) => call(session, method)));
  const before = await cpuSeconds(mode);
  let left = CALLS;
  const caller = async (session: ClientHttp2Session) => {
    while (left-- > 0) await call(session, method);
  };
  await Promise.all(sessions.flatMap((session) => Array.from({ length: atOnce }, () => caller(session))));
  const after = await cpuSeconds(mode);
  for (const session of sessions) session.destroy();
  return CALLS / (after - before);
}

async function cpuSeconds(mode: Mode): Promise<number> {
  child.send(mode);
  const [seconds] = (await once(child, "message")) as [number];
  return seconds;
}

function call(session: ClientHttp2Session, method: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const stream = session.request({ ...HEADERS, ":path": `/SpiffeWorkloadAPI/${method}` });
    let received = 0;
    stream.on("data", (chunk: Buffer) => {
      received += chunk.length;
      if (method === "FetchX509SVID") stream.close(CANCEL);
    });
    stream.on("error", reject);
    stream.on("close", () => (received > 0 ? resolve() : reject(new Error("no answer"))));
    stream.end(Buffer.alloc(5));
  });
}

function quantile(values: readonly number[], share: number): number {
  return values.toSorted((a, b) => a - b)[Math.floor((values.length - 1) * share)] ?? 0;
}

const HEADERS = {
  ":method": "POST",
  "content-type": "application/grpc",
  te: "trailers",
  "user-agent": "bench/1",
  "workload.spiffe.io": "true",
};
const CANCEL = 8;
const CONNECTIONS = 16;
const CALLS = 2000;
const ROUNDS = 25;
