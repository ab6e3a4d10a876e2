import type { CrlReason, RevokedCertificate } from "../../crypto/crl-writer.ts";
import type { CrlOrder } from "../../signing/signing.ts";
import type { CredentialRecord } from "../../store/task-store.ts";

/** What is known of an authority's newest list. */
export interface SignedList {
  readonly number: bigint;
  /** Unix seconds. */
  readonly thisUpdate: number;
  /** Unix seconds. */
  readonly nextUpdate: number;
  /** Lower-case hex. */
  readonly serials: ReadonlySet<string>;
}

/** A list to be signed, and how many found no room in it. */
export interface NeededList {
  readonly order: Omit<CrlOrder, "authorityId">;
  readonly left: number;
}

/**
 * The list that an authority needs now, Unix seconds; `undefined` where the one that is there will do: it names every
 * revoked SVID, is not past half of its life and has a number that no list had before. An SVID is named until a list was
 * signed after its end (RFC 5280 §3.3).
 * @param above A number that lists which are not known of may have had; 0 where there are none such.
 */
export function listNeeded(
  revoked: readonly CredentialRecord[],
  before: SignedList | undefined,
  now: number,
  above = 0n,
): NeededList | undefined {
  // A list of the future was signed before the clock was set back: it says nothing of who has had a last mention.
  const lastNamed = before === undefined || before.thisUpdate > now ? 0 : before.thisUpdate;
  const due = revoked.filter(({ expiresAt }) => expiresAt > lastNamed);
  // Those that are good for longest are the ones worth a place.
  const named =
    due.length > MAX_ENTRIES ? due.toSorted((a, b) => b.expiresAt - a.expiresAt).slice(0, MAX_ENTRIES) : due;
  // Beyond a whole life only where the clock was set back.
  const isFresh = before !== undefined && now < refreshAt(before) && before.nextUpdate - now <= LIFETIME;
  const isNewest = before !== undefined && before.number > above;
  if (isFresh && isNewest && named.every(({ id }) => before.serials.has(id))) return undefined;
  return {
    order: {
      revoked: named.map(entryOf),
      number: largest(before?.number ?? 0n, above) + 1n,
      thisUpdate: now - BACKDATED,
      nextUpdate: now + LIFETIME,
    },
    left: due.length - named.length,
  };
}

/** When a list is due to be signed anew, Unix seconds. */
export function refreshAt({ nextUpdate }: SignedList): number {
  return nextUpdate - LIFETIME + RENEWAL;
}

function largest(left: bigint, right: bigint): bigint {
  return left > right ? left : right;
}

function entryOf({ id, revokedAt, reason }: CredentialRecord): RevokedCertificate {
  const known = REASONS.get(reason);
  return { serial: id, revokedAt, ...(known === undefined ? {} : { reason: known }) };
}

/** Reasons as credentials have them, in the words of RFC 5280 §5.3.1. What is not here is unspecified. */
const REASONS: ReadonlyMap<string, CrlReason> = new Map([
  ["keyCompromise", "keyCompromise"],
  ["affiliationChanged", "affiliationChanged"],
  ["superseded", "superseded"],
  ["cessationOfOperation", "cessationOfOperation"],
  ["privilegeWithdrawn", "privilegeWithdrawn"],
  // Ends of tasks.
  ["job", "cessationOfOperation"],
  ["lease", "cessationOfOperation"],
  ["cap", "cessationOfOperation"],
  ["platform", "cessationOfOperation"],
  ["operator", "privilegeWithdrawn"],
]);

// Seconds. Verifiers refuse everybody by a list that is past its end, so an outage of the server must be able to outlast no
// list before it outlasts the SVIDs, whose longest life is a day unless an operator changed it.
const LIFETIME = 86_400;
const RENEWAL = 1800;
// A verifier whose clock is a little behind must not take a fresh list for one of the future.
const BACKDATED = 60;
// At 53 octets at most each, in a list of at most 1 MiB.
const MAX_ENTRIES = 19_000;
