import { AssayError } from "../errors/assay-error.ts";
import { pathFault, type SpiffeId, spiffeIdOf, tryParseSpiffeId } from "../spiffe/id.ts";
import { isReservedPath } from "../spiffe/reserved.ts";
import type { TrustDomain } from "../spiffe/trust-domain.ts";

/** The path of a SPIFFE ID over verified claims: `/ci/{repository_id}/run/{run_id}`. */
export interface IdTemplate {
  /** The path before the first segment with a claim: whatever the claims are, the ID lies below it. */
  readonly prefix: string;
  /** From there on. */
  readonly segments: readonly TemplateSegment[];
}

/** One segment: literal text, or a claim between two literal texts. */
export interface TemplateSegment {
  readonly before: string;
  /** Name of the claim; empty for a literal segment, which is `before` alone. */
  readonly claim: string;
  /** `{name+}`: the claim's value stands for as many segments as its slashes part it into. */
  readonly isMany: boolean;
  readonly after: string;
}

/**
 * Parses a template: a path of segments, at least the first without a claim. `{name}` is one claim's value within a
 * segment, `{name+}` as a whole segment is a value of several. One claim to a segment, and one `{name+}` to a template: with
 * more, two runs with different claims could come to the same ID.
 * @throws AssayError `INVALID_ENTRY`.
 */
export function parseIdTemplate(text: string): IdTemplate {
  if (text.length > MAX_TEMPLATE) throw refused(`expected at most ${MAX_TEMPLATE} characters`);
  if (!text.startsWith("/")) throw refused("expected a path with a leading slash");
  const segments = text.slice(1).split("/").map(parseSegment);
  const first = segments.findIndex(({ claim }) => claim !== "");
  if (first < 0) {
    throw refused("expected a claim such as {run_id}; without one the SPIFFE ID itself says what is earned");
  }
  if (first === 0) throw refused("expected a first segment without a claim");
  if (segments.filter(({ isMany }) => isMany).length > 1) throw refused("expected at most one {name+}");
  const prefix = segments.slice(0, first).map(({ before }) => `/${before}`);
  if (isReservedPath(prefix.join(""))) throw refused("the path /spire and all below it are reserved");
  return { prefix: prefix.join(""), segments: segments.slice(first) };
}

/**
 * The SPIFFE ID that the template's own words make; those that it gives all lie below it.
 * @throws AssayError `INVALID_SPIFFE_ID` where it is too long.
 */
export function prefixIdOf(template: IdTemplate, trustDomain: TrustDomain): SpiffeId {
  return spiffeIdOf(trustDomain, template.prefix);
}

/** What a template gives for claims: an ID below its prefix, or why there is none. */
export type FilledTemplate = { readonly spiffeId: SpiffeId } | { readonly fault: string };

/**
 * Fills a template with verified claims. A value takes part only as it is: what would need escaping, would be another
 * segment or none, is a fault.
 */
export function fillIdTemplate(
  template: IdTemplate,
  trustDomain: TrustDomain,
  claims: Readonly<Record<string, string>>,
): FilledTemplate {
  const path: string[] = [];
  for (const { before, claim, isMany, after } of template.segments) {
    if (claim === "") {
      path.push(before);
      continue;
    }
    // A name such as `constructor` is no claim unless the evidence has it.
    const value: unknown = Object.hasOwn(claims, claim) ? claims[claim] : undefined;
    if (typeof value !== "string" || value === "") return { fault: `the evidence has no claim ${claim}` };
    const parts = isMany ? value.split("/") : [`${before}${value}${after}`];
    if (!parts.every((part) => SEGMENT.test(part))) {
      return { fault: `the value of claim ${claim} ${isMany ? MANY_RULE : ONE_RULE}` };
    }
    path.push(...parts);
  }
  const prefix = prefixIdOf(template, trustDomain);
  const spiffeId = tryParseSpiffeId(`${prefix}/${path.join("/")}`);
  if (spiffeId?.startsWith(`${prefix}/`) !== true)
    return { fault: "the claims make no SPIFFE ID of legal length" };
  return { spiffeId };
}

function parseSegment(text: string): TemplateSegment {
  if (text === "") throw refused("path cannot contain empty segments");
  const parts = CLAIM.exec(text)?.groups;
  if (parts === undefined) {
    const fault = /[{}]/.test(text)
      ? "expected one claim to a segment: {name}, or {name+} as the whole segment"
      : pathFault(`/${text}`);
    if (fault !== undefined) throw refused(fault);
    return { before: text, claim: "", isMany: false, after: "" };
  }
  const { before = "", claim = "", many = "", after = "" } = parts;
  if (many !== "" && `${before}${after}` !== "") throw refused("expected {name+} as a whole segment");
  return { before, claim, isMany: many !== "", after };
}

function refused(detail: string): AssayError {
  return new AssayError("INVALID_ENTRY", detail);
}

const MAX_TEMPLATE = 1024;
const CLAIM =
  /^(?<before>[A-Za-z0-9._-]*)\{(?<claim>[A-Za-z0-9_][A-Za-z0-9_.:-]{0,63})(?<many>\+?)\}(?<after>[A-Za-z0-9._-]*)$/;
// A segment of SPIFFE-ID §2.2, dot segments left out.
const SEGMENT = /^(?!\.{1,2}$)[A-Za-z0-9._-]+$/;
const ONE_RULE = "is not made of letters, numbers, dots, dashes and underscores, or makes a dot segment";
const MANY_RULE =
  "is no path of such segments: letters, numbers, dots, dashes and underscores between single slashes";
