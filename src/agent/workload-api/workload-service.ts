/**
 * agent/workload-api/ — answers workloads: who they are, whom to trust, over gRPC and JSON by one set of rules.
 *
 * Must never know how entries and SVIDs come to the agent.
 * Called by the agent's composition, once for each listener.
 */
import type { Clock } from "../../clock.ts";
import { AssayError, toAssayError } from "../../errors/assay-error.ts";
import type { RateLimiter } from "../../issuance/rate-limiter.ts";
import type { DeliveredSvid, WorkloadRecorder } from "../../issuance/workload/issuance-record.ts";
import {
  isReferred,
  judge,
  type WorkloadEvent,
  type WorkloadQuestion,
} from "../../issuance/workload/verdict.ts";
import type { WorkloadEntry } from "../../issuance/workload/workload-entry.ts";
import { parseAudiences } from "../../spiffe/audience.ts";
import { parseSpiffeId, type SpiffeId } from "../../spiffe/id.ts";
import type { JwtSvid, WitSvid } from "../../spiffe/svid.ts";
import type { AgentCache } from "../cache/agent-cache.ts";
import { keyIdOf } from "../cache/jwt-cache.ts";
import type { KeyedSvid } from "../cache/svid-cache.ts";
import { type BundleKind, type BundleState, bundleState, sameBundleState } from "./bundle-state.ts";
import { ChangeWaiter } from "./change-waiter.ts";
import { EarnedMemo } from "./earned-memo.ts";
import { jtiOf } from "./jti.ts";
import { type ValidatedJwtSvid, validateJwtSvid } from "./validate-jwt-svid.ts";
import {
  type AnyWorkloadCall,
  askerOf,
  type EvidenceOptions,
  evidenceOf,
  isReferredCall,
  requireWaiting,
  type WorkloadCall,
} from "./workload-call.ts";
import { narrowed } from "./narrowed.ts";
import { namedBundles, sameX509State, type X509Identity, type X509State, x509State } from "./x509-state.ts";
import { sameIdentities, type SvidIdentity, type SvidState, svidState } from "./svid-state.ts";
import { type WatchedKind, watchSvids } from "./watch-svids.ts";

/** What answering needs. */
export interface WorkloadServiceOptions extends EvidenceOptions {
  readonly cache: AgentCache;
  readonly recorder: WorkloadRecorder;
  readonly clock: Clock;
  readonly agentId: () => SpiffeId | undefined;
  /** A new request id: a UUID. */
  readonly newId: () => string;
  /** Bounds how often one user may ask; absent for no bound. */
  readonly limiters?: WorkloadLimiters;
  /** Whether a caller without identity may have the own trust domain's bundles. */
  readonly allowUnauthenticatedVerifiers: boolean;
  /** Claims beside sub, exp and aud that a validated JWT-SVID of a foreign trust domain keeps. */
  readonly allowedForeignJwtClaims: readonly string[];
  /** Milliseconds that an answer waits for SVIDs that are being signed. */
  readonly signingPatience: number;
}

/** A rate limiter for each kind of request; keys are user ids. */
export interface WorkloadLimiters {
  readonly x509Svid: RateLimiter;
  readonly jwtSvid: RateLimiter;
  readonly bundles: RateLimiter;
  readonly validation: RateLimiter;
}

/** One JWT-SVID of an answer. */
export interface JwtIdentity {
  readonly entry: WorkloadEntry;
  readonly svid: JwtSvid;
}

/** The WIT-SVIDs of an answer. */
export type WitState = SvidState<WitSvid>;

/** A caller that was looked at once, for a conversation in which it asks for one thing after another. */
export interface IdentifiedCaller {
  readonly question: WorkloadQuestion;
  /**
   * What it has earned at a time (Unix ms), in the order of an answer, whatever the hints; the same array where nothing
   * changed.
   */
  earned(now: number): readonly WorkloadEntry[];
  /** @throws AssayError where nobody waits any more, or the process has ended. */
  requireWaiting(): void;
  /** Records that it has nothing at a time (Unix ms), and gives the error that says so. */
  refusal(now: number): AssayError;
}

