import { type Clock, unixSeconds } from "../../clock.ts";
import type { PluginLog } from "../../plugin/host.ts";
import type { Chore } from "../chores.ts";
import type { RemoteKeyManager } from "../remote-key-manager.ts";
import { tendEach } from "../tended-keys.ts";
import type { KmsCalls } from "./kms-calls.ts";
import type { KmsAlias, KmsKeyMetadata } from "./kms-client.ts";
import { DELETION_DAYS } from "./kms-keys.ts";
import { type KmsNames, lastUpdateTag } from "./kms-names.ts";

/** What the care for keys in KMS needs. */
export interface KmsChoresOptions {
  readonly calls: KmsCalls;
  readonly names: KmsNames;
  readonly manager: RemoteKeyManager<string>;
  /** Whether keys have the tags by which SPIRE discovers keys. */
  readonly tagged: boolean;
  readonly clock: Clock;
  readonly log: PluginLog;
}

/**
 * What a server does for its keys, and for those that dead servers of the trust domain left: every 6 hours aliases are
 * refreshed, as SPIRE does; every 12 hours an alias of another server that nobody refreshed for two weeks goes with its
 * key, and so does a key of the trust domain that has no alias 48 hours after it was made. Only keys whose description
 * names the trust domain are ever given up, at most 100 each time, and KMS keeps each for 7 days in which it can be called
 * back. One that this server may not look at or give up keeps none of the others.
 *
 * Whether something is old is told by KMS's own time, as the aliases tell it that this process has refreshed: our clock may be ahead. It
 * is given up only when it was as old the time before: all servers may have been away together. Half a day lies in between, in
 * which every server that lives refreshes twice, and which a server that is restarted every day lives to see the end of.
 */
