import { cautiousSeconds, type Clock, unixSeconds } from "../clock.ts";
import type { SpiffeBundle } from "../spiffe/bundle.ts";
import type { AuthorityRecord } from "../store/records.ts";
import type { AuthorityStore } from "../store/store.ts";
import { tokenAuthorityEdits, x509AuthorityEdits } from "./bundle-edit.ts";
import { isUpstream } from "./upstream/trust-plan.ts";

/** What forgetting works with. */
export interface ForgetOthersOptions {
  readonly authorities: AuthorityStore;
  readonly clock: Clock;
  /** The server that forgets; its own authorities are its journal's. */
  readonly serverId: string;
  /** Takes the own bundle as it stands afterwards. */
  readonly adopt: (bundle: SpiffeBundle) => void;
}

/**
 * Makes what takes authorities of other servers on the same store out of it, and out of the bundle, two days after their end:
 * their own server may be gone for good. Does something once an hour at most, however often it is called. What it gives
 * rejects with `STORE_UNAVAILABLE`.
 */
export function forgetOthers(options: ForgetOthersOptions): () => Promise<void> {
  const { authorities, clock, serverId } = options;
  const past = cautiousSeconds(clock, 2 * EVERY_SECONDS);
  let lastAt = Number.NEGATIVE_INFINITY;
  return async () => {
    const now = unixSeconds(clock);
    // A clock that was set back must not make the pause longer.
    if (now - lastAt < EVERY_SECONDS && now >= lastAt) return;
    lastAt = now;
    const before = past() - FORGET_AFTER_SECONDS;
    const ended = (await authorities.list()).filter(
      (record) => record.serverId !== serverId && !isUpstream(record) && record.notAfter < before,
    );
    if (ended.length === 0) return;
    const bundle = await authorities.commit({ delete: ended.map(({ id }) => id) }, (stored) =>
      ended.reduce(without, stored),
    );
    options.adopt(bundle);
  };
}

function without(bundle: SpiffeBundle, record: AuthorityRecord): SpiffeBundle {
  const edits = record.kind === "x509" ? x509AuthorityEdits : tokenAuthorityEdits(record.kind);
  return edits.unpublish(bundle, record);
}

const EVERY_SECONDS = 3600;
const FORGET_AFTER_SECONDS = 2 * 86_400;
