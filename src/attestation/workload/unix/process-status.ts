import { readFileSync } from "node:fs";
import { AssayError } from "../../../errors/assay-error.ts";

/** The ids of a process, as `/proc/PID/status` tells them (proc_pid_status(5)). */
export interface ProcessStatus {
  /** Effective user id. */
  readonly uid: number;
  /** Effective group id. */
  readonly gid: number;
  /** Supplementary group ids in the kernel's order. */
  readonly groups: readonly number[];
}

/**
 * Reads the ids of a process. Synchronously: the file is made of memory, and a thread hop would cost more than it.
 * @throws AssayError `WORKLOAD_ATTESTATION_FAILED` where the process is gone or its status cannot be read.
 */
export function readProcessStatus(pid: number): ProcessStatus {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/status`, "latin1");
  } catch (cause) {
    throw new AssayError("WORKLOAD_ATTESTATION_FAILED", `status of process ${pid} cannot be read`, { cause });
  }
  return parseProcessStatus(text);
}

/** Parses `/proc/PID/status`. @throws AssayError `WORKLOAD_ATTESTATION_FAILED` where a line is missing or odd. */
export function parseProcessStatus(text: string): ProcessStatus {
  // Real, effective, saved and file-system id.
  const [, uid] = numbersOf(text, "Uid", 4);
  const [, gid] = numbersOf(text, "Gid", 4);
  return { uid: uid as number, gid: gid as number, groups: numbersOf(text, "Groups") };
}

function numbersOf(text: string, label: string, count?: number): readonly number[] {
  // The kernel escapes newlines in the program's name, so a line that begins with a label is that line.
  const start = text.indexOf(`\n${label}:`);
  const end = text.indexOf("\n", start + 1);
  const words =
    start < 0 ? [] : text.slice(start + label.length + 2, end < 0 ? undefined : end).match(/\S+/g);
  const numbers = (words ?? []).map(Number);
  const isOdd = start < 0 || !numbers.every((number) => Number.isInteger(number) && number >= 0);
  if (isOdd || (count !== undefined && numbers.length !== count)) {
    throw new AssayError("WORKLOAD_ATTESTATION_FAILED", `process status has no usable line ${label}`);
  }
  return numbers;
}
