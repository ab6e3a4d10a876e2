/**
 * agent/identity/ — who the agent is: attests the node, keeps the SVID and the bundle on disk, renews in time.
 *
 * Must never know a workload or an entry.
 * Called by the agent's composition.
 */
import { type Clock, unixSeconds } from "../../clock.ts";
import { AssayError, toAssayError } from "../../errors/assay-error.ts";
import type { ErrorCode } from "../../errors/codes.ts";
import { FIELD } from "../../observe/fields.ts";
import type { Log } from "../../observe/log.ts";
import type { AgentNodeAttestor } from "../../plugin/agent-node-attestor.ts";
import type { SpiffeBundle } from "../../spiffe/bundle.ts";
import { sameBundle } from "../cache/entry-table.ts";
import { retryDelay, type Spread } from "../cache/rotation.ts";
import { newKeyAndCsr } from "../cache/x509-signing.ts";
import type { IdentityFile, StoredIdentity } from "../disk/identity-file.ts";
import type { ServerApi } from "../link/server-api.ts";
import { delay } from "../delay.ts";
import { type AgentIdentity, agentIdentity, isTainted } from "./agent-identity.ts";
import { inquireBundle } from "./inquire-bundle.ts";
import type { OperatorBundle } from "./operator-bundle.ts";
import { FIRST_RETRY, LONGEST_RETRY, Renewal } from "./renewal.ts";

/** The connection as identity needs it. */
export interface IdentityLink {
  use(identity: AgentIdentity | undefined, bundle: SpiffeBundle): void;
  readonly server: Pick<ServerApi, "attest" | "renew">;
  /** What a server tells anybody, where it is believed by this bundle. */
  askBundle(believed: SpiffeBundle, signal: AbortSignal): Promise<SpiffeBundle>;
}

/** What keeping an identity needs. */
export interface IdentityKeeperOptions {
  readonly file: Pick<IdentityFile, "read" | "write" | "wipe">;
  /** What the operator gave to believe the first server by; the stored bundle goes before it. */
  readonly firstBundle: SpiffeBundle;
  readonly operatorBundle: OperatorBundle;
  readonly stored: StoredIdentity | undefined;
  readonly attestor: { readonly name: string; readonly instance: AgentNodeAttestor } | undefined;
  readonly link: IdentityLink;
  readonly clock: Clock;
  readonly spread: Spread;
  readonly log: Log;
  /** Told where the server refuses to renew, or would refuse any call: the agent itself is at fault, see `denied`. */
  readonly onDenied: (error: AssayError) => void;
  /** Told where servers are believed by another bundle than when the last attempts failed, and the SVID is one of theirs. */
  readonly onBelieved: () => void;
}

/** The agent's identity over time. */
export class IdentityKeeper implements Disposable {
  readonly #options: IdentityKeeperOptions;
  readonly #stopped = new AbortController();
  #bundle: SpiffeBundle;
  #identity: AgentIdentity | undefined;
  readonly #renewal: Renewal;
  /** All writes, one after the other; it never fails. */
  #writing: Promise<void> = Promise.resolve();
  #isChecking = false;
  /** Why there is no identity though there was one. */
  #lost: string | undefined;