/** The Workload API without a protocol. Streams never end by themselves: they fail with why they ended. */
export class WorkloadService {
  readonly #options: WorkloadServiceOptions;
  readonly #memo: EarnedMemo;

  constructor(options: WorkloadServiceOptions) {
    this.#options = options;
    this.#memo = new EarnedMemo(options.cache.table);
  }

  /**
   * The caller's X509-SVIDs: the complete state now and after each change of it. The first waits until every SVID is
   * there, for a while; then what is there will do if the default identity is among it.
   * @throws AssayError `NO_IDENTITY_ISSUED` as soon as the caller has none, `NOT_READY` and others that pass.
   */
  async *watchX509Svids(call: AnyWorkloadCall): AsyncGenerator<X509State, never, undefined> {
    const { cache } = this.#options;
    const question = await this.#question(call, "x509_svid.issue");
    return yield* this.#watch(call, question, {
      name: "X509-SVID",
      svids: cache.x509,
      stateOf: (entries) => x509State(entries, cache),
      isSame: sameX509State,
      hasAuthorities: (state) => state.bundle.x509Authorities.length > 0,
      delivered: deliveredX509,
    });
  }

  /**
   * The caller's WIT-SVIDs, as `watchX509Svids`: of all its identities, or of the wanted one (empty for none in
   * particular).
   * @throws AssayError as `watchX509Svids`, `INVALID_SPIFFE_ID`, and `UNIMPLEMENTED` where the server has none.
   */
  async *watchWitSvids(call: WorkloadCall, wanted: string): AsyncGenerator<WitState, never, undefined> {
    const { cache } = this.#options;
    const wantedId = wanted === "" ? undefined : parseSpiffeId(wanted);
    const question = {
      ...(await this.#question(call, "wit_svid.issue")),
      ...(wantedId === undefined ? {} : { wanted: wantedId }),
    };
    return yield* this.#watch(call, question, {
      name: "WIT-SVID",
      svids: cache.wit,
      stateOf: (entries) => svidState(entries, cache.wit),
      isSame: (last, state) => last !== undefined && sameIdentities(last, state),
      hasAuthorities: () => true,
      delivered: deliveredWit,
    });
  }

  #watch<Svid extends KeyedSvid, State extends SvidState<Svid>>(
    call: AnyWorkloadCall,
    question: WorkloadQuestion,
    kind: WatchedKind<Svid, State>,
  ): AsyncGenerator<State, never, undefined> {
    // Hints must differ within the answer alone, of which what is not asked for is no part.
    const hints = question.wanted === undefined ? "unique" : "unused";
    const view = this.#memo.view(question.evidence.selectors, isReferred(question), hints);
    return watchSvids(call, question, kind, {
      ...this.#options,
      earned: narrowed(view, question.wanted),
      refusal: (now) => this.#refusal({ ...question, at: now }),
    });
  }

  /**
   * Bundles that the caller may use, complete now and after each change; those of trust domains that its entries do not
   * name are left out.
   * @throws AssayError as `watchX509Svids`.
   */
  async *watchBundles(
    call: AnyWorkloadCall,
    kind: BundleKind,
  ): AsyncGenerator<BundleState, never, undefined> {
    const { cache, clock, recorder } = this.#options;
    const question = await this.#question(call, BUNDLE_EVENTS[kind]);
    const earned = this.#memo.view(question.evidence.selectors, isReferred(question));
    using waiter = new ChangeWaiter(cache.bell, call.signal, clock);
    let last: BundleState | undefined;
    for (;;) {
      requireWaiting(call);
      const now = clock.now();
      const entries = earned(now);
      const mayDoWithout = this.#options.allowUnauthenticatedVerifiers && !isReferredCall(call);
      if (entries.length === 0 && !mayDoWithout) {
        throw this.#refusal({ ...question, at: now });
      }
      const state = bundleState(kind, entries, cache.table);
      if (!sameBundleState(kind, last, state)) {
        const names = state.bundles.map(({ trustDomain }) => trustDomain);
        // What is decided is whose bundles the caller may have; that their keys change is no decision about it.
        if (last?.bundles.map(({ trustDomain }) => trustDomain).join() !== names.join()) {
          recorder.bundlesDelivered({ ...question, at: now }, names);
        }
        last = state;
        yield state;
        continue;
      }
      await waiter.next(Number.POSITIVE_INFINITY);
    }
  }

  /**
   * JWT-SVIDs for the audiences: one for each identity of the caller, or for the wanted one (empty for none in
   * particular).
   * @throws AssayError `INVALID_AUDIENCE`, `INVALID_SPIFFE_ID`, `NO_IDENTITY_ISSUED`, and others that pass.
   */
  async fetchJwtSvids(
    call: AnyWorkloadCall,
    audience: readonly string[],
    wanted: string,
  ): Promise<readonly JwtIdentity[]> {
    const { cache, clock, recorder } = this.#options;
    const audiences = parseAudiences(audience);
    const wantedId = wanted === "" ? undefined : parseSpiffeId(wanted);
    const question: WorkloadQuestion = {
      ...(await this.#question(call, "jwt_svid.issue")),
      audience: audiences,
      ...(wantedId === undefined ? {} : { wanted: wantedId }),
    };
    const verdict = judge(question, cache.table.index);
    if (!verdict.granted) throw recorder.refused(question, verdict);
    let identities: readonly JwtIdentity[];
    try {
      identities = await Promise.all(
        verdict.entries.map(async (entry) => ({ entry, svid: await cache.jwt.fetch(entry, audiences) })),
      );
    } catch (thrown) {
      const detail = `JWT-SVID could not be signed: ${toAssayError(thrown).detail}`;
      recorder.refused(question, { code: "SERVER_UNAVAILABLE", detail, nearMisses: [] });
      throw new AssayError("SERVER_UNAVAILABLE", "the JWT-SVID could not be signed now", { cause: thrown });
    }
    requireWaiting(call);
    // Signing takes a while, in which an entry may go, or change so that the caller has not earned it.
    const earned = this.#memo.view(question.evidence.selectors, isReferred(question), "unused");
    const now = new Map(earned(clock.now()).map(({ id, spiffeId }) => [id, spiffeId]));
    if (verdict.entries.some(({ id, spiffeId }) => now.get(id) !== spiffeId)) {
      throw new AssayError("NOT_READY", "the caller's entries have just changed");
    }
    recorder.delivered(question, identities.map(deliveredJwt));
    return identities;
  }

  /**
   * Validates a JWT-SVID in the caller's place, with the bundle of its subject's trust domain: our own, or one that the
   * caller's entries name. Whether the caller has an identity plays no part.
   * @throws AssayError `INVALID_AUDIENCE` or `INVALID_JWT_SVID`, and others that pass.
   */
  async validateJwtSvid(call: WorkloadCall, audience: string, token: string): Promise<ValidatedJwtSvid> {
    if (audience === "") throw new AssayError("INVALID_AUDIENCE", "audience must be specified");
    if (token === "") throw new AssayError("INVALID_JWT_SVID", "svid must be specified");
    const { cache, clock, allowedForeignJwtClaims } = this.#options;
    this.#limit(`${call.caller.uid}`, "validation");
    const { selectors } = await this.#evidence(call);
    const entries = this.#memo.view(selectors)(clock.now());
    const bundles = [cache.table.bundle, ...namedBundles(entries, cache.table)];
    const revoked = cache.table.revokedTokens;
    return validateJwtSvid(token, audience, bundles, { clock, allowedForeignJwtClaims, revoked });
  }

  /**
   * Looks at a caller on behalf of another API on the same socket. Whoever hands something over records it first.
   * @throws AssayError `NOT_READY`, `OVERLOADED`, `CALLER_NOT_IDENTIFIED`, `WORKLOAD_ATTESTATION_FAILED`.
   */
  async identify(call: WorkloadCall, event: WorkloadEvent): Promise<IdentifiedCaller> {
    const question = await this.#question(call, event);
    return {
      question,
      earned: this.#memo.view(question.evidence.selectors, false, "unused"),
      requireWaiting: () => requireWaiting(call),
      refusal: (now) => this.#refusal({ ...question, at: now }),
    };
  }

  /**
   * Counts a call of one who asks about others, where looking for the subject itself costs something; the call is then
   * made with `isCounted`.
   * @throws AssayError `OVERLOADED` where the asker asks too often.
   */
  count(askerId: SpiffeId, event: WorkloadEvent): void {
    this.#limit(askerId, LIMITS[event]);
  }

  async #question(call: AnyWorkloadCall, event: WorkloadEvent): Promise<WorkloadQuestion> {
    const { clock, newId, recorder } = this.#options;
    if (!isReferredCall(call)) this.#limit(`${call.caller.uid}`, LIMITS[event]);
    else if (call.isCounted !== true) this.count(call.asker.spiffeId, event);
    const evidence = await this.#evidence(call);
    const asker = await askerOf(call);
    requireWaiting(call);
    const agentId = this.#options.agentId();
    const question: WorkloadQuestion = {
      requestId: newId(),
      method: call.method,
      at: clock.now(),
      event,
      evidence,
      ...asker,
      ...(agentId === undefined ? {} : { agentId }),
    };
    if (evidence.answered > 0) return question;
    const verdict = judge(question, this.#options.cache.table.index);
    throw verdict.granted
      ? new AssayError("INTERNAL", "granted without evidence")
      : recorder.refused(question, verdict);
  }

  #limit(key: string, kind: keyof WorkloadLimiters): void {
    try {
      this.#options.limiters?.[kind].take(key);
    } catch {
      // Unavailable is what clients of the Workload API come back from (Workload Endpoint §6).
      throw new AssayError("OVERLOADED", "the caller asks too often");
    }
  }

  /** @throws AssayError `NOT_READY` while entries are not known: a workload may then not be told that it has none. */
  async #evidence(call: AnyWorkloadCall) {
    if (!this.#options.cache.synchronised) {
      throw new AssayError("NOT_READY", "the agent has not heard from its server yet");
    }
    return evidenceOf(call, this.#options);
  }

  #refusal(question: WorkloadQuestion): AssayError {
    const verdict = judge(question, this.#options.cache.table.index);
    if (!verdict.granted) return this.#options.recorder.refused(question, verdict);
    return new AssayError("NOT_READY", "the caller's entries have just changed");
  }
}

