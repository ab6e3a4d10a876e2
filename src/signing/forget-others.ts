import { cautiousSeconds, type Clock, unixSeconds } from "../clock.ts";
import type { JwtAuthorityKey, SpiffeBundle } from "../spiffe/bundle.ts";
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
  readonly bundle: () => SpiffeBundle;
  /** Takes the own bundle as it stands afterwards. */
  readonly adopt: (bundle: SpiffeBundle) => void;
}

/**
 * Makes what takes out of store and bundle what ended two days ago and whose own server may be gone for good: authorities of
 * other servers on the same store, what was trusted upstream, and keys that servers below have published. Does something once an hour at most, however
 * often it is called. What it gives rejects with `STORE_UNAVAILABLE`.
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
      (record) => record.serverId !== serverId && record.notAfter < before,
    );
    if (ended.length === 0 && without(options.bundle(), ended, before) === options.bundle()) return;
    const bundle = await authorities.commit({ delete: ended.map(({ id }) => id) }, (stored) =>
      without(stored, ended, before),
    );
    options.adopt(bundle);
  };
}

/** The bundle without these authorities and without token keys that ended before; the same object where none is in it. */
function without(bundle: SpiffeBundle, ended: readonly AuthorityRecord[], before: number): SpiffeBundle {
  const edited = ended.reduce((left, record) => {
    const edits = record.kind === "x509" ? x509AuthorityEdits : tokenAuthorityEdits(record.kind);
    // One upstream is known in the journal by a name of its own, so that it cannot pass for one of ours.
    const isKeyUpstream = isUpstream(record) && record.kind !== "x509";
    return edits.unpublish(left, isKeyUpstream ? { ...record, id: record.keyId } : record);
  }, bundle);
  const lasts = ({ expiresAt }: JwtAuthorityKey) => expiresAt === 0 || expiresAt >= before;
  if (edited.jwtAuthorities.every(lasts) && edited.witAuthorities.every(lasts)) return edited;
  return {
    ...edited,
    jwtAuthorities: edited.jwtAuthorities.filter(lasts),
    witAuthorities: edited.witAuthorities.filter(lasts),
  };
}

const EVERY_SECONDS = 3600;
const FORGET_AFTER_SECONDS = 2 * 86_400;
