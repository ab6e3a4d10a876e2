import { unixSeconds, type Clock } from "../../clock.ts";
import type { Store } from "../store.ts";
import { sqlAuthorityStore } from "./authorities.ts";
import { type CopyStore, sqlBackupStore } from "./backup.ts";
import { sqlBundleStore } from "./bundles.ts";
import { sqlCrlStore } from "./crls.ts";
import { sqlChangeLog } from "./changes.ts";
import { sqlCredentialStore } from "./credentials.ts";
import { sqlEntryStore } from "./entries.ts";
import { sqlFederationStore } from "./federation-relationships.ts";
import { sqlJoinTokenStore } from "./join-tokens.ts";
import { writeMeta } from "./meta.ts";
import { sqlNodeStore } from "./nodes.ts";
import type { SqlSession } from "./session.ts";
import type { RandomBelow } from "./status-places.ts";
import { sqlTaskStore } from "./tasks.ts";

/** What a store over SQL stands on. */
export interface SqlStoreOptions {
  readonly clock: Clock;
  readonly randomBelow: RandomBelow;
  readonly copyTo: CopyStore;
  /** Called while the store is still open, and is the last that is done with it. */
  readonly closing: () => Promise<void>;
  /** Called when the store is closed. */
  readonly release: () => void;
}

/** The whole store over one session; disposing it disposes the session, then what `release` stands for. */
export function sqlStore(
  session: SqlSession,
  { clock, randomBelow, copyTo, closing, release }: SqlStoreOptions,
): Store {
  return {
    entries: sqlEntryStore(session),
    nodes: sqlNodeStore(session),
    joinTokens: sqlJoinTokenStore(session),
    authorities: sqlAuthorityStore(session),
    federation: sqlFederationStore(session),
    bundles: sqlBundleStore(session),
    crls: sqlCrlStore(session),
    tasks: sqlTaskStore(session),
    credentials: sqlCredentialStore(session, randomBelow),
    changes: sqlChangeLog(session),
    backups: sqlBackupStore(session, copyTo),
    check: () => session.write((tx) => writeMeta(tx, "checked_at", String(unixSeconds(clock)))),
    async [Symbol.asyncDispose]() {
      await closing();
      await session[Symbol.asyncDispose]();
      release();
    },
  };
}
