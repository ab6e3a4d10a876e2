/**
 * server/revocation — makes known what is revoked: CRLs of this server's authorities, status lists, and word to agents.
 *
 * Must never know why something was revoked, nor who may revoke.
 * Called by the server's composition.
 */
import { type Clock, unixSeconds } from "../../clock.ts";
import { readCertificate } from "../../crypto/certificate-reader.ts";
import { readCrl } from "../../crypto/crl.ts";
import { AssayError } from "../../errors/assay-error.ts";
import type { Registry } from "../../registry/registry.ts";
import type { RevokedToken } from "../../revocation/revoked-table.ts";
import type { Revocation } from "../../revocation/revocation.ts";
import type { Signing } from "../../signing/signing.ts";
import type { TrustDomain } from "../../spiffe/trust-domain.ts";
import type { CrlStore } from "../../store/store.ts";
import { listNeeded, refreshAt, type SignedList } from "./own-list.ts";
import { type Round, Rounds } from "./rounds.ts";

/** Makes known what is revoked. */
export interface Publisher extends AsyncDisposable {
  /**
   * Resolves when everything that was revoked before the call is on the lists of this server's authorities, in the store
   * and told to agents that follow. What another server's authority signed is on that server's lists when it is up.
   * @throws AssayError `STORE_UNAVAILABLE`, `KEY_UNAVAILABLE`; it is tried again by itself.
   */
  settle(): Promise<void>;
  /** The revoked tokens as agents are told of them, all that have not expired. */
  revokedTokens(): readonly RevokedToken[];
  /**
   * Calls the listener with the tokens that were revoked since the last round, until disposed; of those that have expired
   * there is no word. It must not throw.
   * @param howMany How many agents follow there, by which the pace of the lists is set.
   */
  onRevokedTokens(listener: (fresh: readonly RevokedToken[]) => void, howMany?: () => number): Disposable;
}

/** What the publisher stands on. */
export interface PublisherOptions {
  readonly trustDomain: TrustDomain;
  readonly revocation: Revocation;
  readonly crls: CrlStore;
  /** Says which lists there are now, whoever signed them. */
  readonly registry: Pick<Registry, "crls" | "subscribe">;
  readonly signing: Pick<Signing, "signCrl" | "authorities" | "bundle" | "onBundleChange">;
  readonly clock: Clock;
  /** A number that lists of which the store has forgotten may have had; every new one is larger. None unless given. */
  readonly numbersAbove?: bigint | undefined;
  /** Told what happened. Must not throw. */
  readonly report: (event: PublisherEvent) => void;
}

/** Something an operator should know. */
export type PublisherEvent =
  | {
      readonly event: "published";
      readonly authorityId: string;
      readonly number: bigint;
      readonly revoked: number;
    }
  /** There are more than a list can name: those that expire first are not on it. */
  | { readonly event: "full"; readonly authorityId: string; readonly left: number }
  /** The key of an authority is not here, so nobody can sign a list of it. */
  | { readonly event: "no-key"; readonly authorityId: string }
  /** Will be tried again. */
  | { readonly event: "failed"; readonly error: unknown };

/**
 * Opens the publisher: each X.509 authority of this server has a CRL from the moment when the trust domain has any list,
 * for verifiers that were shown one refuse SVIDs of authorities without. A list is signed anew with each change, many
 * changes at once together, and at half of its life; its number grows over restarts. Lists of authorities that left the
 * bundle are deleted.
 * @throws AssayError `STORE_UNAVAILABLE`.
 */
