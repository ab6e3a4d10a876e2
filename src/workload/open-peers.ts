import type { TLSSocket } from "node:tls";
import { type AssayError, toAssayError } from "../errors/assay-error.ts";
import type { Updates, X509BundleSource } from "./bundles.ts";
import { type PeerPolicy, verifyPeer } from "./tls-peer.ts";

/** What {@link OpenPeers} needs of whoever made the connections. */
export interface OpenPeersOptions {
  /** Where the own X509-SVID comes from, and bundles unless the policy names others. */
  readonly source: X509BundleSource;
  readonly policy: PeerPolicy;
  /** Called at each change of the source or the bundles, before any connection is judged again. */
  readonly onChange: () => void;
  /** Closes the connection of a peer that is trusted no longer. Must not throw. */
  readonly close: (socket: TLSSocket, reason: AssayError) => void;
}

/**
 * Connections whose peers were let in. When bundles or revocation lists change, every peer is judged again as
 * {@link verifyPeer} says, and the connections of those who would not be let in now are closed: what a bundle takes
 * away is gone on open connections too. Hundreds are judged a turn, so that nobody waits for thousands.
 */
export class OpenPeers implements Disposable {
  readonly #options: OpenPeersOptions;
  readonly #bundles: X509BundleSource;
  readonly #updates: readonly Disposable[];
  readonly #sockets = new Set<TLSSocket>();
  #trust: Trust;
  #isJudging = false;

  constructor(options: OpenPeersOptions) {
    const { source, policy, onChange } = options;
    this.#options = options;
    this.#bundles = policy.bundles ?? source;
    this.#trust = trustOf(this.#bundles);
    const sources: readonly Updates[] = policy.bundles === undefined ? [source] : [source, policy.bundles];
    const hear = (): void => {
      onChange();
      this.#recheck();
    };
    this.#updates = sources.map((one) => one.onUpdate(hear));
  }

  /** Takes in a connection whose peer was judged in this very turn, until it closes. */
  add(socket: TLSSocket): void {
    this.#sockets.add(socket);
    socket.once("close", () => this.#sockets.delete(socket));
  }

  /** Hears of no change any more; connections stay as they are. */
  [Symbol.dispose](): void {
    for (const update of this.#updates) update[Symbol.dispose]();
    this.#sockets.clear();
  }

  #recheck(): void {
    const trust = trustOf(this.#bundles);
    // Most changes renew the own X509-SVID and say nothing of peers.
    if (isSame(trust, this.#trust)) return;
    this.#trust = trust;
    if (!this.#isJudging) void this.#judgeAll();
  }

  async #judgeAll(): Promise<void> {
    this.#isJudging = true;
    let trust: Trust;
    do {
      trust = this.#trust;
      let judged = 0;
      for (const socket of this.#sockets) {
        if (++judged % PEERS_A_TURN === 0) await new Promise(setImmediate);
        if (this.#sockets.has(socket)) this.#judge(socket);
      }
    } while (trust !== this.#trust);
    this.#isJudging = false;
  }

  #judge(socket: TLSSocket): void {
    try {
      verifyPeer(socket, this.#bundles, this.#options.policy);
    } catch (thrown) {
      this.#sockets.delete(socket);
      this.#options.close(socket, toAssayError(thrown));
    }
  }
}

/** What peers are judged by, in DER. */
interface Trust {
  readonly authorities: ReadonlyMap<string, readonly Uint8Array[]>;
  readonly crls: readonly Uint8Array[];
}

function trustOf(bundles: X509BundleSource): Trust {
  return {
    authorities: new Map([...bundles.x509Bundles()].map(([name, { authorities }]) => [name, authorities])),
    crls: bundles.crls?.().map(({ der }) => der) ?? [],
  };
}

function isSame(one: Trust, other: Trust): boolean {
  return (
    one.authorities.size === other.authorities.size &&
    isSameList(one.crls, other.crls) &&
    [...one.authorities].every(([name, list]) => isSameList(list, other.authorities.get(name) ?? []))
  );
}

function isSameList(one: readonly Uint8Array[], other: readonly Uint8Array[]): boolean {
  return (
    one.length === other.length && one.every((der, at) => Buffer.compare(der, other[at] as Uint8Array) === 0)
  );
}

const PEERS_A_TURN = 100;