function deliveredX509({ entry, svid }: X509Identity): DeliveredSvid {
  return { entry, authorityId: svid.authorityId, serial: svid.serial, expiresAt: svid.notAfter };
}

function deliveredWit({ entry, svid }: SvidIdentity<WitSvid>): DeliveredSvid {
  const { keyId: authorityId, expiresAt, jti } = svid;
  return { entry, authorityId, expiresAt, ...(jti === undefined ? {} : { jti }) };
}

function deliveredJwt({ entry, svid }: JwtIdentity): DeliveredSvid {
  const jti = jtiOf(svid);
  return {
    entry,
    authorityId: keyIdOf(svid),
    expiresAt: svid.expiresAt,
    ...(jti === undefined ? {} : { jti }),
  };
}

const LIMITS: Readonly<Record<WorkloadEvent, keyof WorkloadLimiters>> = {
  "x509_svid.issue": "x509Svid",
  "jwt_svid.issue": "jwtSvid",
  "x509_bundles.read": "bundles",
  "jwt_bundles.read": "bundles",
  "wit_svid.issue": "x509Svid",
  "wit_bundles.read": "bundles",
};

const BUNDLE_EVENTS = {
  x509: "x509_bundles.read",
  jwt: "jwt_bundles.read",
  wit: "wit_bundles.read",
} as const satisfies Record<BundleKind, WorkloadEvent>;
