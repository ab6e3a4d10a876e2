/** What a platform's tokens look like and how far each part of them can be relied on: data, so that a new platform is no code. */
export interface OidcPreset {
  /** The platform's name in attestations, audit records and configurations: `github-actions`. */
  readonly name: string;
  /** The platform's name for people. */
  readonly title: string;
  /** Type of all its selectors: `github`. */
  readonly selectorType: string;
  /** How its issuers look; the first form that fits an issuer is the one that counts. */
  readonly issuers: readonly IssuerForm[];
  /** The issuer where there is only one for everybody. */
  readonly defaultIssuer?: string;
  /** The audience of its tokens, from the issuer, where the platform lets nobody choose one. */
  readonly fixedAudience?: (issuer: string) => string;
  /** Audiences that its tokens have unasked: a token with one of these may have been made for anybody. */
  readonly commonAudiences?: readonly RegExp[];
  readonly claims: readonly ClaimRule[];
  /** Facts that follow from several claims, read after them and in this order. */
  readonly derived?: readonly DerivedClaim[];
  /**
   * Names of claims that say whose run it is and never pass to anybody else. Where an issuer serves many, an instance
   * must bind one of them.
   */
  readonly tenantIds: readonly string[];
  /** The claims that name one run; `job` where all of them are there, else `run`. */
  readonly runNames: { readonly job?: readonly string[]; readonly run?: readonly string[] };
  /** Tokens that are no evidence at all. */
  readonly refused?: readonly (ValueRule & { readonly why: string })[];
  /** Runs in which somebody else may have a say: an entry earns something only if it names the selector. */
  readonly guarded?: readonly ValueRule[];
  /** How old a token may be by `iat`, seconds. */
  readonly maxTokenAge: number;
  /** How long a token may be good for, seconds. */
  readonly maxTokenLifetime: number;
  /** `exp` is when the platform ends the run, in tokens that are good for longer than this, seconds. */
  readonly endsAtExpiry?: { readonly ifLongerThan: number };
  /** The run in words; `{name}` stands for a claim. */
  readonly description: string;
  /** A token of the platform as an operator meets it: for tests, and for the imitation of the platform on a laptop. */
  readonly sample: { readonly issuer: string; readonly claims: Readonly<Record<string, unknown>> };
  /** How the platform says that a run has ended. */
  readonly webhook?: PresetWebhook;
}

/** One form of issuers. */
export interface IssuerForm {
  /** Anchored at both ends. */
  readonly pattern: RegExp;
  /** For messages and documentation. */
  readonly example: string;
  /** Whether tokens of strangers come from the same issuer. */
  readonly shared: boolean;
}

/** One claim of a token. */
export interface ClaimRule {
  /** Its name in the token, or the names of the members that lead to it. */
  readonly claim: string | readonly string[];
  /** Our name for it, in templates, conditions and audit records: `a-z`, digits and `_`. */
  readonly name: string;
  /** What it may be; `text` unless given. Anything else refuses the token. */
  readonly kind?: ClaimKind;
  /** Middle part of its selector; none without. */
  readonly selector?: string;
  /** Whether whoever writes the job can choose the value. */
  readonly authored?: true;
  /** Whether a token without it is refused. */
  readonly required?: true;
  /** The claim's name is only the beginning of many claims' names; ours ends with the rest, and so does the selector. */
  readonly prefix?: true;
}

/**
 * Form of a claim's value. `text`: a string. `id`: a string or a whole number. `flag`: a boolean, or `"true"` or `"false"`.
 * `list`: strings. `uuid`: a UUID, perhaps in braces, which are taken off. Absent is what is missing, `null` or empty.
 */
export type ClaimKind = "text" | "id" | "flag" | "list" | "uuid";

/** A fact that follows from claims. */
export interface DerivedClaim {
  readonly name: string;
  readonly selector?: string;
  readonly authored?: true;
  /** The value from those read before, `undefined` for none. */
  readonly from: (claim: (name: string) => string | undefined) => string | undefined;
}

/** Picks values of a claim: those named, or all that are there but those named. */
export type ValueRule =
  | { readonly claim: string; readonly values: readonly string[] }
  | { readonly claim: string; readonly except: readonly string[] };

/** Reads a platform's signed messages. */
export interface PresetWebhook {
  /**
   * The run that the message says has ended; nothing where it says something else.
   * @throws AssayError `ATTESTATION_FAILED` where it is not the platform's word, or too old.
   */
  read(message: WebhookMessage): WebhookRun | undefined;
}

/** A message of a platform with what is needed to judge it. */
export interface WebhookMessage {
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string>>;
  /** The bytes that are signed. */
  readonly body: Uint8Array;
  /** What the operator and the platform share. */
  readonly secret: string;
  /** Unix seconds. */
  readonly now: number;
}

/** The run that a message says has ended. */
export interface WebhookRun {
  /** Values of the first claims of `runNames.job`, as many as the message knows. */
  readonly run: readonly string[];
  /** Names this message, where the platform repeats some. */
  readonly deliveryId?: string;
}

/** The claims that a preset can read, by our names; those of prefixes without their rest. */
export function claimNames(preset: OidcPreset): ReadonlySet<string> {
  return new Set([...preset.claims, ...(preset.derived ?? [])].map(({ name }) => name));
}

/** Whether a rule picks this value. */
export function picks(rule: ValueRule, value: string): boolean {
  return "values" in rule ? rule.values.includes(value) : !rule.except.includes(value);
}
