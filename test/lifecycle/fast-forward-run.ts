// Years of rotation in minutes:  npm run fast-forward -- [MINUTES]      (15 unless told; at least 3)
//
// Two go-spiffe programs meet by mTLS every 50 ms and validate JWT-SVIDs every 200 ms, while authorities that live for two
// minutes rotate, are replaced, tainted and revoked by hand, and server and agent are restarted, every five minutes. Ends with
// status 1 if a single handshake or validation failed.
import { makeScratch } from "../e2e/scratch.ts";
import { buildPeer } from "../interop/peers.ts";
import { fastForward } from "./fast-forward.ts";

const minutes = Number(process.argv[2] ?? 15);
if (!(minutes >= 3)) throw new Error("expected a number of minutes, 3 or more");
const print = (line: string) => void process.stdout.write(`${new Date().toISOString()} ${line}\n`);

await using scratch = await makeScratch();
const programs = await buildPeer("go-client");
const { problems, ...counts } = await fastForward({
  minutes,
  rounds: Math.max(1, Math.floor(minutes / 5)),
  programs,
  scratch,
  print,
});
for (const problem of problems) print(problem);
print(JSON.stringify(counts));
if (problems.length > 0 || counts.failed > 0 || counts.handshakes === 0 || counts.validations === 0) {
  process.exitCode = 1;
}
