import { createHash } from "node:crypto";
import type { BigIntStats } from "node:fs";
import { type FileHandle, open, readlink } from "node:fs/promises";
import type { Clock } from "../../../clock.ts";
import { AssayError } from "../../../errors/assay-error.ts";

/** What is known about the program that a process runs. */
export interface Executable {
  /** As the kernel names it, in the workload's own view of the file system. */
  readonly path: string;
  /** Lower-case hex; absent where it was not asked for or the file is larger than the limit. */
  readonly sha256?: string;
  /** Bytes of the file, where it was looked at. */
  readonly size?: number;
}

/** Reads programs, remembering the hashes of those that have not changed. */
export class ExecutableReader implements Disposable {
  readonly #clock: Clock;
  readonly #sizeLimit: number;
  readonly #known = new Map<string, string>();
  readonly #running = new Map<string, Promise<string>>();
  readonly #stop = new AbortController();

  /** `sizeLimit` in bytes: 0 for none, negative for no hash at all. */
  constructor(clock: Clock, sizeLimit: number) {
    this.#clock = clock;
    this.#sizeLimit = sizeLimit;
  }

  /**
   * Reads the program of a process.
   * @throws AssayError `WORKLOAD_ATTESTATION_FAILED` where the process is gone or its program may not be read.
   */
  async read(pid: number): Promise<Executable> {
    const link = `/proc/${pid}/exe`;
    try {
      // Fatal: a path that is not UTF-8 must not be told as another one that is.
      const path = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(
        await readlink(link, { encoding: "buffer" }),
      );
      if (this.#sizeLimit < 0) return { path };
      // The link leads to the very file that runs, whatever its path holds by now.
      await using handle = await open(link, "r");
      const facts = await handle.stat({ bigint: true });
      const size = Number(facts.size);
      if (this.#sizeLimit > 0 && size > this.#sizeLimit) return { path, size };
      return { path, size, sha256: await this.#hash(handle, facts) };
    } catch (cause) {
      throw new AssayError("WORKLOAD_ATTESTATION_FAILED", `program of process ${pid} cannot be read`, {
        cause,
      });
    }
  }

  [Symbol.dispose](): void {
    this.#stop.abort();
  }

  async #hash(handle: FileHandle, facts: BigIntStats): Promise<string> {
    const key = keyOf(facts);
    const known = this.#known.get(key);
    if (known !== undefined) return this.#remember(key, known);
    // Many processes of one program start together: one of them hashes, the others wait for it.
    const running = this.#running.get(key);
    if (running !== undefined) return running;
    const work = hashUnchanged(handle, key, this.#stop.signal);
    this.#running.set(key, work);
    try {
      const sha256 = await work;
      // A file changed in this very tick may change again without another time stamp.
      const isSettled = BigInt(this.#clock.now()) * 1_000_000n - facts.ctimeNs > SETTLED_NS;
      return isSettled ? this.#remember(key, sha256) : sha256;
    } finally {
      this.#running.delete(key);
    }
  }

  /** Keeps the hash as the one used last, and forgets the one unused longest. */
  #remember(key: string, sha256: string): string {
    this.#known.delete(key);
    this.#known.set(key, sha256);
    if (this.#known.size > MAX_KNOWN) {
      for (const oldest of this.#known.keys()) {
        this.#known.delete(oldest);
        break;
      }
    }
    return sha256;
  }
}

function keyOf({ dev, ino, size, mtimeNs, ctimeNs }: BigIntStats): string {
  return `${dev}:${ino}:${size}:${mtimeNs}:${ctimeNs}`;
}

async function hashUnchanged(handle: FileHandle, key: string, signal: AbortSignal): Promise<string> {
  const sha256 = await hashFile(handle, signal);
  if (keyOf(await handle.stat({ bigint: true })) !== key)
    throw new Error("the file changed while it was read");
  return sha256;
}

async function hashFile(handle: FileHandle, signal: AbortSignal): Promise<string> {
  const digest = createHash("sha256");
  const chunk = Buffer.allocUnsafe(CHUNK_BYTES);
  for (let position = 0; ; ) {
    signal.throwIfAborted();
    const { bytesRead } = await handle.read(chunk, 0, chunk.length, position);
    if (bytesRead === 0) return digest.digest("hex");
    digest.update(chunk.subarray(0, bytesRead));
    position += bytesRead;
  }
}

const CHUNK_BYTES = 1_048_576;
const MAX_KNOWN = 1024;
const SETTLED_NS = 2_000_000_000n;
