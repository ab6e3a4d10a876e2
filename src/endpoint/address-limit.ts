import { isIPv6 } from "node:net";
import { type CountedSocket, OpenCount } from "./open-count.ts";

/** A socket with the address of its other end. */
export interface AddressedSocket extends CountedSocket {
  /** Without port; absent on a Unix socket. */
  readonly remoteAddress?: string | undefined;
}

/** What a limit is made of. */
export interface AddressLimitOptions {
  /** Connections that one address may have open without having proved who it is. */
  readonly limit: number;
  /** Told of each connection over the limit; `first` where its address fell below half of it since the last such one. */
  readonly onOver: (address: string, first: boolean) => void;
}

/**
 * Bounds the connections of each address whose other end has not proved who it is, so that none of them can take the
 * descriptors and the memory that all others need. An address stands for the network that its owner is given as a
 * whole: an IPv4 address, or the first 64 bits of an IPv6 address.
 *
 * A connection counts from when it is accepted, its handshake included, and until it closes or is identified.
 */
export class AddressLimit {
  readonly #options: AddressLimitOptions;
  readonly #open = new OpenCount<string>();
  readonly #identified = new OpenCount<string>();
  /** Those who were over the limit and have not fallen below half of it since. */
  readonly #over = new Set<string>();

  constructor(options: AddressLimitOptions) {
    this.#options = options;
  }

  /** Counts a connection until it closes; false, and nothing counted, where its address has too many already. */
  take(socket: AddressedSocket): boolean {
    const { remoteAddress } = socket;
    if (remoteAddress === undefined) return true;
    const key = networkOf(remoteAddress);
    if (this.#unidentified(key) >= this.#options.limit) {
      const first = !this.#over.has(key);
      this.#over.add(key);
      this.#options.onOver(remoteAddress, first);
      return false;
    }
    this.#open.add(key, socket);
    socket.once("close", () => this.#settle(key));
    return true;
  }

  /**
   * Takes a connection out of the count that `take` has let in: its other end has proved who it is. The socket, which
   * must not have closed yet, may be another one that stands for the same connection.
   */
  identify(socket: AddressedSocket): void {
    const { remoteAddress } = socket;
    if (remoteAddress === undefined) return;
    const key = networkOf(remoteAddress);
    this.#identified.add(key, socket);
    this.#settle(key);
  }

  // At half, not at the limit: who comes and goes right below it would be told of with every connection.
  #settle(key: string): void {
    if (this.#unidentified(key) < this.#options.limit / 2) this.#over.delete(key);
  }

  // The two sockets of one connection close one after the other, so for a moment there may be fewer than none.
  #unidentified(key: string): number {
    return this.#open.of(key) - this.#identified.of(key);
  }
}

/**
 * The network that an address belongs to, as a key: an IPv4 address itself, also where it is written as IPv6
 * (`::ffff:192.0.2.1`), and the first 64 bits of any other IPv6 address, with its zone.
 */
export function networkOf(address: string): string {
  const [plain = "", zone] = address.split("%");
  if (!isIPv6(plain)) return address;
  const [head = "", tail] = plain.split("::");
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(plain)?.[1];
  if (mapped !== undefined) return mapped;
  const before = groupsOf(head);
  const after = tail === undefined ? [] : groupsOf(tail);
  const gap = Array.from({ length: Math.max(0, GROUPS - before.length - after.length) }, () => "0");
  const network = [...before, ...gap, ...after].slice(0, GROUPS / 2);
  const prefix = network.map((group) => Number.parseInt(group, 16).toString(16)).join(":");
  return `${prefix}::/64${zone === undefined ? "" : `%${zone}`}`;
}

/** The groups of 16 bits in a part of an IPv6 address; an IPv4 address at its end has two that nobody asks for. */
function groupsOf(part: string): readonly string[] {
  if (part === "") return [];
  return part.split(":").flatMap((group) => (group.includes(".") ? ["0", "0"] : [group]));
}

const GROUPS = 8;