export async function openPublisher(options: PublisherOptions): Promise<Publisher> {
  const { trustDomain, revocation, crls, registry, signing, clock, report, numbersAbove } = options;
  const signed = new Map<string, SignedList>();
  for (const { trustDomain: name, crl } of await crls.list()) {
    if (name !== trustDomain) continue;
    const { authorityKeyId, number, thisUpdate, nextUpdate, revoked } = readCrl(crl, "INTERNAL");
    signed.set(hex(authorityKeyId), { number, thisUpdate, nextUpdate, serials: revoked });
  }
  const listeners = new Set<{
    readonly tell: (fresh: readonly RevokedToken[]) => void;
    readonly howMany: () => number;
  }>();
  const keyless = new Set<string>();
  let told = revocation.revokedTokens();
  let toldEnds = latestEnds(told);
  // A list of which the registry has not heard yet counts too.
  let isListing = signed.size > 0;

  function ownAuthorities(now: number): readonly string[] {
    const own = signing
      .authorities()
      .filter(({ kind, state, notAfter }) => kind === "x509" && state !== "revoked" && notAfter > now)
      .map(({ id }) => id);
    isListing ||=
      registry.crls(trustDomain).length > 0 || own.some((id) => revocation.revokedX509(id).length > 0);
    return own;
  }

  /** Whether a round would do anything. */
  function isBehind(): boolean {
    const now = unixSeconds(clock);
    const own = ownAuthorities(now);
    return (
      revocation.revokedTokens() !== told ||
      (isListing &&
        own.some((id) => {
          if (keyless.has(id)) return false;
          return listNeeded(revocation.revokedX509(id), signed.get(id), now, numbersAbove) !== undefined;
        }))
    );
  }

  async function round(): Promise<Round> {
    const now = unixSeconds(clock);
    const own = ownAuthorities(now);
    let size = 0;
    let nextAt = Number.POSITIVE_INFINITY;
    const faults: unknown[] = [];
    for (const id of isListing ? own : []) {
      const before = signed.get(id);
      try {
        const list = await publish(id, before, now);
        if (list === undefined) continue;
        if (list !== before) size = Math.max(size, list.serials.size, 1);
        nextAt = Math.min(nextAt, refreshAt(list) * 1000);
      } catch (error) {
        // The key of one authority may be out of reach for long; the others' lists are not to wait for it.
        faults.push(error);
      }
    }
    size = Math.max(size, tellAgents());
    if (faults.length > 0) throw faults[0];
    await forgetGone(own);
    // Whatever is new goes to every agent that follows, and to thousands that takes longer than to sign it.
    const followers = [...listeners].reduce((sum, { howMany }) => sum + howMany(), 0);
    return { size: size === 0 ? 0 : size + AGENT_SIZE * followers, nextAt };
  }

  /** Signs an authority's list where it needs a newer one; gives the one there is then. */
  async function publish(
    authorityId: string,
    before: SignedList | undefined,
    now: number,
  ): Promise<SignedList | undefined> {
    const needed = listNeeded(revocation.revokedX509(authorityId), before, now, numbersAbove);
    if (needed === undefined) return before;
    const { order, left } = needed;
    let crl: Uint8Array;
    try {
      crl = await signing.signCrl({ authorityId, ...order });
    } catch (error) {
      if (!(error instanceof AssayError && error.code === "AUTHORITY_NOT_FOUND")) throw error;
      if (!keyless.has(authorityId)) report({ event: "no-key", authorityId });
      keyless.add(authorityId);
      // A list that is older than one that was published says of some who are revoked that they are not.
      if (before !== undefined && before.number <= (numbersAbove ?? 0n)) {
        await crls.delete(trustDomain, authorityId);
        signed.delete(authorityId);
      }
      return undefined;
    }
    await crls.put({ trustDomain, authorityKeyId: authorityId, crl });
    const { number, thisUpdate, nextUpdate, revoked } = order;
    const serials = new Set(revoked.map(({ serial }) => serial));
    const list = { number, thisUpdate, nextUpdate, serials };
    signed.set(authorityId, list);
    report({ event: "published", authorityId, number, revoked: serials.size });
    if (left > 0) report({ event: "full", authorityId, left });
    return list;
  }

  async function forgetGone(own: readonly string[]): Promise<void> {
    if (signed.size === 0) return;
    const { x509Authorities } = signing.bundle();
    const present = new Set(own);
    for (const { certificate } of x509Authorities) {
      present.add(hex(readCertificate(certificate).subjectKeyId ?? NOTHING));
    }
    for (const id of signed.keys()) {
      if (present.has(id)) continue;
      await crls.delete(trustDomain, id);
      signed.delete(id);
    }
  }

  /** Tells of what was revoked since the last time; gives how many there are. */
  function tellAgents(): number {
    const tokens = revocation.revokedTokens();
    if (tokens === told) return 0;
    // An id that two tokens share is news again where the second ends later.
    const fresh = tokens.filter(({ id, expiresAt }) => (toldEnds.get(id) ?? NEVER) < expiresAt);
    told = tokens;
    toldEnds = latestEnds(tokens);
    if (fresh.length > 0) for (const { tell } of listeners) tell(fresh);
    return fresh.length;
  }

  const rounds = new Rounds({
    clock,
    round,
    failed: (error) => report({ event: "failed", error }),
  });
  const subscriptions = [
    revocation.onChange(() => rounds.want()),
    signing.onBundleChange(() => rounds.want()),
    registry.subscribe((changes) => {
      if (changes.some((change) => change.kind === "crl" && change.trustDomain === trustDomain))
        rounds.want();
    }),
  ];
  rounds.want();

  return {
    async settle() {
      await revocation.catchUp();
      await rounds.idle();
      if (isBehind()) await rounds.next();
    },
    revokedTokens: () => told,
    onRevokedTokens(listener, howMany = () => 0) {
      const own = { tell: (fresh: readonly RevokedToken[]) => listener(fresh), howMany };
      listeners.add(own);
      return { [Symbol.dispose]: () => void listeners.delete(own) };
    },
    async [Symbol.asyncDispose]() {
      for (const subscription of subscriptions) subscription[Symbol.dispose]();
      await rounds[Symbol.asyncDispose]();
    },
  };
}

/** By id the latest end, Unix seconds. */
function latestEnds(tokens: readonly RevokedToken[]): ReadonlyMap<string, number> {
  const ends = new Map<string, number>();
  for (const { id, expiresAt } of tokens) ends.set(id, Math.max(expiresAt, ends.get(id) ?? NEVER));
  return ends;
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("hex");
}

const NEVER = Number.NEGATIVE_INFINITY;
const NOTHING = new Uint8Array();
// What telling one agent counts for in the size of a round: 0.4 ms of pause each.
const AGENT_SIZE = 4;
