import { SVID_KEY_TYPES } from "../../spiffe/svid-key-type.ts";
import { z } from "zod";
import type { WorkloadEntry } from "../../issuance/workload/workload-entry.ts";
import type { Audience } from "../../spiffe/audience.ts";
import type { SpiffeBundle } from "../../spiffe/bundle.ts";
import { type SpiffeId, tryParseSpiffeId } from "../../spiffe/id.ts";
import { type TrustDomain, trustDomainFault } from "../../spiffe/trust-domain.ts";

// Files of our own are read as strictly as anything else: a half-restored backup must not become a half-true cache.

/** Bytes as base64. */
export const bytes: z.ZodType<Uint8Array, unknown> = z
  .base64()
  .transform((text) => Buffer.from(text, "base64"));

/** A SPIFFE ID. */
export const spiffeId: z.ZodType<SpiffeId, unknown> = z
  .string()
  .refine((text) => tryParseSpiffeId(text) !== undefined, "must be a SPIFFE ID")
  .transform((text) => text as SpiffeId);

/** A trust domain name. */
export const trustDomain: z.ZodType<TrustDomain, unknown> = z
  .string()
  .refine((text) => trustDomainFault(text) === undefined, "must be a trust domain")
  .transform((text) => text as TrustDomain);

/** A revision that no server gives: an entry that has it is read anew, and until then it and its SVIDs are as they were. */
const UNREAD_REVISION = -1;

const whole = z.int().nonnegative();
const revision = z.int().min(UNREAD_REVISION);
const tokenKey = z.strictObject({
  keyId: z.string(),
  publicKey: bytes,
  expiresAt: whole,
  tainted: z.boolean(),
});

/** A SPIFFE bundle as Assay's own files hold it. */
export const bundle: z.ZodType<SpiffeBundle, unknown> = z.strictObject({
  trustDomain,
  sequence: z
    .string()
    .regex(/^\d{1,20}$/)
    .transform((text) => BigInt(text)),
  refreshHint: whole,
  x509Authorities: z.array(z.strictObject({ certificate: bytes, tainted: z.boolean() })),
  jwtAuthorities: z.array(tokenKey),
  // Absent in files of versions that knew no WIT-SVIDs.
  witAuthorities: z.array(tokenKey).default([]),
});

const entryFields = z.strictObject({
  id: z.string(),
  revision,
  createdAt: whole,
  spiffeId,
  parentId: spiffeId,
  selectors: z.array(z.strictObject({ type: z.string(), value: z.string() })).min(1),
  x509SvidTtl: whole,
  jwtSvidTtl: whole,
  federatesWith: z.array(trustDomain),
  admin: z.boolean(),
  downstream: z.boolean(),
  storeSvid: z.boolean(),
  expiresAt: whole,
  dnsNames: z.array(z.string()),
  hint: z.string(),
  disableX509SvidPrefetch: z.boolean(),
  jwtSvidIncludeJti: z.boolean(),
  // Absent in files of versions that let any key do.
  svidKeyType: z.enum(["", ...SVID_KEY_TYPES]).optional(),
});

/** A registration entry. */
export const entry: z.ZodType<WorkloadEntry, unknown> = entryFields.transform(({ svidKeyType, ...rest }) =>
  svidKeyType === undefined
    ? { ...rest, svidKeyType: "", revision: UNREAD_REVISION }
    : { ...rest, svidKeyType },
);

const cacheFields = z.strictObject({
  version: z.literal(1),
  agentId: spiffeId,
  bundle,
  federatedBundles: z.array(bundle),
  // Absent in files of versions that knew no revocation lists.
  crls: z.array(z.strictObject({ trustDomain, lists: z.array(bytes) })).default([]),
  // Absent in files of versions that knew no revoked tokens.
  revokedTokens: z.array(z.tuple([z.string(), whole])).default([]),
  entries: z.array(entry),
  x509Svids: z.array(
    z.strictObject({
      entryId: z.string(),
      revision,
      replaceAt: z.number(),
      chain: z.array(bytes).min(1),
      privateKey: bytes,
    }),
  ),
  // Absent in files of versions that knew no WIT-SVIDs.
  witSvids: z
    .array(
      z.strictObject({
        entryId: z.string(),
        revision,
        replaceAt: z.number(),
        spiffeId,
        token: z.string(),
        keyId: z.string(),
        jti: z.string().optional(),
        expiresAt: whole,
        privateJwk: z.string(),
      }),
    )
    .default([]),
  jwtSvids: z.array(
    z.strictObject({
      entryId: z.string(),
      revision,
      replaceAt: z.number(),
      audience: z.array(z.string().transform((text) => text as Audience)).min(1),
      spiffeId,
      token: z.string(),
      issuedAt: whole,
      expiresAt: whole,
    }),
  ),
});

/** The workloads' half of the agent's memory. What was signed for an entry that has to be read anew belongs to it as it is. */
export const cacheFile = cacheFields.transform((file) => {
  const unread = new Set(
    file.entries.flatMap(({ id, revision: known }) => (known === UNREAD_REVISION ? [id] : [])),
  );
  const asRead = <Svid extends { readonly entryId: string; readonly revision: number }>(
    svids: readonly Svid[],
  ) => svids.map((svid) => (unread.has(svid.entryId) ? { ...svid, revision: UNREAD_REVISION } : svid));
  return {
    ...file,
    x509Svids: asRead(file.x509Svids),
    witSvids: asRead(file.witSvids),
    jwtSvids: asRead(file.jwtSvids),
  };
});

/** The agent's own identity. */
export const identityFile = z.strictObject({
  version: z.literal(1),
  chain: z.array(bytes).min(1),
  privateKey: bytes,
  reattestable: z.boolean(),
  bundle,
  // Absent in files of versions that did not look at it again.
  operatorBundle: z.string().optional(),
});

/** A value as JSON with bytes as base64 and sequences as decimal text. */
export function toJson(value: unknown): string {
  return JSON.stringify(value, (_key, item: unknown) => {
    if (typeof item === "bigint") return item.toString();
    // Buffers have a toJSON of their own, which has been called by now.
    const { type, data } = (item ?? {}) as { type?: unknown; data?: unknown };
    if (type === "Buffer" && Array.isArray(data)) return Buffer.from(data as number[]).toString("base64");
    return item instanceof Uint8Array ? Buffer.from(item).toString("base64") : item;
  });
}
