/**
 * spiffe/ — the vocabulary of the standard as values that can only be made by parsing.
 *
 * Must never know a library, a network, a file or a key; it holds pure values and parsers.
 * Called by everything.
 */
import { AssayError } from "../errors/assay-error.ts";

declare const trustDomainBrand: unique symbol;

/** A trust domain name: lower case, 1 to 255 bytes of `a-z 0-9 . - _` (SPIFFE-ID §2.1, §2.3). */
export type TrustDomain = string & { readonly [trustDomainBrand]: true };

/**
 * Parses a bare trust domain name such as `example.org`.
 *
 * Upper case is refused, not folded: an ID is compared as bytes everywhere, so there must be one spelling.
 * @throws AssayError `INVALID_TRUST_DOMAIN` naming what is wrong.
 */
export function parseTrustDomain(text: string): TrustDomain {
  const fault = trustDomainFault(text);
  if (fault !== undefined) throw new AssayError("INVALID_TRUST_DOMAIN", fault);
  return text as TrustDomain;
}

/**
 * Parses a trust domain given either as a bare name or as the SPIFFE ID without path that stands for it
 * (`example.org` or `spiffe://example.org`).
 * @throws AssayError `INVALID_TRUST_DOMAIN`.
 */
export function parseTrustDomainOrId(text: string): TrustDomain {
  return parseTrustDomain(text.startsWith(SCHEME) ? text.slice(SCHEME.length) : text);
}

/** The key of a trust domain in maps of the Workload API: `spiffe://example.org` (Workload API §5.2.1). */
export function trustDomainUri(trustDomain: TrustDomain): string {
  return SCHEME + trustDomain;
}

/** What is wrong with a trust domain name, or `undefined` if nothing is. */
export function trustDomainFault(text: string): string | undefined {
  if (text.length === 0) return "trust domain is missing";
  if (text.length > MAX_TRUST_DOMAIN_BYTES) {
    return `trust domain is longer than ${MAX_TRUST_DOMAIN_BYTES} bytes`;
  }
  for (let i = 0; i < text.length; i++) {
    if (!isTrustDomainCharacter(text.charCodeAt(i))) {
      return "trust domain characters are limited to lowercase letters, numbers, dots, dashes, and underscores";
    }
  }
  return undefined;
}

function isTrustDomainCharacter(c: number): boolean {
  return (c >= 0x61 && c <= 0x7a) || (c >= 0x30 && c <= 0x39) || c === 0x2e || c === 0x2d || c === 0x5f;
}

const SCHEME = "spiffe://";
const MAX_TRUST_DOMAIN_BYTES = 255;
