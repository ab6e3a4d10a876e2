/**
 * peer/ — who is at the other end of a Unix socket, as the kernel knows it and nobody can claim otherwise.
 *
 * Must never know what a caller may have; it holds the only native code.
 * Called by the agent's and the server's listeners, once for each connection.
 */
import { closeSync } from "node:fs";
import type { Socket } from "node:net";
import { AssayError } from "../errors/assay-error.ts";
import { type Kernel, openKernel } from "./kernel.ts";
import { PidfdProcess } from "./pinned-process.ts";
import { type ProcessFacts, readProcessFacts } from "./process-facts.ts";

/** The process that opened a connection. Holds a file descriptor until disposed. */
export interface PeerProcess extends Disposable {
  readonly pid: number;
  /** Effective user id when it connected. */
  readonly uid: number;
  /** Effective group id when it connected. */
  readonly gid: number;
  /**
   * Whether the very process that connected still runs: false once it has ended, even while another process goes on
   * using its socket or has got its pid, and false after disposal. Takes about a microsecond.
   */
  isAlive(): boolean;
}

/** Where identification looks; tests put their own in place. */
export interface PeerSources {
  readonly kernel: Kernel;
  /** Facts about a process by its pid, `undefined` where there is none. */
  readonly facts: (pid: number) => ProcessFacts | undefined;
}

/**
 * Loads what `identifyPeer` needs, so that a machine on which callers cannot be identified is noticed before a
 * listener opens.
 * @throws AssayError `LISTEN_FAILED` where the system is not Linux or the native library cannot be loaded.
 */
export function requirePeerIdentification(platform: string = process.platform): void {
  openKernel(platform);
}

/**
 * Identifies the process that opened a connection to a Unix socket of ours. It is the process that called connect(2),
 * not whoever holds the socket now; ask `isAlive` before and after anything that is decided upon it.
 * @throws AssayError `CALLER_NOT_IDENTIFIED` where the process has ended, is of a foreign pid namespace, or the socket
 * is closed; `LISTEN_FAILED` as `requirePeerIdentification`.
 */
export function identifyPeer(socket: Socket, sources: PeerSources = systemSources()): PeerProcess {
  const fd = descriptorOf(socket);
  const credentials = sources.kernel.peerCredentials(fd);
  if (typeof credentials === "number")
    throw refused(`the socket has no peer credentials (errno ${-credentials})`);
  const { pid, uid, gid } = credentials;
  // The kernel says 0 for a process that our pid namespace cannot name; nothing could be attested about it.
  if (pid <= 0) throw refused("the caller is in a foreign pid namespace");
  if (uid === NOBODY_AT_ALL || gid === NOBODY_AT_ALL) throw refused("the kernel tells no user of the caller");
  const pidfd = openPidfd(fd, { pid, uid, gid }, sources);
  const peer = new PidfdProcess(sources.kernel, pidfd, { pid, uid, gid });
  if (!peer.isAlive()) {
    peer[Symbol.dispose]();
    throw refused(`process ${pid} has ended`);
  }
  return peer;
}

function openPidfd(
  fd: number,
  peer: { readonly pid: number; readonly uid: number; readonly gid: number },
  sources: PeerSources,
): number {
  const pidfd = sources.kernel.peerPidfd(fd);
  if (pidfd >= 0) return pidfd;
  if (pidfd !== -ENOPROTOOPT) throw refused(`process ${peer.pid} has ended (errno ${-pidfd})`);
  return openPidfdByNumber(peer, sources);
}

/**
 * On kernels without SO_PEERPIDFD the process is opened by its number. The number may have passed to another process
 * in between, so what is opened must have the peer's user and group, and be one and the same process throughout.
 */
function openPidfdByNumber(
  peer: { readonly pid: number; readonly uid: number; readonly gid: number },
  { kernel, facts }: PeerSources,
): number {
  const before = facts(peer.pid);
  if (before === undefined) throw refused(`process ${peer.pid} has ended or is hidden`);
  const pidfd = kernel.pidfdOpen(peer.pid);
  if (pidfd < 0) throw refused(`process ${peer.pid} has ended or cannot be opened (errno ${-pidfd})`);
  const after = facts(peer.pid);
  const same = after?.startTime === before.startTime && after.uid === peer.uid && after.gid === peer.gid;
  if (!same) {
    closeSync(pidfd);
    throw refused(`pid ${peer.pid} has passed to another process`);
  }
  return pidfd;
}

/** Node keeps the descriptor on the handle below the socket and has no public name for it. */
function descriptorOf(socket: Socket): number {
  const { _handle: handle } = socket as unknown as { readonly _handle?: { readonly fd?: number } | null };
  const fd = handle?.fd;
  if (typeof fd !== "number" || fd < 0) throw refused("the socket is closed");
  return fd;
}

function systemSources(): PeerSources {
  return { kernel: openKernel(), facts: readProcessFacts };
}

function refused(detail: string): AssayError {
  return new AssayError("CALLER_NOT_IDENTIFIED", detail);
}

const ENOPROTOOPT = 92;
// (uid_t) -1, which no process can have: the kernel gives it where the peer is not known.
const NOBODY_AT_ALL = 0xffff_ffff;
