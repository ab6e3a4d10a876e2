import type { Audience } from "../spiffe/audience.ts";
import type { SpiffeId } from "../spiffe/id.ts";
import type { ConfigSchema } from "./config-schema.ts";
import type { PluginHost } from "./host.ts";

/**
 * Has a say in what an SVID holds besides its identity: subject and DNS names of X509-SVIDs, further claims of JWT-SVIDs.
 * It cannot change whose SVID it is, for which key, for which audiences or for how long.
 */
export interface CredentialComposerPlugin<Config = unknown> {
  readonly kind: "credentialComposer";
  readonly apiVersion: 1;
  readonly name: string;
  readonly config: ConfigSchema<Config>;
  create(config: Config, host: PluginHost): CredentialComposer | Promise<CredentialComposer>;
}

/**
 * A credential composer at work; at least one of its methods is there. Composers are asked in the order of the configuration,
 * each about what the one before it left. One that throws, or gives what cannot be, refuses the SVID.
 */
export interface CredentialComposer extends AsyncDisposable {
  /** Gives the content of an X509-SVID: what it was given, or another. */
  composeX509Svid?(
    content: X509SvidContent,
    about: X509SvidFacts,
    signal: AbortSignal,
  ): X509SvidContent | Promise<X509SvidContent>;
  /** Gives the further claims of a JWT-SVID: those it was given, fewer or more. */
  composeJwtSvid?(
    claims: JwtSvidClaims,
    about: JwtSvidFacts,
    signal: AbortSignal,
  ): JwtSvidClaims | Promise<JwtSvidClaims>;
}

/** What a composer may decide of an X509-SVID. */
export interface X509SvidContent {
  /** Attributes of the subject (RFC 5280 §4.1.2.4), the most significant first; at most 32. */
  readonly subject: readonly SubjectAttribute[];
  /** DNS names of subjectAltName; policy judges them once more. */
  readonly dnsNames: readonly string[];
}

/** An attribute of a subject. */
export interface SubjectAttribute {
  /** Dotted object identifier of its type, such as `2.5.4.3` for the common name. */
  readonly oid: string;
  readonly value: string;
}

/** What is settled of an X509-SVID. */
export interface X509SvidFacts {
  /** Whose it is: a workload's (a task's too), or an agent's. */
  readonly purpose: "workload" | "agent";
  readonly spiffeId: SpiffeId;
  /** DER SubjectPublicKeyInfo. */
  readonly publicKey: Uint8Array;
}

/**
 * Claims beside those of the profile, none of which they can replace. Nor may they be `task`, `status`, `cnf`, `act`, `scope` or
 * `client_id`, by which relying parties learn what only the server knows. Values are JSON.
 */
export type JwtSvidClaims = Readonly<Record<string, unknown>>;

/** What is settled of a JWT-SVID. */
export interface JwtSvidFacts {
  readonly spiffeId: SpiffeId;
  readonly audiences: readonly Audience[];
}

/** Marks an object as a credential composer plugin and checks its type where it is written. */
export function defineCredentialComposer<Config>(
  plugin: CredentialComposerPlugin<Config>,
): CredentialComposerPlugin<Config> {
  return plugin;
}
