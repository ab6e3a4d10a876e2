import { SVID_KEY_TYPES } from "../../spiffe/svid-key-type.ts";
import { z } from "zod";
import { AssayError } from "../../errors/assay-error.ts";
import type { EntryDraft } from "../../registry/entry-rules.ts";
import { formatSelector } from "../../spiffe/selector.ts";
import type { EntryRecord } from "../../store/records.ts";
import {
  durationInput,
  MAX_DURATION_SECONDS,
  selectorsFrom,
  selectorText,
  spiffeIdText,
  timeInput,
  timeOutput,
  timeText,
  timeTextOrNull,
  trustDomainText,
} from "./json-values.ts";

const ttl = durationInput({ min: 0, max: MAX_DURATION_SECONDS });

// Bounds that keep a request small; the registry's rules say what an entry may be and answer with codes of their own.
const writable = {
  spiffe_id: spiffeIdText.describe("SPIFFE ID that the entry gives"),
  parent_id: spiffeIdText.describe("SPIFFE ID of the agent or alias that may ask for it"),
  selectors: z.array(selectorText).min(1).max(1000).describe("What the workload must be; all of them"),
  x509_svid_ttl: ttl.describe("Lifetime of X509-SVIDs, seconds or e.g. `1h`; 0 for the server's default"),
  jwt_svid_ttl: ttl.describe("Lifetime of JWT-SVIDs, seconds or e.g. `5m`; 0 for the server's default"),
  federates_with: z
    .array(trustDomainText)
    .max(1000)
    .describe("Foreign trust domains whose bundles the workload gets"),
  admin: z.boolean().describe("Whether the SVID's holder is an administrator of this server"),
  downstream: z.boolean().describe("Whether the SVID's holder may run a subordinate server"),
  store_svid: z.boolean().describe("Whether the SVID goes to a secret store, not to the Workload API"),
  expires_at: timeInput.nullable().describe("Time after which the entry earns nothing; null for never"),
  dns_names: z
    .array(z.string().min(1).max(255))
    .max(1000)
    .describe("DNS names in X509-SVIDs; the first is also the common name"),
  hint: z.string().max(1024).describe("What the workload is told the identity is for, at most 1024 bytes"),
  disable_x509_svid_prefetch: z
    .boolean()
    .describe("Whether agents ask for the X509-SVID only when a workload wants it"),
  jwt_svid_include_jti: z.boolean().describe("Whether each JWT-SVID has a `jti` and is fresh"),
  id_template: z
    .string()
    .max(1024)
    .describe(
      "For entries of tasks: the path of the SPIFFE ID over verified claims, e.g. `/ci/{repository_id}/run/{run_id}`; empty for none",
    ),
  max_task_duration: durationInput({ min: 0, max: 21_600 }).describe(
    "For entries of tasks: longest life of a task, seconds or e.g. `1h`; 0 for the server's default",
  ),
  exchange_audiences: z
    .array(z.string().min(1).max(1024))
    .max(100)
    .describe("Audiences for which the identity may be exchanged for access tokens"),
  svid_key_type: z
    .enum(["", ...SVID_KEY_TYPES])
    .describe("The one type of key that its SVIDs have; empty where any will do"),
};
const { spiffe_id, parent_id, selectors, ...optional } = writable;

/** An entry to create. */
export const newEntrySchema = z
  .strictObject({
    id: z
      .string()
      .min(1)
      .max(255)
      .optional()
      .describe("Letters, digits, `.`, `-` and `_`; a UUID unless given"),
    spiffe_id: spiffe_id
      .optional()
      .describe("SPIFFE ID that the entry gives; may be left out where `id_template` says it"),
    parent_id,
    selectors,
    ...z.object(optional).partial().shape,
  })
  .refine(({ spiffe_id: id, id_template: template = "" }) => id !== undefined || template !== "", {
    path: ["spiffe_id"],
    error: "expected a SPIFFE ID, or id_template",
  })
  .meta({ id: "NewRegistrationEntry", description: "A registration entry to create" });

