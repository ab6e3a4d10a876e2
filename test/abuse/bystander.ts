import { once } from "node:events";
import { connect as http2Connect } from "node:http2";
import { connect } from "node:net";

/**
 * Run by `run.ts` in a process of its own: an honest client on the Unix socket that is its argument. It makes one call
 * after the other on one kept connection, and every tenth on a new one. Each message is answered with what happened
 * since the one before.
 */
const path = process.argv[2] ?? "";
let took: number[] = [];
let failed = 0;
process.on("message", () => {
  const sorted = took.toSorted((a, b) => a - b);
  const at = (share: number) => sorted[Math.floor((sorted.length - 1) * share)] ?? 0;
  process.send?.({ served: sorted.length, failed, p50: at(0.5), p99: at(0.99), max: at(1) });
  took = [];
  failed = 0;
});
process.on("disconnect", () => process.exit(0));

let kept = open();
process.send?.(0);
for (let i = 0; ; i++) {
  if (kept.destroyed || kept.closed) kept = open();
  const session = i % 10 === 9 ? open() : kept;
  const started = performance.now();
  try {
    await call(session);
    took.push(performance.now() - started);
  } catch {
    failed++;
  }
  if (session !== kept) session.close();
  await new Promise((resolve) => setTimeout(resolve, 2));
}

function open() {
  const session = http2Connect("http://localhost", { createConnection: () => connect(path) });
  session.on("error", () => undefined);
  return session;
}

async function call(session: ReturnType<typeof open>): Promise<void> {
  const stream = session.request({
    ":method": "POST",
    ":path": "/SpiffeWorkloadAPI/FetchJWTSVID",
    "content-type": "application/grpc",
    te: "trailers",
  });
  let received = 0;
  stream.on("data", (chunk: Buffer) => {
    received += chunk.length;
  });
  stream.end(Buffer.alloc(5));
  await once(stream, "close");
  if (received === 0) throw new Error("no answer");
}