export function kmsChores({ calls, names, manager, tagged, clock, log }: KmsChoresOptions): readonly Chore[] {
  /** The ARN to which this process has refreshed the alias of each key id. */
  const refreshed = new Map<string, string>();
  /** When each alias was updated that was stale the last time. */
  let suspects: ReadonlyMap<string, number> = new Map();
  /** The keys that had no alias the last time. */
  let orphans: ReadonlySet<string> = new Set();

  return [
    { name: "keeping keys alive", first: MINUTE, every: KEEP_ALIVE_EVERY, run: keepAlive },
    { name: "giving up aliases of dead servers", first: HOUR, every: DISPOSE_EVERY, run: disposeAliases },
    { name: "giving up keys without alias", first: 2 * HOUR, every: DISPOSE_EVERY, run: disposeKeys },
  ];

  async function keepAlive(): Promise<void> {
    // Between changes: no alias may be set back to a key that is being replaced.
    await tendEach(manager, ({ id, handle }) => refresh(id, handle));
  }

  async function refresh(id: string, arn: string): Promise<void> {
    const alias = names.aliasOf(id);
    const { Arn: target } = await describe(alias);
    if (target !== undefined && target !== arn) {
      log.error(
        "an alias points at another key than the one in use: a second server runs with this key identifier",
        { alias, key: target, used: arn },
      );
      return;
    }
    const order = { AliasName: alias, TargetKeyId: arn };
    if (target === undefined) {
      log.error("the alias of a key in use was removed and is made again", { alias, used: arn });
      await calls.call("kms:CreateAlias", (kms, call) => kms.createAlias(order, call));
    } else {
      await calls.call("kms:UpdateAlias", (kms, call) => kms.updateAlias(order, call));
    }
    refreshed.set(id, arn);
    if (!tagged) return;
    await calls.call("kms:TagResource", (kms, call) =>
      kms.tagResource({ KeyId: arn, Tags: [lastUpdateTag(unixSeconds(clock))] }, call),
    );
  }

  /** Milliseconds of KMS's time, a few hours ago at most; `undefined` until an alias was refreshed. */
  async function kmsTime(): Promise<number | undefined> {
    const held = await manager.withKeys(async (keys) => keys.map(({ id, handle }) => ({ id, handle })));
    const times: number[] = [];
    for (const { id, handle } of held) {
      if (refreshed.get(id) !== handle) continue;
      for await (const { AliasName, LastUpdatedDate } of calls.aliases(handle)) {
        if (AliasName === names.aliasOf(id) && LastUpdatedDate) times.push(LastUpdatedDate.getTime());
      }
    }
    return times.length === 0 ? undefined : Math.max(...times);
  }

  async function disposeAliases(): Promise<void> {
    const now = await kmsTime();
    if (now === undefined) return;
    const before = suspects;
    const stale = new Map<string, { readonly target: string; readonly updated: number }>();
    for await (const alias of calls.aliases()) {
      if (!isStale(alias, now - STALE_AFTER)) continue;
      const { AliasName, TargetKeyId, LastUpdatedDate } = alias as Required<KmsAlias>;
      const updated = (LastUpdatedDate as Date).getTime();
      stale.set(AliasName as string, { target: TargetKeyId as string, updated });
    }
    suspects = new Map([...stale].map(([alias, { updated }]) => [alias, updated]));
    let disposed = 0;
    for (const [alias, { target, updated }] of stale) {
      if (disposed >= MOST_AT_ONCE) return;
      if (before.get(alias) !== updated) continue;
      const facts = await describe(target, HIDDEN);
      if (!isOurs(facts)) continue;
      log.info("the key of a server that is gone is given up", { alias, key: facts.Arn });
      await giveUp(facts.Arn as string, alias);
      disposed++;
    }
  }

  async function disposeKeys(): Promise<void> {
    const now = await kmsTime();
    if (now === undefined) return;
    const limit = now - ORPHAN_AFTER;
    const before = orphans;
    const found = new Set<string>();
    for await (const arn of calls.keys()) {
      const facts = await describe(arn, HIDDEN);
      if (!isOurs(facts) || facts.CreationDate === undefined) continue;
      if (facts.CreationDate.getTime() > limit || (await hasAlias(arn)) || (await isHeld(arn))) continue;
      found.add(arn);
    }
    orphans = found;
    // An alias that was removed by mistake is made again by its server meanwhile.
    for (const arn of [...found].filter((one) => before.has(one)).slice(0, MOST_AT_ONCE)) {
      log.info("a key without alias is given up", { key: arn });
      await giveUp(arn);
    }
  }

  function isStale({ AliasName, TargetKeyId, LastUpdatedDate }: KmsAlias, limit: number): boolean {
    if (!AliasName || !TargetKeyId || LastUpdatedDate === undefined) return false;
    if (!AliasName.startsWith(names.trustDomainPrefix) || AliasName.startsWith(names.serverPrefix))
      return false;
    return LastUpdatedDate.getTime() < limit;
  }

  function isOurs({ Arn, KeyState, Description }: KmsKeyMetadata): boolean {
    return (
      Boolean(Arn) && KeyState === "Enabled" && Description?.startsWith(names.descriptionPrefix) === true
    );
  }

  /** What KMS says of a key; nothing where there is none, or where it fails for one of the reasons. */
  async function describe(key: string, unless: readonly string[] = GONE): Promise<KmsKeyMetadata> {
    const answer = await calls.call(
      "kms:DescribeKey",
      (kms, call) => kms.describeKey({ KeyId: key }, call),
      unless,
    );
    return answer?.KeyMetadata ?? {};
  }

  async function hasAlias(arn: string): Promise<boolean> {
    for await (const _alias of calls.aliases(arn)) return true;
    return false;
  }

  function isHeld(arn: string): Promise<boolean> {
    return manager.withKeys(async (keys) => keys.some(({ handle }) => handle === arn));
  }

  /** Gives up a key, and then its alias: as long as the key lives its server must find it. What fails is logged. */
  async function giveUp(arn: string, alias?: string): Promise<void> {
    try {
      await calls.call(
        "kms:ScheduleKeyDeletion",
        (kms, call) => kms.scheduleKeyDeletion({ KeyId: arn, PendingWindowInDays: DELETION_DAYS }, call),
        [...GONE, "KMSInvalidStateException"],
      );
      if (alias === undefined) return;
      await calls.call("kms:DeleteAlias", (kms, call) => kms.deleteAlias({ AliasName: alias }, call), GONE);
    } catch (error) {
      calls.signal.throwIfAborted();
      log.warn("a key of a server that is gone could not be given up", { key: arn, error: String(error) });
    }
  }
}

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const KEEP_ALIVE_EVERY = 6 * HOUR;
const DISPOSE_EVERY = 12 * HOUR;
const STALE_AFTER = 14 * 24 * HOUR;
const ORPHAN_AFTER = 48 * HOUR;
const MOST_AT_ONCE = 100;
const GONE = ["NotFoundException"];
/** Keys of an account need not be ours, nor let us look at them. */
const HIDDEN = [...GONE, "AccessDeniedException"];
