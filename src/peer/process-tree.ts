import { readdirSync, readFileSync } from "node:fs";
import { close as closeInspector } from "node:inspector";
import { createRequire } from "node:module";
import type * as Koffi from "koffi";
import { AssayError } from "../errors/assay-error.ts";
import { startTimeIn } from "./process-facts.ts";

/** Who a process was started by, or passed to. */
export interface Parentage {
  /** 0 for one whose parent is of another pid namespace. */
  readonly parent: number;
  /** Clock ticks between boot and the start of the process. */
  readonly startTime: string;
}

/**
 * Makes this process the one that orphans of its process tree pass to (prctl(2), PR_SET_CHILD_SUBREAPER), so that none of
 * them leaves the tree. It lasts as long as the process.
 * @throws AssayError `LISTEN_FAILED` where the system is not Linux or refuses.
 */
export function becomeSubreaper(platform: string = process.platform): void {
  const { prctl, errno } = calls(platform);
  if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) !== 0) {
    throw new AssayError("LISTEN_FAILED", `orphans cannot be kept in the process tree (errno ${errno()})`);
  }
}

/**
 * Keeps other processes of the same user from looking into this one's memory (prctl(2), PR_SET_DUMPABLE), and closes the
 * debugger's port, which any of them opens by SIGUSR1 while nobody else listens to that: what it holds is for it alone.
 * Programs that it starts are not affected.
 * @throws AssayError `LISTEN_FAILED` where the system is not Linux or refuses.
 */
export function refuseInspection(platform: string = process.platform): void {
  const { prctl, errno } = calls(platform);
  if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) !== 0) {
    throw new AssayError("LISTEN_FAILED", `the process cannot be kept from inspection (errno ${errno()})`);
  }
  closeInspector();
}

/**
 * Lets ended orphans go that passed to this process, which nobody else waits for.
 * @param own Children that were started here, for which Node waits itself.
 * @returns how many there were.
 */
export function reapOrphans(own: ReadonlySet<number>): number {
  const { waitpid } = calls(process.platform);
  const status = Buffer.alloc(4);
  return childrenOf(process.pid).filter((pid) => !own.has(pid) && waitpid(pid, status, WNOHANG) === pid)
    .length;
}

/**
 * Whether a process is a descendant of another, which lives. Its parents are followed upwards; each step is looked at
 * twice, so that a number that passed to another process on the way is noticed.
 */
export function isDescendant(
  pid: number,
  ancestor: number,
  parentage: (pid: number) => Parentage | undefined = readParentage,
): boolean {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const answer = climb(pid, ancestor, parentage);
    if (answer !== undefined) return answer;
  }
  return false;
}

/** Parent and start of a process, or `undefined` where it is gone or hidden. Takes some 15 µs. */
export function readParentage(pid: number): Parentage | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    // The second field is the program's own name in parentheses and may hold anything.
    const parent = stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1];
    const startTime = startTimeIn(stat);
    return startTime === undefined || parent === undefined
      ? undefined
      : { parent: Number(parent), startTime };
  } catch {
    return undefined;
  }
}

/** Undefined where something changed on the way, and the question is to be asked again. */
function climb(
  pid: number,
  ancestor: number,
  parentage: (pid: number) => Parentage | undefined,
): boolean | undefined {
  let child = pid;
  let facts = parentage(child);
  for (let depth = 0; depth < MAX_DEPTH; depth++) {
    if (facts === undefined) return depth === 0 ? false : undefined;
    const { parent, startTime } = facts;
    const next = parent > 1 ? parentage(parent) : undefined;
    // Whoever loses its parent is given another at once: the same parent before and after is the one we looked at.
    const again = parentage(child);
    if (again?.parent !== parent || again.startTime !== startTime) return undefined;
    if (parent === ancestor) return true;
    if (parent <= 1) return false;
    child = parent;
    facts = next;
  }
  return false;
}

/** A child is listed with the thread that it was started by or passed to; none where the kernel keeps no list. */
function childrenOf(pid: number): readonly number[] {
  try {
    return readdirSync(`/proc/${pid}/task`).flatMap((thread) =>
      readFileSync(`/proc/${pid}/task/${thread}/children`, "latin1").split(" ").filter(Boolean).map(Number),
    );
  } catch {
    return [];
  }
}

interface TreeCalls {
  readonly prctl: (option: number, a: number, b: number, c: number, d: number) => number;
  readonly waitpid: (pid: number, status: Buffer, options: number) => number;
  readonly errno: () => number;
}

function calls(platform: string): TreeCalls {
  if (platform !== "linux") {
    throw new AssayError(
      "LISTEN_FAILED",
      `process trees can only be told on Linux, this system is ${platform}`,
    );
  }
  opened ??= load();
  return opened;
}

// A synchronous require, so that a program that never asks never pays for the library.
function load(): TreeCalls {
  try {
    const koffi = createRequire(import.meta.url)("koffi") as typeof Koffi;
    const library = koffi.load(null);
    return {
      prctl: library.func(
        "int prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d)",
      ) as TreeCalls["prctl"],
      waitpid: library.func("int waitpid(int pid, void *status, int options)") as TreeCalls["waitpid"],
      errno: () => koffi.errno(),
    };
  } catch (cause) {
    throw new AssayError(
      "LISTEN_FAILED",
      "process trees cannot be told: the native library koffi cannot be loaded",
      { cause },
    );
  }
}

let opened: TreeCalls | undefined;
const PR_SET_DUMPABLE = 4;
const PR_SET_CHILD_SUBREAPER = 36;
const WNOHANG = 1;
// A tree may be in full flight; one that changes at every look is refused.
const ATTEMPTS = 8;
const MAX_DEPTH = 1000;
