import type { Selector } from "../spiffe/selector.ts";
import type { ConfigSchema } from "./config-schema.ts";
import type { PluginHost } from "./host.ts";

/**
 * Verifies what a CI platform or another scheduler of bounded work says about one of its runs.
 *
 * @example
 * ```ts
 * export const batch = defineTaskAttestor({
 *   kind: "taskAttestor",
 *   apiVersion: 1,
 *   name: "batch",
 *   config: z.strictObject({ secret_file: z.string() }),
 *   create: (config, host) => ({
 *     async attest({ token }) {
 *       const run = await verifiedRun(token, config.secret_file);
 *       return {
 *         platform: "batch",
 *         issuer: "batch",
 *         selectors: [{ type: "batch", value: `queue:${run.queue}` }],
 *         guarded: [],
 *         claims: { queue: run.queue, run: run.id },
 *         authoredClaims: [],
 *         taskKey: run.id,
 *         granularity: "job",
 *         description: `batch run ${run.id}`,
 *         replayKey: run.nonce,
 *         replayUntil: run.expiresAt,
 *       };
 *     },
 *     async [Symbol.asyncDispose]() {},
 *   }),
 * });
 * ```
 */
export interface TaskAttestorPlugin<Config = unknown> {
  readonly kind: "taskAttestor";
  readonly apiVersion: 1;
  readonly name: string;
  readonly config: ConfigSchema<Config>;
  create(config: Config, host: TaskAttestorHost): TaskAttestor | Promise<TaskAttestor>;
}

/** What a task attestor gets beside what every plugin gets. */
export interface TaskAttestorHost extends PluginHost {
  /** The operator's name for this attestor: entries name it as their parent, `/spire/task/<instance>`. */
  readonly instance: string;
  /** What a token must name as its only audience, unless the plugin's settings say otherwise. */
  readonly audience: string;
}

/** A task attestor at work. Disposed once, when the server stops. */
export interface TaskAttestor extends AsyncDisposable {
  /**
   * Verifies one piece of evidence.
   * @throws AssayError `ATTESTATION_FAILED` with what is wrong, for the operator; the caller does not see it.
   * `REMOTE_UNAVAILABLE` where the platform's keys cannot be had now.
   */
  attest(evidence: TaskEvidence, signal: AbortSignal): Promise<TaskAttestation>;
  /**
   * What `attest` would say of a token with these claims, without a signature, a clock or a replay check: for an
   * operator's dry run.
   * @throws AssayError `ATTESTATION_FAILED` naming the claim.
   */
  judge?(claims: Readonly<Record<string, unknown>>): TaskAttestation;
  /** Whether this attestor is the one for the token, by what it says of itself. Proves nothing, costs little. */
  recognises?(token: string): boolean;
  /**
   * Reads the platform's signed word that runs have ended.
   * @throws AssayError `ATTESTATION_FAILED` where it is not the platform's word, or too old.
   */
  readWebhook?(webhook: TaskWebhook): TaskEnd | undefined;
}

/** What a job shows. Hostile, and bounded by the caller (20,000 characters). */
export interface TaskEvidence {
  /** The platform's token, a compact JWS for all built-in attestors. */
  readonly token: string;
}

/** What verified evidence says of one run. */
export interface TaskAttestation {
  /** The kind of platform, for people and metrics: `github-actions`. */
  readonly platform: string;
  /** Who vouches for it: the exact `iss`. */
  readonly issuer: string;
  /** Facts about the run; never one that cannot be relied on. */
  readonly selectors: readonly Selector[];
  /**
   * Those of `selectors` that are a danger: an entry earns something only if it names each of them. A pull request of
   * a fork, a debug shell.
   */
  readonly guarded: readonly Selector[];
  /** Verified claims by the names that templates of SPIFFE IDs use. Values as the platform wrote them. */
  readonly claims: Readonly<Record<string, string>>;
  /** Names of those claims whose values the author of the job can choose. */
  readonly authoredClaims: readonly string[];
  /** Names one run among all runs that this attestor will ever see. Two tokens of one run have the same. */
  readonly taskKey: string;
  /** Whether the key names a single job, or a run whose jobs cannot be told apart. */
  readonly granularity: "job" | "run";
  /** The run in words, for lists. */
  readonly description: string;
  /** Names this piece of evidence: it can be used once. */
  readonly replayKey: string;
  /** Until when it could be shown again, Unix seconds. */
  readonly replayUntil: number;
  /**
   * When the platform made this piece of evidence, Unix seconds. After the server's store was restored from a backup, nothing
   * made before is taken, for it may have been used since; of evidence that does not say, nothing at all for a day.
   */
  readonly issuedAt?: number;
  /** When the platform itself will end the run, Unix seconds, where it says so. */
  readonly endsBy?: number;
}

/** A request that a platform sent. Hostile; the body is bounded by the caller (1 MiB). */
export interface TaskWebhook {
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string>>;
  /** The bytes that are signed. */
  readonly body: Uint8Array;
}

/** That a run has ended, or several of them. */
export interface TaskEnd {
  /**
   * The key as `attest` gives it. One that ends with a slash stands for all keys that begin with it, for a word that names
   * a run and not its jobs.
   */
  readonly taskKey: string;
  /** Names this message, where the platform repeats some. */
  readonly deliveryId?: string;
}

/** Marks an object as a task attestor and checks its type where it is written. */
export function defineTaskAttestor<Config>(plugin: TaskAttestorPlugin<Config>): TaskAttestorPlugin<Config> {
  return plugin;
}
