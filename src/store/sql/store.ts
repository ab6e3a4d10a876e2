import { unixSeconds, type Clock } from "../../clock.ts";
import type { Store } from "../store.ts";
import { sqlAuthorityStore } from "./authorities.ts";
import { sqlBundleStore } from "./bundles.ts";
import { sqlCrlStore } from "./crls.ts";
import { sqlChangeLog } from "./changes.ts";
import { sqlEntryStore } from "./entries.ts";
import { sqlFederationStore } from "./federation-relationships.ts";
import { sqlJoinTokenStore } from "./join-tokens.ts";
import { writeMeta } from "./meta.ts";
import { sqlNodeStore } from "./nodes.ts";
import type { SqlSession } from "./session.ts";

/** The whole store over one session; disposing it disposes the session, then what `release` stands for. */
export function sqlStore(session: SqlSession, clock: Clock, release: () => void): Store {
  return {
    entries: sqlEntryStore(session),
    nodes: sqlNodeStore(session),
    joinTokens: sqlJoinTokenStore(session),
    authorities: sqlAuthorityStore(session),
    federation: sqlFederationStore(session),
    bundles: sqlBundleStore(session),
    crls: sqlCrlStore(session),
    changes: sqlChangeLog(session),
    check: () => session.write((tx) => writeMeta(tx, "checked_at", String(unixSeconds(clock)))),
    async [Symbol.asyncDispose]() {
      await session[Symbol.asyncDispose]();
      release();
    },
  };
}
