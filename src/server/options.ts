import type { TaskSettings } from "../issuance/tasks/task-options.ts";
import type { KeyType } from "../plugin/key-manager.ts";
import type { Feature } from "../spiffe/features.ts";
import type { SpiffeId } from "../spiffe/id.ts";
import type { FederationOptions } from "./federation/federation-options.ts";
import type { TrustDomain } from "../spiffe/trust-domain.ts";

/** A plugin that the operator chose. */
export interface PluginChoice {
  /** Name of the plugin. */
  readonly type: string;
  /** Where a third party's plugin is; absent for a built-in. */
  readonly module?: string | undefined;
  /** The plugin's own settings, unchecked. */
  readonly config?: unknown;
}

/** A task attestor that the operator chose. */
export interface TaskAttestorChoice extends PluginChoice {
  /** The operator's name for it: 1 to 64 of `a-z 0-9 -`, each once. */
  readonly name: string;
}

/** An address to listen on. */
export interface ListenAddress {
  readonly host: string;
  /** 0 takes a free one. */
  readonly port: number;
}

/** Everything an operator decides about a server. Lifetimes are seconds, sizes bytes, paths absolute. */
export interface ServerOptions {
  readonly trustDomain: TrustDomain;
  /** Folder of the store and the keys. */
  readonly dataDir: string;
  readonly listen: ListenAddress;
  readonly webListen: ListenAddress;
  readonly adminSocket: string;
  readonly caTtl: number;
  readonly caKeyType: KeyType;
  readonly jwtKeyType: KeyType;
  readonly caSubject: { readonly country?: string | undefined; readonly organization: string };
  /** How many levels of CAs may follow below the authority of a server below this one; any number where absent. */
  readonly caPathLength?: number | undefined;
  /** Whether authorities of servers below are bound to the trust domain by name constraints; not where absent. */
  readonly caNameConstraints?: boolean | undefined;
  readonly defaultX509SvidTtl: number;
  readonly maxX509SvidTtl: number;
  readonly defaultJwtSvidTtl: number;
  readonly maxJwtSvidTtl: number;
  readonly defaultWitSvidTtl: number;
  readonly maxWitSvidTtl: number;
  readonly defaultAccessTokenTtl: number;
  readonly maxAccessTokenTtl: number;
  /** Whether a WIT-SVID is given only to who proves to hold its key. */
  readonly witProofOfPossession: "optional" | "required";
  readonly agentTtl: number;
  readonly jwtIssuer?: string | undefined;
  /** Audiences that verify RS256 and nothing else. */
  readonly rs256Audiences: readonly string[];
  /** Requests a second of one caller, or no limits at all. */
  readonly rateLimit: "off" | ServerRates;
  /** Connections without an SVID that one address, of IPv6 a /64, may have open at each port. */
  readonly maxConnectionsPerAddress: number;
  readonly keyManager: PluginChoice;
  /** Who signs our X.509 authorities; they sign themselves where absent. */
  readonly upstreamAuthority?: PluginChoice | undefined;
  readonly nodeAttestors: readonly PluginChoice[];
  /** In the order in which they are asked. None where absent. */
  readonly credentialComposers?: readonly PluginChoice[] | undefined;
  /** Whose tokens open tasks; they need `jwtIssuer`. None where absent. */
  readonly taskAttestors?: readonly TaskAttestorChoice[] | undefined;
  /** The usual ones where absent. */
  readonly tasks?: TaskSettings | undefined;
  /** Administrators without an entry. */
  readonly adminIds: readonly SpiffeId[];
  /** Who may read the metrics on the web port beside operators. */
  readonly metricsReaders: "anyone" | readonly SpiffeId[];
  /** Host names of OIDC discovery beside that of `jwtIssuer`. */
  readonly oidcDomains: readonly string[];
  readonly jwksUri?: string | undefined;
  /** Incubating profiles that are switched on. */
  readonly features: readonly Feature[];
  /** Nothing but stored relationships where absent. */
  readonly federation?: FederationOptions | undefined;
  readonly audit: {
    readonly path: string;
    readonly fsync: "never" | "always";
    readonly maxSize: number;
    readonly keep: number;
  };
}

/** Requests a second of one caller. */
export interface ServerRates {
  readonly attestation: number;
  readonly signing: number;
  readonly bundle: number;
  /** Requests of the OAuth endpoints. */
  readonly token: number;
  /** Calls of one task. */
  readonly task: number;
}
