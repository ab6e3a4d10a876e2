import type { Clock } from "../clock.ts";
import { toAssayError } from "../errors/assay-error.ts";
import type { Log } from "../observe/log.ts";
import { retryDelay, type Spread } from "./cache/rotation.ts";
import { delay } from "./delay.ts";
import type { IdentityKeeper } from "./identity/identity-keeper.ts";
import { isDenial } from "./link/denial.ts";
import type { Syncer } from "./sync/syncer.ts";

/** What following a server needs. */
export interface AgentWork {
  readonly keeper: Pick<IdentityKeeper, "ensure" | "denied">;
  readonly syncer: Pick<Syncer, "run" | "lastSyncAt">;
  readonly clock: Clock;
  readonly spread: Spread;
  readonly log: Log;
  readonly signal: AbortSignal;
}

/**
 * Proves the node and follows the server, again and again, until the signal is aborted.
 * @throws AssayError where going on would not help: the agent is banned, or its evidence is refused.
 */
export async function followServer({ keeper, syncer, clock, spread, signal }: AgentWork): Promise<void> {
  let denials = 0;
  while (!signal.aborted) {
    const heardBefore = syncer.lastSyncAt;
    try {
      await keeper.ensure(signal);
      await syncer.run(signal);
    } catch (thrown) {
      if (signal.aborted) return;
      const error = toAssayError(thrown);
      if (!isDenial(error.code)) throw error;
      await keeper.denied(error);
      // A server that attests an agent and denies it right after would be asked without pause.
      denials = syncer.lastSyncAt > heardBefore ? 0 : denials + 1;
      if (denials > 1) await delay(clock, retryDelay(denials, FIRST_RETRY, LONGEST_RETRY, spread), signal);
    }
  }
}

const FIRST_RETRY = 1000;
const LONGEST_RETRY = 60_000;