  constructor(options: IdentityKeeperOptions) {
    this.#options = options;
    this.#bundle = options.stored?.bundle ?? options.firstBundle;
    this.#identity = this.#usable(options.stored);
    this.#renewal = new Renewal({ ...options, renew: () => this.#renew() });
    options.link.use(this.#identity, this.#bundle);
    if (this.#identity === undefined) return;
    this.#renewal.follow(this.#identity.notAfter);
    if (isTainted(this.#identity, this.#bundle)) this.#renewal.hurry();
  }

  /** Who the agent is now; `undefined` while it has not attested. */
  get current(): AgentIdentity | undefined {
    return this.#identity;
  }

  /** The bundle that servers are believed by. */
  get bundle(): SpiffeBundle {
    return this.#bundle;
  }

  /**
   * The identity, attesting first where there is none. Waits for a server that cannot be reached.
   * @throws AssayError where attesting again would not help: the server refused the evidence, or there is none to show;
   * where an identity was lost before, it says why and what the operator can do.
   */
  async ensure(signal: AbortSignal): Promise<AgentIdentity> {
    const now = this.#options.clock.now();
    if (this.#identity !== undefined && this.#identity.notAfter * 1000 > now) return this.#identity;
    for (let failures = 1; ; failures++) {
      try {
        return await this.#attest(signal);
      } catch (thrown) {
        const error = toAssayError(thrown);
        if (signal.aborted) throw error;
        if (!isTrouble(error.code)) throw this.#withRemedy(error);
        const wait = retryDelay(failures, FIRST_RETRY, LONGEST_RETRY, this.#options.spread);
        this.#options.log.warn("attestation failed, trying again", {
          [FIELD.retryMs]: Math.round(wait),
          [FIELD.error]: error,
        });
        const isOther = failures > 1 && (await this.#learnBundle()) === "other";
        // Never without a pause: servers that tell different things are not to be asked without end.
        await delay(this.#options.clock, isOther ? Math.min(wait, FIRST_RETRY) : wait, signal);
      }
    }
  }

  /** Tells that a server was heard: what it has told counts for more than what the operator gave before. */
  heard(): void {
    void this.#options.operatorBundle.note().then((isOther) => {
      if (isOther) this.#store();
    });
  }

  /**
   * Looks for the reason why a server cannot be followed in the agent itself. A server cuts the connection of an agent whose
   * SVID it does not believe; but so can anybody in between. So the bundle is asked for as nobody, of a server that proves
   * itself, and only where the SVID does not chain to what such a one answers is the agent told that it must attest again.
   * One check at a time; never throws.
   */
  recheck(): void {
    if (this.#isChecking) return;
    this.#isChecking = true;
    void this.#recheck().finally(() => (this.#isChecking = false));
  }

  /**
   * Draws the consequence of a denial: a banned agent forgets itself and gives up, any other attests anew when `ensure` is
   * called next.
   * @throws AssayError `AGENT_BANNED`, or the error itself where it is no denial that attesting could mend.
   */
  async denied(error: AssayError): Promise<void> {
    switch (error.code) {
      case "AGENT_BANNED":
        this.#drop();
        await this.#writing;
        await this.#options.file.wipe();
        throw new AssayError(
          "AGENT_BANNED",
          "the server has banned this agent; its stored SVID was removed",
          {
            cause: error,
          },
        );
      case "AGENT_EXPIRED":
      case "AGENT_NOT_ACTIVE":
      case "AGENT_NOT_ATTESTED":
      case "AGENT_MUST_REATTEST":
        this.#options.log.warn("the agent has to attest again", { [FIELD.error]: error });
        this.#lost = error.detail;
        this.#drop();
        this.#options.link.use(undefined, this.#bundle);
        return;
      default:
        throw error;
    }
  }

  /** Takes a newer bundle over: on disk, and for the connections to come. */
  setBundle(bundle: SpiffeBundle): void {
    // Without any authority no server could be believed again.
    if (bundle.x509Authorities.length === 0 || sameBundle(bundle, this.#bundle)) return;
    const before = this.#bundle;
    this.#bundle = bundle;
    this.#store();
    this.heard();
    const identity = this.#identity;
    this.#options.link.use(identity, bundle);
    if (identity !== undefined && isTainted(identity, bundle) && !isTainted(identity, before)) {
      this.#renewal.hurry();
    }
  }

  /** Waits for what is being written. */
  async flush(): Promise<void> {
    await this.#writing;
  }

  [Symbol.dispose](): void {
    this.#stopped.abort();
    this.#renewal[Symbol.dispose]();
  }

  async #attest(signal: AbortSignal): Promise<AgentIdentity> {
    const { attestor, link } = this.#options;
    if (attestor === undefined) {
      throw new AssayError(
        "CONFIG_INVALID",
        "no node attestor is configured and there is no usable stored SVID",
      );
    }
    const evidence = await attestor.instance.begin(signal);
    const { key, csr } = await newKeyAndCsr();
    const asked = this.#bundle;
    const attested = await link.server.attest(attestor.name, evidence, csr, signal);
    const identity = await this.#adopt(attested.chain, key.pkcs8, attested.reattestable, asked).catch(
      (thrown: unknown) => {
        const cause = toAssayError(thrown);
        // Evidence that can be shown again is not given up for a server whose clock is wrong for a while.
        if (!attested.reattestable || cause.code !== "INVALID_CERTIFICATE") throw cause;
        const detail = `the agent SVID that the server signed cannot be used: ${cause.detail}`;
        throw new AssayError("SERVER_UNAVAILABLE", detail, { cause });
      },
    );
    this.#options.log.info("node attested", {
      [FIELD.nodeAttestorType]: attestor.name,
      [FIELD.spiffeId]: identity.agentId,
      [FIELD.expiresAt]: identity.notAfter,
    });
    return identity;
  }

  async #renew(): Promise<void> {
    const current = this.#identity;
    if (current === undefined) return;
    const { signal } = this.#stopped;
    if (current.reattestable && this.#options.attestor !== undefined) {
      await this.#attest(signal);
      return;
    }
    const { key, csr } = await newKeyAndCsr();
    const asked = this.#bundle;
    const chain = await this.#options.link.server.renew(csr, signal);
    // Denied meanwhile: what the server has forgotten must not come back.
    if (this.#identity !== current) return;
    const identity = await this.#adopt(chain, key.pkcs8, current.reattestable, asked);
    this.#options.log.info("agent SVID renewed", { [FIELD.expiresAt]: identity.notAfter });
  }

  /**
   * On disk first, in use afterwards: the server forgets the old SVID the first time it sees the new one. `asked` is the bundle
   * that was known when it was asked for.
   */
  async #adopt(
    chain: readonly Uint8Array[],
    privateKey: Uint8Array,
    reattestable: boolean,
    asked: SpiffeBundle,
  ) {
    const parts = { chain, privateKey, reattestable };
    const identity = agentIdentity(parts, this.#bundle, unixSeconds(this.#options.clock));
    const adopted = this.#writing.then(async () => {
      await this.#options.file.write({ ...parts, ...this.#beliefs() });
      this.#identity = identity;
    });
    this.#writing = adopted.catch(() => undefined);
    await adopted;
    this.#lost = undefined;
    this.#options.link.use(identity, this.#bundle);
    this.#renewal.follow(identity.notAfter);
    // Its authority was tainted while it signed. A server that goes on to sign so is not asked again.
    if (isTainted(identity, this.#bundle) && !isTainted(identity, asked)) this.#renewal.hurry();
    return identity;
  }

  #usable(stored: StoredIdentity | undefined): AgentIdentity | undefined {
    if (stored === undefined) return undefined;
    try {
      return agentIdentity(stored, stored.bundle, unixSeconds(this.#options.clock));
    } catch (error) {
      this.#options.log.warn("stored agent SVID cannot be used, attesting anew", { [FIELD.error]: error });
      this.#lost = toAssayError(error).detail;
      return undefined;
    }
  }

  #store(): void {
    this.#writing = this.#writing
      .then(async () => {
        // As it is when its turn comes: a new SVID may be on its way to the disk.
        if (this.#identity === undefined) return;
        const { chain, privateKey, reattestable } = this.#identity;
        await this.#options.file.write({ chain, privateKey, reattestable, ...this.#beliefs() });
      })
      .catch((error: unknown) =>
        this.#options.log.warn("agent identity cannot be written", { [FIELD.error]: error }),
      );
  }

  #beliefs() {
    const { seen } = this.#options.operatorBundle;
    return { bundle: this.#bundle, ...(seen === undefined ? {} : { operatorBundle: seen }) };
  }

  async #recheck(): Promise<void> {
    const identity = this.#identity;
    if (identity === undefined || this.#stopped.signal.aborted) return;
    const { clock, onBelieved, onDenied } = this.#options;
    if (identity.notAfter * 1000 <= clock.now()) {
      onDenied(new AssayError("AGENT_EXPIRED", "the agent's SVID has expired"));
      return;
    }
    const learned = await this.#learnBundle();
    if (learned === undefined || this.#identity !== identity) return;
    try {
      agentIdentity(identity, this.#bundle, unixSeconds(clock));
    } catch (cause) {
      const detail = "the agent's SVID chains to no authority that the trust domain still has";
      onDenied(new AssayError("AGENT_MUST_REATTEST", detail, { cause }));
      return;
    }
    if (learned === "other") onBelieved();
  }

  /** Takes over what a server tells anybody, and says whether it is news; `undefined` where no server is believed. */
  async #learnBundle(): Promise<"same" | "other" | undefined> {
    const believed = this.#bundle;
    const { signal } = this.#stopped;
    const bundle = await inquireBundle({ ...this.#options, believed, signal });
    // Whoever was told of another bundle meanwhile knows better.
    if (bundle === undefined || this.#bundle !== believed) return undefined;
    this.setBundle(bundle);
    return this.#bundle === believed ? "same" : "other";
  }

  /** Says what can be done where an agent that had an identity cannot get another. */
  #withRemedy(error: AssayError): AssayError {
    if (this.#lost === undefined) return error;
    const remedy = "give it a new join token (assay token generate) or evidence that the server takes again";
    return new AssayError(
      error.code,
      `${error.detail}; the agent must attest again: ${this.#lost}; ${remedy}`,
      {
        cause: error,
      },
    );
  }

  #drop(): void {
    this.#identity = undefined;
    this.#renewal.stop();
  }
}

/** Whether an error is of the kind that passes. */
function isTrouble(code: ErrorCode): boolean {
  return TROUBLE.has(code);
}

const TROUBLE: ReadonlySet<ErrorCode> = new Set([
  "SERVER_UNAVAILABLE",
  "DEADLINE_EXCEEDED",
  "RATE_LIMITED",
  "INTERNAL",
  "CANCELLED",
  "FILE_UNAVAILABLE",
]);
