import type { Clock } from "../clock.ts";
import type { DistinguishedName } from "../crypto/x501-name.ts";
import { AssayError, toAssayError } from "../errors/assay-error.ts";
import type {
  CredentialComposer,
  JwtSvidClaims,
  JwtSvidFacts,
  X509SvidContent,
  X509SvidFacts,
} from "../plugin/credential-composer.ts";

/** What credential composers, one after the other, make of the content of SVIDs. */
export interface Composing {
  /**
   * The content of an X509-SVID with these DNS names.
   * @throws AssayError `COMPOSER_FAILED` naming the composer.
   */
  x509Svid(dnsNames: readonly string[], about: X509SvidFacts): Promise<X509SvidContent>;
  /**
   * Further claims of a JWT-SVID; none of those by which others learn of a task, a status or a key's possession.
   * @throws AssayError `COMPOSER_FAILED` naming the composer.
   */
  jwtSvid(about: JwtSvidFacts): Promise<JwtSvidClaims>;
}

/** What composing stands on. */
export interface ComposingOptions {
  /** By the operator's order. */
  readonly composers: ReadonlyMap<string, CredentialComposer>;
  /** Subject of X509-SVIDs that nobody composes, without the common name. */
  readonly subject: DistinguishedName;
  readonly clock: Clock;
}

/**
 * Composing by these composers, or `undefined` where there are none: content is then what the entry says. Each is given copies
 * of its own: one that changes what it was given changes no entry, no audience and no key.
 */
export function createComposing({ composers, subject, clock }: ComposingOptions): Composing | undefined {
  if (composers.size === 0) return undefined;
  const all = [...composers];
  return {
    async x509Svid(dnsNames, about) {
      const [first] = dnsNames;
      const common =
        first === undefined || first.length > MAX_COMMON_NAME ? [] : [{ oid: COMMON_NAME, value: first }];
      let content: X509SvidContent = { subject: [...subject, ...common], dnsNames };
      for (const [name, composer] of all) {
        if (composer.composeX509Svid === undefined) continue;
        const given = copyOf(content);
        const facts = { ...about, publicKey: Uint8Array.from(about.publicKey) };
        content = await inTime(clock, name, async (signal) =>
          checkedContent(await composer.composeX509Svid?.(given, facts, signal)),
        );
      }
      return content;
    },
    async jwtSvid(about) {
      let composed: JwtSvidClaims = {};
      for (const [name, composer] of all) {
        if (composer.composeJwtSvid === undefined) continue;
        const given = composed;
        const facts = { ...about, audiences: [...about.audiences] };
        composed = await inTime(clock, name, async (signal) =>
          checkedClaims(await composer.composeJwtSvid?.(given, facts, signal)),
        );
      }
      return composed;
    },
  };
}

async function inTime<Result>(
  clock: Clock,
  name: string,
  work: (signal: AbortSignal) => Promise<Result>,
): Promise<Result> {
  const deadline = new AbortController();
  const { promise: late, reject } = Promise.withResolvers<never>();
  using _ = clock.schedule(DEADLINE, () => {
    const error = new Error(`took longer than ${DEADLINE} ms`);
    deadline.abort(error);
    reject(error);
  });
  try {
    return await Promise.race([work(deadline.signal), late]);
  } catch (cause) {
    throw new AssayError("COMPOSER_FAILED", `credential composer ${name}: ${reasonOf(cause)}`, { cause });
  }
}

function reasonOf(cause: unknown): string {
  if (cause instanceof AssayError) return cause.detail;
  return cause instanceof Error ? cause.message : toAssayError(cause).detail;
}

function checkedContent(content: unknown): X509SvidContent {
  const { subject, dnsNames } = (content ?? {}) as Partial<Record<keyof X509SvidContent, unknown>>;
  if (!Array.isArray(subject) || subject.length > MAX_ATTRIBUTES || !subject.every(isAttribute)) {
    throw new Error(
      `subject must be at most ${MAX_ATTRIBUTES} attributes, each with a dotted oid and a value of 1 to ${MAX_VALUE} characters`,
    );
  }
  if (!Array.isArray(dnsNames) || !dnsNames.every((name) => typeof name === "string")) {
    throw new Error("dnsNames must be a list of texts");
  }
  return copyOf({ subject, dnsNames });
}

function copyOf({ subject, dnsNames }: X509SvidContent): X509SvidContent {
  return { subject: subject.map(({ oid, value }) => ({ oid, value })), dnsNames: [...dnsNames] };
}

function isAttribute(attribute: unknown): attribute is { readonly oid: string; readonly value: string } {
  const { oid, value } = (attribute ?? {}) as Partial<Record<"oid" | "value", unknown>>;
  if (typeof oid !== "string" || typeof value !== "string") return false;
  return (
    OID.test(oid) &&
    value.length >= 1 &&
    value.length <= MAX_VALUE &&
    value.isWellFormed() &&
    !/\p{Cc}/u.test(value)
  );
}

function checkedClaims(claims: unknown): JwtSvidClaims {
  // A copy as JSON: nothing that the composer still holds can change it, and what is checked is what is signed.
  const copy: unknown = JSON.parse(JSON.stringify(claims) ?? "null");
  if (typeof copy !== "object" || copy === null || Array.isArray(copy)) {
    throw new Error("claims must be an object");
  }
  for (const name of Object.keys(copy)) {
    if (OURS.has(name)) throw new Error(`claim ${name} is the server's own to make`);
  }
  return copy as JwtSvidClaims;
}

// What we say of a task and of a token's status, and what RFC 7800, RFC 8693 and RFC 9068 have whoever reads a token rely on.
const OURS: ReadonlySet<string> = new Set(["task", "status", "cnf", "act", "scope", "client_id"]);
const DEADLINE = 5000;
const COMMON_NAME = "2.5.4.3";
// RFC 5280 appendix A.1, ub-common-name.
const MAX_COMMON_NAME = 64;
const MAX_ATTRIBUTES = 32;
const MAX_VALUE = 256;
const OID = /^[0-2](?:\.(?:0|[1-9]\d{0,8})){1,15}$/;
