import { closeSync } from "node:fs";
import { AssayError } from "../errors/assay-error.ts";
import { type Kernel, openKernel } from "./kernel.ts";
import { type ProcessFacts, readProcessFacts } from "./process-facts.ts";

/** A process that is held by a file descriptor until disposed, so that its pid cannot come to mean another one. */
export interface PinnedProcess extends Disposable {
  readonly pid: number;
  /** Effective user id when it was looked at. */
  readonly uid: number;
  /** Effective group id when it was looked at. */
  readonly gid: number;
  /** Whether the very process still runs; false after disposal. Takes about a microsecond. */
  isAlive(): boolean;
}

/** Where a process is looked up; tests put their own in place. */
export interface ProcessSources {
  readonly kernel: Pick<Kernel, "pidfdOpen" | "pidfdEnded">;
  /** Facts about a process by its pid, `undefined` where there is none. */
  readonly facts: (pid: number) => ProcessFacts | undefined;
}

/**
 * Takes hold of a running process by its number in our pid namespace. Its number may pass to another process meanwhile,
 * so what is held has been one and the same process throughout.
 * @throws AssayError `NOT_FOUND` where there is none, it has ended, or it is hidden from us; `NOT_READY` where the system
 * does not say, as it is short of file descriptors; `LISTEN_FAILED` where the system is not Linux.
 */
export function pinProcess(pid: number, sources: ProcessSources = systemSources()): PinnedProcess {
  const { kernel, facts } = sources;
  // First of all, as it says why it fails: whoever is told that a process has gone drops what belongs to it.
  const pidfd = kernel.pidfdOpen(pid);
  if (MISSING.has(-pidfd)) throw missing(pid);
  if (pidfd < 0) throw new AssayError("NOT_READY", `process ${pid} cannot be looked at (errno ${-pidfd})`);
  const before = facts(pid);
  if (before === undefined) {
    closeSync(pidfd);
    throw missing(pid);
  }
  const pinned = new PidfdProcess(kernel, pidfd, { pid, uid: before.uid, gid: before.gid });
  const after = facts(pid);
  const isSame =
    after?.startTime === before.startTime && after.uid === before.uid && after.gid === before.gid;
  if (isSame && pinned.isAlive()) return pinned;
  pinned[Symbol.dispose]();
  throw missing(pid);
}

/** A process behind a pidfd, which it closes when disposed. */
export class PidfdProcess implements PinnedProcess {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
  readonly #kernel: Pick<Kernel, "pidfdEnded">;
  #pidfd: number;

  constructor(
    kernel: Pick<Kernel, "pidfdEnded">,
    pidfd: number,
    { pid, uid, gid }: { readonly pid: number; readonly uid: number; readonly gid: number },
  ) {
    this.#kernel = kernel;
    this.#pidfd = pidfd;
    this.pid = pid;
    this.uid = uid;
    this.gid = gid;
  }

  isAlive(): boolean {
    return this.#pidfd >= 0 && this.#kernel.pidfdEnded(this.#pidfd) === 0;
  }

  [Symbol.dispose](): void {
    if (this.#pidfd < 0) return;
    closeSync(this.#pidfd);
    this.#pidfd = -1;
  }
}

function systemSources(): ProcessSources {
  return { kernel: openKernel(), facts: readProcessFacts };
}

function missing(pid: number): AssayError {
  return new AssayError("NOT_FOUND", `there is no process ${pid}`);
}

// ENOENT, ESRCH, and EINVAL for a thread that is no process (pidfd_open(2)).
const MISSING: ReadonlySet<number> = new Set([2, 3, 22]);