/** A change of an entry. */
export const entryChangeSchema = z
  .strictObject(z.object(writable).partial().shape)
  .refine((change) => Object.keys(change).length > 0, "expected at least one member to change")
  .meta({
    id: "RegistrationEntryChange",
    description: "What changes in a registration entry: members that are absent stay as they are",
  });

/** An entry in an answer. */
export const entrySchema = z
  .object({
    id: z.string(),
    revision: z.int().describe("0 at creation, one more with every change"),
    created_at: timeOutput,
    spiffe_id: z.string(),
    parent_id: z.string(),
    selectors: z.array(z.string()).describe("Sorted, each once"),
    x509_svid_ttl: z.int().describe("Seconds; 0 for the server's default"),
    jwt_svid_ttl: z.int().describe("Seconds; 0 for the server's default"),
    federates_with: z.array(z.string()).describe("Trust domain names, sorted"),
    admin: z.boolean(),
    downstream: z.boolean(),
    store_svid: z.boolean(),
    expires_at: timeOutput.nullable(),
    dns_names: z.array(z.string()),
    hint: z.string(),
    disable_x509_svid_prefetch: z.boolean(),
    jwt_svid_include_jti: z.boolean(),
    id_template: z.string().describe("Path of the SPIFFE ID over a task's claims; empty for none"),
    max_task_duration: z.int().describe("Seconds; 0 for the server's default"),
    exchange_audiences: z.array(z.string()).describe("Sorted, each once"),
    svid_key_type: z.enum(["", ...SVID_KEY_TYPES]).describe("Empty where any will do"),
  })
  .meta({ id: "RegistrationEntry", description: "A registration entry" });

/** Writes an entry. */
export function entryToJson(entry: EntryRecord): z.output<typeof entrySchema> {
  return {
    id: entry.id,
    revision: entry.revision,
    created_at: timeText(entry.createdAt),
    spiffe_id: entry.spiffeId,
    parent_id: entry.parentId,
    selectors: entry.selectors.map(formatSelector),
    x509_svid_ttl: entry.x509SvidTtl,
    jwt_svid_ttl: entry.jwtSvidTtl,
    federates_with: [...entry.federatesWith],
    admin: entry.admin,
    downstream: entry.downstream,
    store_svid: entry.storeSvid,
    expires_at: timeTextOrNull(entry.expiresAt),
    dns_names: [...entry.dnsNames],
    hint: entry.hint,
    disable_x509_svid_prefetch: entry.disableX509SvidPrefetch,
    jwt_svid_include_jti: entry.jwtSvidIncludeJti,
    id_template: entry.idTemplate,
    max_task_duration: entry.maxTaskDuration,
    exchange_audiences: [...entry.exchangeAudiences],
    svid_key_type: entry.svidKeyType,
  };
}

/** The members of a draft that a request has. @throws AssayError `INVALID_SELECTOR`. */
export function draftFrom(body: z.output<typeof entryChangeSchema>): Partial<EntryDraft> {
  const draft: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(body)) {
    if (value !== undefined) draft[camelCase(name)] = value;
  }
  if (body.selectors !== undefined) draft["selectors"] = selectorsFrom(body.selectors, "/selectors");
  if (body.expires_at === null) draft["expiresAt"] = 0;
  return draft;
}

/** An error of the registry's rules with the names that this face uses: `/spiffe_id`, not `/spiffeId`. */
export function withJsonNames(error: AssayError): AssayError {
  const { violations } = error;
  if (violations.length === 0) return error;
  const renamed = violations.map(({ pointer, detail }) => ({ pointer: snakeCase(pointer), detail }));
  const first = renamed[0];
  const detail = first === undefined ? error.detail : `${first.pointer}: ${first.detail}`;
  return new AssayError(error.code, detail, { cause: error, violations: renamed });
}

function camelCase(name: string): string {
  return name.replaceAll(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
}

function snakeCase(name: string): string {
  return name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
