import { parentPort } from "node:worker_threads";
import { toAssayError } from "../errors/assay-error.ts";
import { readCertificationRequest } from "./pkcs10.ts";
import type { RequestAnswer, RequestJob, RequestVerdict } from "./request-pool.ts";

// What a thread of `RequestPool` runs: it reads requests, and has no key and no state.
parentPort?.on("message", (job: RequestJob) => {
  const verdicts: RequestVerdict[] = [];
  let start = 0;
  for (const end of job.ends) {
    verdicts.push(verdictOn(job.bytes.subarray(start, end)));
    start = end;
  }
  const answer: RequestAnswer = { id: job.id, verdicts };
  parentPort?.postMessage(answer);
});

function verdictOn(request: Uint8Array): RequestVerdict {
  try {
    const { spki, keyType } = readCertificationRequest(request);
    // A copy: a view would be sent with all the bytes that it is a view of.
    return { spki: Uint8Array.from(spki), keyType };
  } catch (error) {
    const { code, detail } = toAssayError(error);
    return { code, detail };
  }
}
