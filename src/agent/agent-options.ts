import type { PluginEntry } from "../attestation/catalog/load-plugin.ts";
import type { Clock } from "../clock.ts";
import type { AuditLog } from "../observe/audit-log.ts";
import type { Log } from "../observe/log.ts";
import type { Metrics } from "../observe/metrics.ts";
import type { Feature } from "../spiffe/features.ts";
import type { SpiffeId } from "../spiffe/id.ts";
import type { TrustDomain } from "../spiffe/trust-domain.ts";
import type { BrokerSettings } from "./broker/broker-settings.ts";
import type { WorkloadKeyType } from "./cache/x509-signing.ts";
import type { TrustBundleSource } from "./disk/trust-bundle.ts";
import type { SdsSettings } from "./sds/sds-settings.ts";

/** What an agent is told. Times in milliseconds, paths absolute. */
export interface AgentOptions {
  readonly trustDomain: TrustDomain;
  readonly server: { readonly host: string; readonly port: number };
  /** Folder for this agent alone; made with mode 0700. */
  readonly dataDir: string;
  /** The Workload Endpoint: every local user may connect. */
  readonly socketPath: string;
  /** For the agent's own user, and for delegates. */
  readonly adminSocketPath: string;
  /** Permission bits of the admin socket; 0600 unless told. */
  readonly adminSocketMode?: number;
  /** Workloads that may fetch identities of other workloads on the admin socket; none unless told. */
  readonly authorizedDelegates?: readonly SpiffeId[];
  /** What the first server is believed by; later the bundle in `dataDir` counts. */
  readonly trustBundle?: TrustBundleSource;
  /** How the node is attested; may be left out where `dataDir` holds an SVID that can be renewed. */
  readonly nodeAttestor?: PluginEntry;
  readonly workloadAttestors: readonly PluginEntry[];
  /** Requests a second of one calling user, or no limits. */
  readonly rateLimit: "off" | WorkloadRateLimits;
  readonly keyType?: WorkloadKeyType;
  /** Between questions where the server has no stream; 5 s unless told. */
  readonly syncInterval?: number;
  /** JWT-SVIDs kept at most; 1000 unless told. */
  readonly jwtSvidCacheSize?: number;
  readonly allowUnauthenticatedVerifiers?: boolean;
  /** Incubating profiles that are switched on; none unless told. */
  readonly features?: readonly Feature[];
  readonly allowedForeignJwtClaims?: readonly string[];
  /** The Broker Endpoint; opened where the profile is among `features`. */
  readonly broker?: BrokerSettings;
  /** What Envoy asks for secrets by; SPIRE's names unless told. */
  readonly sds?: SdsSettings;
  /** How long one workload attestor may take; 5 s unless told. */
  readonly attestationTimeout?: number;
  /** How long an answer waits for an SVID that is being signed; 5 s unless told. */
  readonly signingPatience?: number;
}

/** Requests a second of one calling user, by kind. */
export interface WorkloadRateLimits {
  readonly x509Svid: number;
  readonly jwtSvid: number;
  readonly bundles: number;
  readonly validation: number;
}

/** What an agent works with. */
export interface AgentDependencies {
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  /** Opens the audit log; called once, after the data folder is known to be ours. The agent closes it. */
  readonly openAudit: () => AuditLog;
  /** The program's version, told to the server. */
  readonly version: string;
  /** A number in [0, 1) for spreading; random unless told. */
  readonly spread?: () => number;
}

/** An agent at work. Disposing stops it within 5 s, telling its callers Unavailable. */
export interface RunningAgent extends AsyncDisposable {
  /** Resolves when workloads are answered; rejects where the agent ends before. */
  readonly ready: Promise<void>;
  /** The agent's SPIFFE ID, `undefined` while it has not attested. */
  readonly agentId: string | undefined;
  /** Resolves when the agent has ended: with the error that ended it, or nothing where it was told to. */
  readonly closed: Promise<Error | undefined>;
}
