import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import { AssayError } from "../errors/assay-error.ts";
import type { ErrorCode } from "../errors/codes.ts";
import { type CertificationRequest, readCertificationRequest } from "./pkcs10.ts";

/** The part of a request that issuing for an entry needs. */
export type RequestedKey = Pick<CertificationRequest, "spki" | "keyType">;

/** Gives the key of one of the requests that were read ahead. @throws AssayError `INVALID_CSR` as reading it here would. */
export type RequestReader = (request: Uint8Array) => RequestedKey;

/** What a pool needs. */
export interface RequestPoolOptions {
  /** Whether this thread has no time to spare. Nothing is given away before it says so. */
  readonly isBusy: () => boolean;
  /** Threads at most, none for no pool. As many as there are processors beside this thread's, up to 3, unless told. */
  readonly threads?: number;
}

/**
 * Threads that read and verify certificate signing requests when the event loop is full and other processors are free:
 * more than half the cost of an X509-SVID, and the part that needs no key. Threads are started when first needed and end
 * with the pool.
 */
export class RequestPool implements AsyncDisposable {
  readonly #isBusy: () => boolean;
  readonly #most: number;
  readonly #threads: Thread[] = [];
  #next = 0;
  #isOver = false;

  constructor({ isBusy, threads = Math.min(availableParallelism() - 1, MOST_THREADS) }: RequestPoolOptions) {
    this.#isBusy = isBusy;
    this.#most = threads;
  }

  /** How many threads there are. */
  get threads(): number {
    return this.#threads.length;
  }

  /**
   * Has requests read by a thread, or is `undefined` where they are better read here: there is time, they are few, or the
   * threads have enough to do. Requests that a thread could not tell about are read here after all.
   */
  readAhead(requests: readonly Uint8Array[]): Promise<RequestReader> | undefined {
    if (requests.length < FEWEST || this.#most < 1 || this.#isOver || !this.#isBusy()) return undefined;
    const thread = this.#idlest();
    return thread && this.#readBy(thread, requests);
  }

  /** Ends the threads; what they have not answered is read here. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#isOver = true;
    await Promise.all(this.#threads.map(({ worker }) => worker.terminate()));
  }

  async #readBy(thread: Thread, requests: readonly Uint8Array[]): Promise<RequestReader> {
    const id = ++this.#next;
    const { bytes, ends } = packed(requests);
    const verdicts = await new Promise<readonly RequestVerdict[]>((resolve) => {
      thread.waiting.set(id, resolve);
      const job: RequestJob = { id, bytes, ends };
      thread.worker.postMessage(job, [bytes.buffer]);
    });
    const read = new Map(requests.map((request, at) => [request, verdicts[at]]));
    return (request) => {
      const verdict = read.get(request);
      if (verdict === undefined) return readCertificationRequest(request);
      if ("code" in verdict) throw new AssayError(verdict.code, verdict.detail);
      return verdict;
    };
  }

  #idlest(): Thread | undefined {
    const idlest = this.#threads.toSorted((a, b) => a.waiting.size - b.waiting.size)[0];
    if (idlest !== undefined && idlest.waiting.size === 0) return idlest;
    if (this.#threads.length < this.#most) return this.#start();
    return idlest !== undefined && idlest.waiting.size < MOST_JOBS ? idlest : undefined;
  }

  #start(): Thread {
    const worker = new Worker(WORKER, { name: "certification-requests", env: {}, execArgv: [] });
    const thread: Thread = { worker, waiting: new Map() };
    this.#threads.push(thread);
    worker.unref();
    worker.on("message", ({ id, verdicts }: RequestAnswer) => {
      thread.waiting.get(id)?.(verdicts);
      thread.waiting.delete(id);
    });
    // Its end follows.
    worker.on("error", () => undefined);
    worker.on("exit", () => {
      this.#threads.splice(this.#threads.indexOf(thread), 1);
      // A machine that lets no thread live is not asked again and again.
      this.#isOver = true;
      for (const resolve of thread.waiting.values()) resolve([]);
    });
    return thread;
  }
}

/** Requests as they are sent to a thread: one after the other in bytes of their own, and where each of them ends. */
export interface RequestJob {
  readonly id: number;
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly ends: readonly number[];
}

/** What a thread says of each request of a job. */
export interface RequestAnswer {
  readonly id: number;
  readonly verdicts: readonly RequestVerdict[];
}

/** The key of a request, or what is wrong with it. */
export type RequestVerdict = RequestedKey | { readonly code: ErrorCode; readonly detail: string };

interface Thread {
  readonly worker: Worker;
  readonly waiting: Map<number, (verdicts: readonly RequestVerdict[]) => void>;
}

function packed(requests: readonly Uint8Array[]): Pick<RequestJob, "bytes" | "ends"> {
  const ends: number[] = [];
  let length = 0;
  for (const request of requests) ends.push((length += request.length));
  const bytes = new Uint8Array(length);
  for (const [at, request] of requests.entries()) bytes.set(request, (ends[at] ?? 0) - request.length);
  return { bytes, ends };
}

// Sources run as they are, and built: a module is found beside this one under its own ending.
const WORKER = new URL(`./request-worker.${import.meta.url.endsWith(".ts") ? "ts" : "js"}`, import.meta.url);
/** Below it the message costs as much as is gained. */
const FEWEST = 5;
/** Beyond three threads this one is what everything waits for. */
const MOST_THREADS = 3;
/** Jobs that a thread has at once: one that it reads, and one that it finds when it is done. */
const MOST_JOBS = 2;
