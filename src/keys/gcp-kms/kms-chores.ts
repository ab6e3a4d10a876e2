import type { Clock } from "../../clock.ts";
import { AssayError } from "../../errors/assay-error.ts";
import type { PluginLog } from "../../plugin/host.ts";
import type { Chore } from "../chores.ts";
import type { RemoteKeyManager } from "../remote-key-manager.ts";
import { tendEach } from "../tended-keys.ts";
import { cryptoKeyOf, numberOf } from "./kms-keys.ts";
import type { CryptoKeyNames } from "./kms-names.ts";
import type { KmsService } from "./kms-service.ts";

/** What the care for keys in Cloud KMS needs. */
export interface KmsChoresOptions {
  readonly kms: KmsService;
  readonly names: CryptoKeyNames;
  readonly manager: RemoteKeyManager<string>;
  /** The versions that this process listed or made. */
  readonly seen: ReadonlySet<string>;
  readonly clock: Clock;
  readonly log: PluginLog;
}

/**
 * What a server does for its keys, and for those that dead servers of the trust domain left: every 6 hours the label with the
 * time is set anew, as SPIRE does, and older versions of ours that were left enabled are given up with it; every 12 hours the
 * versions of CryptoKeys go, at most 100 of them, whose label is two weeks old. Cloud KMS keeps each version for weeks in
 * which it can be restored. One that this server may not give up keeps none of the others.
 *
 * The time is Google's. Where our clock is away from it nothing of others is given up, and what is, is so only when it was as
 * old the time before: all servers may have been away together. Half a day lies in between, in which every server that lives
 * sets its labels twice, and which a server that is restarted every day lives to see the end of.
 */
export function gcpKmsChores({ kms, names, manager, seen, clock, log }: KmsChoresOptions): readonly Chore[] {
  /** The time in the label of each CryptoKey that was stale the last time. */
  let suspects: ReadonlyMap<string, string | undefined> = new Map();

  return [
    { name: "keeping keys alive", first: MINUTE, every: KEEP_ALIVE_EVERY, run: keepAlive },
    { name: "giving up keys of dead servers", first: HOUR, every: DISPOSE_EVERY, run: disposeStale },
  ];

  async function keepAlive(): Promise<void> {
    if (await manager.withKeys(async (keys) => keys.length === 0)) return;
    const now = Math.floor((await kms.time()) / 1000);
    // Between changes: no version may be given up that is just being taken into use.
    await tendEach(manager, ({ id, handle }) => refresh(id, handle, now));
  }

  async function refresh(id: string, used: string, now: number): Promise<void> {
    const cryptoKey = cryptoKeyOf(used);
    await kms.updateCryptoKey(cryptoKey, names.labelsOf(id, now));
    for await (const { name } of kms.enabledVersions(cryptoKey)) {
      if (!seen.has(name)) {
        log.error(
          "a key has an enabled version that this process neither found nor made: a second server runs with this key identifier, or the making of a key broke off",
          { version: name, used },
        );
      } else if (numberOf(name) < numberOf(used)) await kms.destroyVersion(name);
    }
  }

  async function disposeStale(): Promise<void> {
    const now = await kms.time();
    if (Math.abs(clock.now() - now) > HOUR) {
      throw new AssayError("KEY_UNAVAILABLE", "our clock is more than an hour away from Google's");
    }
    const before = Math.floor(now / 1000) - STALE_AFTER;
    const earlier = suspects;
    const stale = new Map<string, string | undefined>();
    for await (const { name, labels } of kms.cryptoKeys(names.staleFilter(before))) {
      // Whatever became of the filter.
      if (names.isStale(labels, before)) stale.set(name, labels["spire-last-update"]);
    }
    suspects = stale;
    const certain = [...stale].filter(([name, updated]) => earlier.get(name) === updated);
    for (const [name] of certain.slice(0, MOST_AT_ONCE)) {
      try {
        await giveUp(name, before);
      } catch (error) {
        kms.signal.throwIfAborted();
        log.warn("a key of a server that is gone could not be given up", { key: name, error: String(error) });
      }
    }
  }

  async function giveUp(name: string, before: number): Promise<void> {
    const { labels } = await kms.cryptoKey(name);
    if (!names.isStale(labels, before)) return;
    log.info("the key of a server that is gone is given up", { key: name });
    for await (const version of kms.enabledVersions(name)) await kms.destroyVersion(version.name);
    await kms.updateCryptoKey(name, { ...labels, "spire-active": "false" });
  }
}

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const KEEP_ALIVE_EVERY = 6 * HOUR;
const DISPOSE_EVERY = 12 * HOUR;
/** Seconds. */
const STALE_AFTER = 14 * 86_400;
const MOST_AT_ONCE = 100;
