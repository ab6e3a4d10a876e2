import type { SpiffeBundle } from "../spiffe/bundle.ts";

/**
 * How a fetched bundle stands to the stored one: `older` by its sequence number, which then decides nothing but this;
 * otherwise `changed` or `unchanged` by what it says (SPIFFE Federation §4.2). A bundle without a sequence number, or
 * one that meets a stored bundle without, is the newest because it came last.
 */
export function judgeBundle(
  stored: SpiffeBundle | undefined,
  fetched: SpiffeBundle,
): "changed" | "unchanged" | "older" {
  if (stored === undefined) return "changed";
  const isOrdered = stored.sequence !== 0n && fetched.sequence !== 0n;
  if (isOrdered && fetched.sequence < stored.sequence) return "older";
  return contentOf(stored) === contentOf(fetched) ? "unchanged" : "changed";
}

/** Milliseconds until a trust domain's bundle is asked for again, before jitter. */
export function refreshInterval(bundle: SpiffeBundle | undefined): number {
  // Nothing is known of the trust domain yet: its operators may be setting it up this very minute.
  if (bundle === undefined) return UNKNOWN_INTERVAL;
  if (bundle.refreshHint === 0) return DEFAULT_INTERVAL;
  return Math.min(Math.max(bundle.refreshHint * 1000, SHORTEST_INTERVAL), LONGEST_INTERVAL);
}

function contentOf({
  sequence,
  refreshHint,
  x509Authorities,
  jwtAuthorities,
  witAuthorities,
}: SpiffeBundle): string {
  const keys = [jwtAuthorities, witAuthorities].map((authorities) =>
    authorities.map(({ keyId, publicKey }) => [keyId, base64(publicKey)]),
  );
  const certificates = x509Authorities.map(({ certificate }) => base64(certificate));
  return JSON.stringify([String(sequence), refreshHint, certificates, keys]);
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64");
}

const UNKNOWN_INTERVAL = 60_000;
// Suggested for bundles that say nothing (Trust Domain and Bundle §6.1).
const DEFAULT_INTERVAL = 300_000;
// A hint is somebody else's number: below this it would make us hammer them, above it leave a revoked key in force.
const SHORTEST_INTERVAL = 5_000;
const LONGEST_INTERVAL = 86_400_000;
