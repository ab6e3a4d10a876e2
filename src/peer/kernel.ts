import { createRequire } from "node:module";
import type * as Koffi from "koffi";
import { AssayError } from "../errors/assay-error.ts";

/** What the kernel recorded about a Unix socket's peer when it connected (unix(7), SO_PEERCRED). */
export interface PeerCredentials {
  /** Process id in our pid namespace; 0 where the peer has none there. */
  readonly pid: number;
  /** Effective user id. */
  readonly uid: number;
  /** Effective group id. */
  readonly gid: number;
}

/** The few system calls that Node does not offer. Each gives a value or the negative errno. */
export interface Kernel {
  /** getsockopt SO_PEERCRED of a connected Unix socket. */
  peerCredentials(fd: number): PeerCredentials | number;
  /** getsockopt SO_PEERPIDFD (Linux 6.5): a new file descriptor that stands for the peer's process. */
  peerPidfd(fd: number): number;
  /** pidfd_open (Linux 5.3): the same for a process by its id. */
  pidfdOpen(pid: number): number;
  /** Whether the process behind a pidfd has ended: 0 no, 1 yes (pidfd_open(2): readable when it ends). */
  pidfdEnded(pidfd: number): number;
}

/**
 * The kernel of this machine. Native code is loaded at the first call and only then.
 * @throws AssayError `LISTEN_FAILED` where the system is not Linux or the native library cannot be loaded.
 */
export function openKernel(platform: string = process.platform): Kernel {
  if (platform !== "linux") {
    throw new AssayError(
      "LISTEN_FAILED",
      `callers can only be identified on Linux, this system is ${platform}`,
    );
  }
  opened ??= load();
  return opened;
}

function load(): Kernel {
  let koffi: typeof Koffi;
  let library: ReturnType<typeof Koffi.load>;
  try {
    // A synchronous require, so that a program that never looks at a peer never pays for the library.
    koffi = createRequire(import.meta.url)("koffi") as typeof Koffi;
    library = koffi.load(null);
  } catch (cause) {
    throw new AssayError(
      "LISTEN_FAILED",
      "callers cannot be identified: the native library koffi cannot be loaded",
      {
        cause,
      },
    );
  }
  const getsockopt = library.func("int getsockopt(int fd, int level, int name, void *value, void *length)");
  const syscall = library.func("long syscall(long number, int pid, unsigned int flags)");
  const poll = library.func("int poll(void *fds, unsigned long count, int timeout)");
  const result = (value: number): number => (value < 0 ? -koffi.errno() : value);

  // One block for each shape: every call below is synchronous and its result is read before the next one.
  const value = new Int32Array(3);
  const length = new Int32Array(1);
  const pollfd = new Int32Array(2);
  const events = new Int16Array(pollfd.buffer, 4, 2);

  function option(fd: number, name: number, size: number): number {
    length[0] = size;
    const outcome = result(getsockopt(fd, SOL_SOCKET, name, value, length) as number);
    if (outcome < 0) return outcome;
    return length[0] === size ? 0 : -EINVAL;
  }

  return {
    peerCredentials(fd) {
      const outcome = option(fd, SO_PEERCRED, 12);
      if (outcome < 0) return outcome;
      const [pid = 0, uid = 0, gid = 0] = value;
      return { pid, uid: uid >>> 0, gid: gid >>> 0 };
    },
    peerPidfd(fd) {
      const outcome = option(fd, SO_PEERPIDFD, 4);
      return outcome < 0 ? outcome : (value[0] ?? -EINVAL);
    },
    pidfdOpen: (pid) => result(Number(syscall(SYS_PIDFD_OPEN, pid, 0))),
    pidfdEnded(pidfd) {
      pollfd[0] = pidfd;
      events[0] = POLLIN;
      events[1] = 0;
      return result(poll(pollfd, 1, 0) as number);
    },
  };
}

let opened: Kernel | undefined;
// Numbers of the generic Linux ABI, the same on x86-64, arm64, riscv64, s390x and ppc64.
const SOL_SOCKET = 1;
const SO_PEERCRED = 17;
const SO_PEERPIDFD = 77;
const SYS_PIDFD_OPEN = 434;
const POLLIN = 1;
const EINVAL = 22;
