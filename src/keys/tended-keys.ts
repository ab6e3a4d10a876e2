import type { KeyManager } from "../plugin/key-manager.ts";
import { type Chore, startChores } from "./chores.ts";
import {
  openRemoteKeys,
  type RemoteKey,
  type RemoteKeyHost,
  type RemoteKeyManager,
  type RemoteKeyService,
} from "./remote-key-manager.ts";

/**
 * Opens the keys of a service, as {@link openRemoteKeys} does, and has their chores done until they are closed.
 * @param choresOf What is to be done for the keys that this manager holds.
 */
export async function openTendedKeys<Handle>(
  service: RemoteKeyService<Handle>,
  choresOf: (manager: RemoteKeyManager<Handle>) => readonly Chore[],
  { clock, log }: RemoteKeyHost,
): Promise<KeyManager> {
  const manager = await openRemoteKeys(service, { clock, log });
  return tendedKeys(manager, choresOf(manager), { clock, log });
}

/** The keys of a manager that is open, or opens by its first call, with their chores done until it is closed. */
export function tendedKeys<Handle>(
  manager: RemoteKeyManager<Handle>,
  work: readonly Chore[],
  { clock, log }: RemoteKeyHost,
): KeyManager {
  const chores = startChores(clock, log, work);
  return {
    generateKey: (id, type) => manager.generateKey(id, type),
    getKey: (id) => manager.getKey(id),
    listKeys: () => manager.listKeys(),
    deleteKey: (id) => manager.deleteKey(id),
    async [Symbol.asyncDispose]() {
      // The manager ends the calls that a chore waits for.
      await Promise.all([chores[Symbol.asyncDispose](), manager[Symbol.asyncDispose]()]);
    },
  };
}

/**
 * Tends every key that is held, one at a time and between changes, so that none is tended that is just being replaced. One
 * that fails keeps none of the others from it.
 * @throws what `tend` threw first, after all were tended.
 */
export async function tendEach<Handle>(
  manager: RemoteKeyManager<Handle>,
  tend: (key: RemoteKey<Handle>) => Promise<void>,
): Promise<void> {
  const ids = await manager.withKeys(async (keys) => keys.map(({ id }) => id));
  const faults: Error[] = [];
  for (const id of ids) {
    await manager.withKeys(async (keys) => {
      const key = keys.find((held) => held.id === id);
      if (key !== undefined) await tend(key).catch((error: unknown) => faults.push(error as Error));
    });
  }
  const [first] = faults;
  if (first !== undefined) throw first;
}
