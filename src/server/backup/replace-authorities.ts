import { type Clock, unixSeconds } from "../../clock.ts";
import { toAssayError } from "../../errors/assay-error.ts";
import type { AuditEvent } from "../../observe/audit-events.ts";
import type { AuditRecord } from "../../observe/audit-record.ts";
import { FIELD } from "../../observe/fields.ts";
import type { Log } from "../../observe/log.ts";
import type { Signing } from "../../signing/signing.ts";
import type { AuthorityKind, AuthorityRecord, RestoreRecord } from "../../store/records.ts";
import type { BackupStore } from "../../store/store.ts";

/** What the replacement of authorities needs. */
export interface ReplaceAuthoritiesParts {
  readonly restored: RestoreRecord;
  /** Seconds that federated trust domains are told to wait, where an endpoint tells them another time than the bundle. */
  readonly refreshHint?: number | undefined;
  readonly backups: Pick<BackupStore, "settle">;
  readonly signing: Pick<
    Signing,
    | "authorities"
    | "authorityStates"
    | "prepareAuthority"
    | "activateAuthority"
    | "taintAuthority"
    | "bundle"
    | "longestRefreshHint"
    | "upstreamIdOf"
  >;
  readonly clock: Clock;
  readonly log: Log;
  readonly audit: { append(records: readonly AuditRecord[]): void };
}

/**
 * Replaces the authorities of before a restore: nobody knows any more which of what they signed was revoked. The ordinary way
 * and without a pause but one: successors are prepared at once and sign when agents and federated trust domains have had time to
 * hear of them, and what they replace is tainted, so that all that it signed is made anew; one that an upstream authority signed only makes room, as its root
 * is what is trusted. Each kind goes its own way, and on where it was after a restart, until all is done.
 */
export function replaceAuthorities(parts: ReplaceAuthoritiesParts): AsyncDisposable {
  const { restored, backups, signing, clock, log, audit } = parts;
  const before = new Set(restored.authorities);
  let wait: Disposable | undefined;
  let running: Promise<void> | undefined;
  let closed = false;

  const ofBefore = () => signing.authorities().filter(({ id }) => before.has(id));
  // What was signed upstream cannot be tainted: to be old is all that can become of it.
  const isTaintable = (one: AuthorityRecord) =>
    one.state === "old" && signing.upstreamIdOf(one) === undefined;
  const left = () => ofBefore().filter((one) => LIVING.has(one.state) || isTaintable(one));
  /** Unix milliseconds before which a kind in trouble is left alone. */
  const retryAt = new Map<AuthorityKind, number>();

  /** Gives whether a successor waits for its time. */
  async function replace(kind: AuthorityKind): Promise<boolean> {
    const living = ofBefore().filter((one) => one.kind === kind && LIVING.has(one.state));
    const { prepared } = signing.authorityStates(kind);
    // A kind may have a second line, with RS256, that its states do not name: what is of before is asked of all records.
    if (living.length > 0) {
      if (prepared === undefined || living.some(({ state }) => state === "prepared")) {
        tell("authority.prepared", await signing.prepareAuthority(kind));
        return false;
      }
      if (unixSeconds(clock) < signsAt(prepared, living)) return true;
      tell("authority.activated", await signing.activateAuthority(kind, prepared.id));
    }
    for (const one of ofBefore()) {
      if (one.kind === kind && isTaintable(one)) {
        tell("authority.tainted", await signing.taintAuthority(kind, one.id));
      }
    }
    return false;
  }

  /** Unix seconds: who has a bundle keeps it for as long as its hint says, and the old authority must not end first. */
  function signsAt({ changedAt }: AuthorityRecord, living: readonly AuthorityRecord[]): number {
    const elsewhere = Math.min(parts.refreshHint ?? 0, signing.longestRefreshHint());
    const hint = Math.max(signing.bundle().refreshHint || DEFAULT_HINT_SECONDS, elsewhere);
    const ends = living.map(({ notAfter }) => notAfter - BEFORE_END_SECONDS);
    return Math.min(changedAt + hint + MARGIN_SECONDS, ...ends);
  }

  function tell(event: AuditEvent, authority: AuthorityRecord): void {
    audit.append([
      {
        event,
        outcome: "done",
        authority_id: authority.id,
        expires_at: authority.notAfter,
        reasons: [authority.kind, "the store was restored"],
      },
    ]);
  }

  /** One that is in trouble holds up no other. Gives whether it only waits. */
  async function attempt(kind: AuthorityKind): Promise<boolean> {
    if (clock.now() < (retryAt.get(kind) ?? 0)) return false;
    try {
      return await replace(kind);
    } catch (error) {
      retryAt.set(kind, clock.now() + RETRY_MS);
      log.error(`${kind} authorities of before the restore cannot be replaced, will be tried again`, {
        [FIELD.error]: toAssayError(error),
      });
      return false;
    }
  }

  let moved = { picture: "", at: clock.now() };
  function watch(isWaiting: boolean): void {
    const picture = left()
      .map(({ id, state }) => `${id} ${state}`)
      .join();
    if (picture !== moved.picture || isWaiting) moved = { picture, at: clock.now() };
    if (clock.now() - moved.at < STILL_MS) return;
    moved = { picture, at: clock.now() };
    log.warn("authorities of before the restore are still there, and nothing moves", {
      authorities: left().map(({ kind, id }) => `${kind} ${id}`),
    });
  }

  async function step(): Promise<void> {
    let isWaiting = false;
    for (const kind of new Set(left().map((authority) => authority.kind))) {
      isWaiting = (await attempt(kind)) || isWaiting;
    }
    watch(isWaiting);
    if (left().length > 0) return;
    await backups.settle({ authorities: [] });
    closed = true;
    const tainted = ofBefore().filter(({ state }) => state === "tainted");
    log.warn(
      "the authorities of before the restore are replaced and tainted; revoke them when every agent has new SVIDs: what they signed is good until then",
      { authorities: tainted.map(({ kind, id }) => `${kind} ${id}`) },
    );
  }

  function again(milliseconds: number): void {
    wait = clock.schedule(milliseconds, () => {
      running = step()
        .then(() => INTERVAL_MS)
        .catch((error: unknown) => {
          log.error("that authorities are replaced cannot be noted, will be tried again", {
            [FIELD.error]: toAssayError(error),
          });
          return RETRY_MS;
        })
        .then((pause) => {
          if (!closed) again(pause);
        });
    });
  }
  if (before.size > 0) again(0);

  return {
    async [Symbol.asyncDispose]() {
      closed = true;
      wait?.[Symbol.dispose]();
      await running;
    },
  };
}

const LIVING: ReadonlySet<AuthorityRecord["state"]> = new Set(["prepared", "active"]);
// What a consumer waits that is told nothing (Trust Domain and Bundle §6.1).
const DEFAULT_HINT_SECONDS = 300;
// Agents are back within half a minute, and intervals are spread.
const MARGIN_SECONDS = 60;
const BEFORE_END_SECONDS = 30;
const INTERVAL_MS = 1000;
const RETRY_MS = 30_000;
const STILL_MS = 300_000;
