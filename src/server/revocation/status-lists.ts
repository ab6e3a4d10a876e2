import { type Clock, unixSeconds } from "../../clock.ts";
import type { Revocation } from "../../revocation/revocation.ts";
import type { Signing } from "../../signing/signing.ts";
import type { CredentialStore } from "../../store/task-store.ts";

/** The status lists of a server, signed when they are asked for. */
export interface StatusLists {
  /**
   * The token of a list (Token Status List §5.1), the same one until something changed or its `ttl` is over; `undefined` for
   * a list that was not begun.
   * @throws AssayError `STORE_UNAVAILABLE`, `AUTHORITY_EXPIRED`, `KEY_UNAVAILABLE`.
   */
  token(list: number): Promise<string | undefined>;
  /** The addresses of all lists. @throws AssayError `STORE_UNAVAILABLE`. */
  addresses(): Promise<readonly string[]>;
}

/** What the lists stand on. */
export interface StatusListsOptions {
  readonly revocation: Pick<Revocation, "statusBits">;
  readonly credentials: Pick<CredentialStore, "statusLists">;
  readonly signing: Pick<Signing, "signStatusList">;
  /** Where a list is fetched, and its `sub`. */
  readonly uriOf: (list: number) => string;
  readonly clock: Clock;
}

/** How long a relying party may keep a list before it looks again, in seconds: its `ttl`. */
export const STATUS_LIST_TTL = 5;

/** Makes the status lists of a server. */
export function createStatusLists(options: StatusListsOptions): StatusLists {
  const { revocation, credentials, signing, uriOf, clock } = options;
  const kept = new Map<number, { bits: Uint8Array; until: number; token: Promise<string> }>();
  let known = 0;
  let look: { readonly until: number; readonly counted: Promise<number> } | undefined;

  /** How many there are, asked of the store at most ten times a second. */
  async function count(): Promise<number> {
    const now = clock.now();
    if (look === undefined || look.until <= now) {
      look = { until: now + COUNT_KEPT_MS, counted: credentials.statusLists() };
    }
    const { counted } = look;
    try {
      known = Math.max(known, await counted);
    } catch (error) {
      look = undefined;
      throw error;
    }
    return known;
  }

  return {
    async token(list) {
      if (list >= known && list >= (await count())) return undefined;
      const bits = revocation.statusBits(list);
      const now = clock.now();
      const last = kept.get(list);
      if (last?.bits === bits && last.until > now) return last.token;
      const token = signing.signStatusList({
        uri: uriOf(list),
        bits: 1,
        list: bits,
        ttl: STATUS_LIST_TTL,
        expiresAt: unixSeconds(clock) + LIFETIME,
      });
      kept.set(list, { bits, until: now + SIGNED_KEPT_MS, token });
      // One that failed is no answer to the next who asks.
      token.catch(() => kept.delete(list));
      return token;
    },
    async addresses() {
      return Array.from({ length: await count() }, (_, list) => uriOf(list));
    },
  };
}

// Seconds: how long a list says something to those who cannot reach us.
const LIFETIME = 900;
// Not for longer, since the authority that signed may be taken out of the bundle.
const SIGNED_KEPT_MS = 30_000;
const COUNT_KEPT_MS = 100;
