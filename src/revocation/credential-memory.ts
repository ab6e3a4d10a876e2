import { type Clock, unixSeconds } from "../clock.ts";
import type { FollowingMemory } from "../store/change-reader.ts";
import type { CredentialKind, CredentialRecord, CredentialStore } from "../store/task-store.ts";
import { X509_KEPT } from "./revoked-table.ts";

/**
 * Reads of the store's changes what concerns credentials; `take` is told of those that are revoked, some of them more than
 * once.
 */
export function credentialMemory(
  credentials: CredentialStore,
  clock: Clock,
  take: (records: readonly CredentialRecord[]) => void,
): FollowingMemory {
  return {
    async load() {
      const revoked = await credentials.revoked(unixSeconds(clock) - X509_KEPT);
      return () => take(revoked);
    },

    async read(rows) {
      const names = new Set(rows.filter(({ kind }) => kind === "credential").map(({ key }) => key));
      const records: CredentialRecord[] = [];
      for (const name of names) {
        const at = name.indexOf(":");
        const record = await credentials.get(name.slice(0, at) as CredentialKind, name.slice(at + 1));
        if (record !== undefined) records.push(record);
      }
      return () => {
        if (records.length > 0) take(records);
      };
    },
  };
}
