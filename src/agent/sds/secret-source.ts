/**
 * agent/sds/ — Envoy's secret discovery (SDS v3): a caller's X509-SVIDs and bundles as secrets with names.
 *
 * Must never know how a caller is looked at, nor how SVIDs come to the agent.
 * Called by the agent's composition: one more service on the Workload Endpoint.
 */
import type { Clock } from "../../clock.ts";
import type { AssayError } from "../../errors/assay-error.ts";
import type { DeliveredSvid, WorkloadRecorder } from "../../issuance/workload/issuance-record.ts";
import type { WorkloadEntry } from "../../issuance/workload/workload-entry.ts";
import type { Log } from "../../observe/log.ts";
import type { AgentCache } from "../cache/agent-cache.ts";
import { Demand } from "../workload-api/demand.ts";
import type { WorkloadCall } from "../workload-api/workload-call.ts";
import type { IdentifiedCaller, WorkloadService } from "../workload-api/workload-service.ts";
import { namedBundles } from "../workload-api/x509-state.ts";
import type { Validation } from "./envoy-node.ts";
import type { SdsSettings } from "./sds-settings.ts";
import { SecretFinder } from "./secret-finder.ts";
import { type Secret, SecretWriter } from "./secret-writer.ts";

/** What delivering secrets needs. */
export interface SecretSourceOptions {
  readonly service: Pick<WorkloadService, "identify">;
  readonly cache: AgentCache;
  readonly recorder: WorkloadRecorder;
  readonly clock: Clock;
  readonly log: Log;
  readonly settings: SdsSettings;
  /** Whether a caller without identity may have the own trust domain's bundle. */
  readonly allowUnauthenticatedVerifiers: boolean;
  /** Milliseconds that a single question waits for SVIDs that are being signed. */
  readonly signingPatience: number;
  /** A nonce that was never there before. */
  readonly newNonce: () => string;
}

/** Where streams get their callers' secrets from. */
export class SecretSource {
  readonly options: SecretSourceOptions;
  readonly #writer: SecretWriter;

  constructor(options: SecretSourceOptions) {
    this.options = options;
    const { table } = options.cache;
    this.#writer = new SecretWriter((trustDomain) => table.crls.get(trustDomain) ?? []);
  }

  /** Looks at a caller, once for its stream. @throws AssayError as `WorkloadService.identify`. */
  async open(call: WorkloadCall): Promise<CallerSecrets> {
    const caller = await this.options.service.identify(call, "x509_svid.issue");
    return new CallerSecrets(caller, this.#writer, this.options);
  }
}

/** The secrets of one caller, as long as its stream is open. */
export class CallerSecrets implements Disposable {
  readonly #caller: IdentifiedCaller;
  readonly #writer: SecretWriter;
  readonly #options: SecretSourceOptions;
  readonly #demand: Demand;
  readonly #handedOver = new WeakSet();
  readonly #trusted = new Set<string>();
  #hadIdentity = false;
  #denial: AssayError | undefined;

  constructor(caller: IdentifiedCaller, writer: SecretWriter, options: SecretSourceOptions) {
    this.#caller = caller;
    this.#writer = writer;
    this.#options = options;
    this.#demand = new Demand(options.cache.x509);
  }

  /** Why the caller has no identity, where it has had none since it was first looked for; recorded once. */
  get denial(): AssayError | undefined {
    return this.#denial;
  }

  /** Whether the caller's process is still there to be answered. @throws AssayError why not. */
  requireWaiting(): void {
    this.#caller.requireWaiting();
  }

  /**
   * What the caller may have now. One that has no identity yet may get one; one that has lost its last is told so.
   * @throws AssayError `NO_IDENTITY_ISSUED` on loss, or why nobody waits any more.
   */
  look(validation: Validation): SecretFinder {
    const { cache, clock, settings, allowUnauthenticatedVerifiers } = this.#options;
    this.requireWaiting();
    const now = clock.now();
    const entries = this.#caller.earned(now);
    if (entries.length > 0) this.#hadIdentity = true;
    else if (this.#hadIdentity) throw this.#caller.refusal(now);
    else this.#denial ??= this.#caller.refusal(now);
    const mayTrust = entries.length > 0 || allowUnauthenticatedVerifiers;
    const bundles = mayTrust ? [cache.table.bundle, ...namedBundles(entries, cache.table)] : [];
    const svidOf = ({ id }: WorkloadEntry) => cache.x509.get(id);
    return new SecretFinder({ entries, bundles, svidOf }, this.#writer, settings, validation);
  }

  /** Has the SVIDs signed that were asked for and are not signed in advance. */
  demand({ wanted }: SecretFinder): void {
    this.#demand.follow([...wanted]);
  }

  /** Records what is about to be handed over and was not before. @throws AssayError `AUDIT_UNAVAILABLE`. */
  record(secrets: readonly Secret[]): void {
    const { recorder, clock } = this.#options;
    const question = { ...this.#caller.question, at: clock.now() };
    const svids: DeliveredSvid[] = [];
    for (const { identity } of secrets) {
      if (identity === undefined || this.#handedOver.has(identity.svid)) continue;
      const { authorityId, serial, notAfter } = identity.svid;
      this.#handedOver.add(identity.svid);
      svids.push({ entry: identity.entry, authorityId, serial, expiresAt: notAfter });
    }
    recorder.delivered(question, svids);
    const trusted = [...new Set(secrets.flatMap(({ trustDomains }) => trustDomains))];
    // What is decided is whose bundles the caller may have, and it could ask for them by turns without end.
    if (trusted.every((trustDomain) => this.#trusted.has(trustDomain))) return;
    for (const trustDomain of trusted) this.#trusted.add(trustDomain);
    recorder.bundlesDelivered({ ...question, event: "x509_bundles.read" }, trusted);
  }

  [Symbol.dispose](): void {
    this.#demand[Symbol.dispose]();
  }
}
