import { createRequire } from "node:module";
import { endianness } from "node:os";
import type * as Koffi from "koffi";
import { AssayError } from "../errors/assay-error.ts";

/**
 * Tells the service manager how this very process is (`sd_notify(3)`): one datagram on a Unix socket, which Node cannot
 * send. Never waits: a message for which there is no room is lost.
 * @param socket `NOTIFY_SOCKET`: an absolute path, or `@` and a name of the abstract namespace.
 * @param state Lines such as `READY=1`.
 * @throws AssayError `FILE_UNAVAILABLE` where the message cannot be delivered.
 */
export function sdNotify(socket: string, state: string): void {
  const address = socketAddress(socket);
  const kernel = load();
  const fd = kernel.socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) throw refused(`errno ${kernel.errno()}`);
  try {
    const message = Buffer.from(state, "utf8");
    const sent = kernel.sendto(
      fd,
      message,
      message.length,
      MSG_DONTWAIT | MSG_NOSIGNAL,
      address,
      address.length,
    );
    if (sent !== message.length) throw refused(`errno ${kernel.errno()}`);
  } finally {
    kernel.close(fd);
  }
}

/** A `struct sockaddr_un` as bytes (unix(7)). */
function socketAddress(socket: string): Buffer {
  const path = Buffer.from(socket.startsWith("@") ? `\0${socket.slice(1)}` : socket, "utf8");
  if (!/^[/@]/.test(socket) || path.length < 2) throw refused("expected an absolute path, or @ and a name");
  if (path.length > MAX_PATH) throw refused(`expected at most ${MAX_PATH} bytes`);
  const family = Buffer.alloc(2);
  if (endianness() === "LE") family.writeUInt16LE(AF_UNIX);
  else family.writeUInt16BE(AF_UNIX);
  return Buffer.concat([family, path]);
}

function refused(why: string): AssayError {
  return new AssayError("FILE_UNAVAILABLE", `NOTIFY_SOCKET: the service manager cannot be told: ${why}`);
}

interface DatagramKernel {
  socket(domain: number, type: number, protocol: number): number;
  sendto(fd: number, bytes: Buffer, length: number, flags: number, to: Buffer, toLength: number): number;
  close(fd: number): void;
  errno(): number;
}

// A synchronous require, so that a program that nobody waits for never pays for the library.
function load(): DatagramKernel {
  let koffi: typeof Koffi;
  let library: ReturnType<typeof Koffi.load>;
  try {
    koffi = createRequire(import.meta.url)("koffi") as typeof Koffi;
    library = koffi.load(null);
  } catch (cause) {
    throw new AssayError("FILE_UNAVAILABLE", "NOTIFY_SOCKET: the native library koffi cannot be loaded", {
      cause,
    });
  }
  const socket = library.func("int socket(int domain, int type, int protocol)");
  const sendto = library.func(
    "long sendto(int fd, void *bytes, unsigned long length, int flags, void *to, unsigned int toLength)",
  );
  const close = library.func("int close(int fd)");
  return {
    socket: (...args) => socket(...args) as number,
    sendto: (...args) => Number(sendto(...args)),
    close: (fd) => void close(fd),
    errno: () => koffi.errno(),
  };
}

// Numbers of the generic Linux ABI, the same on x86-64, arm64, riscv64, s390x and ppc64.
const AF_UNIX = 1;
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0o2000000;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
const MAX_PATH = 108;
