import { AssayError } from "../errors/assay-error.ts";
import type { SpiffeBundle } from "../spiffe/bundle.ts";
import { type TrustDomain, trustDomainFault } from "../spiffe/trust-domain.ts";
import { formatBundleDocument, readBundle, withSequenceTexts } from "./bundle-document.ts";
import { type JsonObject, parseJsonObject } from "./jose/strict-json.ts";

/**
 * Writes bundles of several trust domains as a SPIFFE bundle map (Trust Domain and Bundle §5.1.1), in the order of their
 * names. The bundles in it have no refresh hint: the map is fetched as one.
 * @throws AssayError `INVALID_BUNDLE` where a trust domain comes twice.
 */
export function formatBundleMap(bundles: readonly SpiffeBundle[]): string {
  const sorted = bundles.toSorted((a, b) => (a.trustDomain < b.trustDomain ? -1 : 1));
  const members = sorted.map((bundle, i) => {
    if (sorted[i + 1]?.trustDomain === bundle.trustDomain) {
      return fail(`bundle map: trust domain ${bundle.trustDomain} comes twice`);
    }
    return `${JSON.stringify(bundle.trustDomain)}: ${formatBundleDocument({ ...bundle, refreshHint: 0 })}`;
  });
  return `{"trust_domains": {${members.join(", ")}}}`;
}

/**
 * Reads a bundle map that somebody else wrote, at most 64 MiB, as a whole or not at all: it replaces what was read before
 * it. A trust domain that is named twice refuses the map (§5.1.1), and so does a name that is none; a refresh hint in a bundle
 * is passed over. Single keys of a bundle are judged as in a bundle document.
 * @throws AssayError `INVALID_BUNDLE` naming the trust domain and the member.
 */
export function parseBundleMap(bytes: Uint8Array): ReadonlyMap<TrustDomain, SpiffeBundle> {
  if (bytes.length > MAX_MAP) fail(`bundle map is larger than ${MAX_MAP} bytes`);
  const checked = parseJsonObject(bytes);
  if (typeof checked === "string") return fail(`bundle map: ${checked}`);
  const { value, sequenceText } = withSequenceTexts(Buffer.from(bytes).toString("utf8"));
  const { trust_domains: domains } = value as { readonly trust_domains?: unknown };
  if (!isObject(domains)) return fail("bundle map: trust_domains must be an object");
  return new Map(
    Object.entries(domains).map(([name, document]) => {
      const fault = trustDomainFault(name);
      if (fault !== undefined) return fail(`bundle map: ${JSON.stringify(name.slice(0, 255))}: ${fault}`);
      if (!isObject(document)) return fail(`bundle map: ${name}: bundle must be an object`);
      const trustDomain = name as TrustDomain;
      try {
        const bundle = readBundle(trustDomain, document, () => sequenceText(document), "ignore");
        return [trustDomain, { ...bundle, refreshHint: 0 }] as const;
      } catch (error) {
        if (!(error instanceof AssayError)) throw error;
        throw new AssayError("INVALID_BUNDLE", `bundle map: ${name}: ${error.detail}`, { cause: error });
      }
    }),
  );
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function fail(detail: string): never {
  throw new AssayError("INVALID_BUNDLE", detail);
}

const MAX_MAP = 64 * 1024 * 1024;
