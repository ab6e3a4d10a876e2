import { type Clock, cautiousSeconds, unixSeconds } from "../../clock.ts";
import type { PluginLog } from "../../plugin/host.ts";
import type { Chore } from "../chores.ts";
import type { RemoteKeyManager } from "../remote-key-manager.ts";
import { cryptoKeyOf, numberOf } from "./kms-keys.ts";
import type { CryptoKeyNames } from "./kms-names.ts";
import type { KmsService } from "./kms-service.ts";

/** What the care for keys in Cloud KMS needs. */
export interface KmsChoresOptions {
  readonly kms: KmsService;
  readonly names: CryptoKeyNames;
  readonly manager: RemoteKeyManager<string>;
  readonly clock: Clock;
  readonly log: PluginLog;
}

/**
 * What a server does for its keys, and for those that dead servers of the trust domain left, on SPIRE's schedule: the label
 * with the time is set anew every 6 hours, and older versions that a key left enabled are given up with it; every 48 hours
 * the versions of CryptoKeys go, at most 100 of them, whose label is two weeks old. Cloud KMS keeps each version for
 * weeks in which it can be restored.
 */
export function gcpKmsChores({ kms, names, manager, clock, log }: KmsChoresOptions): readonly Chore[] {
  // Giving up another's key is hard to undo: a clock that was set ahead has to stay so for days to do harm.
  const staleNow = cautiousSeconds(clock, DISPOSE_EVERY / 1000 + 3600);

  return [
    { name: "keeping keys alive", first: MINUTE, every: KEEP_ALIVE_EVERY, run: keepAlive },
    { name: "giving up keys of dead servers", first: HOUR, every: DISPOSE_EVERY, run: disposeStale },
  ];

  async function keepAlive(): Promise<void> {
    const ids = await manager.withKeys(async (keys) => keys.map(({ id }) => id));
    const faults: Error[] = [];
    for (const id of ids) {
      // One at a time and between changes, so that no version is given up that is just being taken into use.
      await manager.withKeys(async (keys) => {
        const key = keys.find((held) => held.id === id);
        if (key === undefined) return;
        await refresh(id, key.handle).catch((error: unknown) => faults.push(error as Error));
      });
    }
    const [first] = faults;
    if (first !== undefined) throw first;
  }

  async function refresh(id: string, used: string): Promise<void> {
    const cryptoKey = cryptoKeyOf(used);
    await kms.updateCryptoKey(cryptoKey, names.labelsOf(id, unixSeconds(clock)));
    for await (const { name } of kms.enabledVersions(cryptoKey)) {
      if (numberOf(name) < numberOf(used)) await kms.destroyVersion(name);
    }
  }

  async function disposeStale(): Promise<void> {
    const before = staleNow() - STALE_AFTER;
    let disposed = 0;
    for await (const { name, labels } of kms.cryptoKeys(names.staleFilter(before))) {
      if (disposed >= MOST_AT_ONCE) return;
      // Whatever became of the filter.
      if (!(Number(labels["spire-last-update"]) < before)) continue;
      log.info("the key of a server that is gone is given up", { key: name });
      for await (const version of kms.enabledVersions(name)) await kms.destroyVersion(version.name);
      await kms.updateCryptoKey(name, { ...labels, "spire-active": "false" });
      disposed++;
    }
  }
}

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const KEEP_ALIVE_EVERY = 6 * HOUR;
const DISPOSE_EVERY = 48 * HOUR;
/** Seconds. */
const STALE_AFTER = 14 * 86_400;
const MOST_AT_ONCE = 100;
