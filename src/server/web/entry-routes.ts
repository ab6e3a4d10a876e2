import { z } from "zod";
import { AssayError } from "../../errors/assay-error.ts";
import type { HttpRoutes } from "../../http/http-routes.ts";
import { problemResponses } from "../../http/problem.ts";
import type { EntryRegistry } from "../../registry/entries.ts";
import type { EntryFilter } from "../../registry/entry-filter.ts";
import { parseSpiffeId } from "../../spiffe/id.ts";
import { parseTrustDomainOrId } from "../../spiffe/trust-domain.ts";
import type { EntryRecord } from "../../store/records.ts";
import type { EntryOutcome, EntryOperations } from "../operations/entry-operations.ts";
import {
  draftFrom,
  entryChangeSchema,
  entrySchema,
  entryToJson,
  newEntrySchema,
  withJsonNames,
} from "./entry-json.ts";
import { ifMatch, ifMatchHeader, refuseIfMatch, revisionTag } from "./if-match.ts";
import { repeatable, spiffeIdText, trustDomainText } from "./json-values.ts";
import type { OperatorGuard } from "./operator-guard.ts";
import {
  flagQuery,
  listMatch,
  nextPage,
  nextPageToken,
  pageRequestOf,
  pageQuery,
  selectorFilterOf,
  selectorQuery,
} from "./page-query.ts";

/** What the routes need. */
export interface EntryRoutesOptions {
  readonly registry: { readonly entries: Pick<EntryRegistry, "get" | "list"> };
  readonly operations: EntryOperations;
}

/** Adds the registration entries: list, create, read, change, delete. */
export function entryRoutes(routes: HttpRoutes, options: EntryRoutesOptions, guard: OperatorGuard): void {
  const {
    registry: { entries },
    operations,
  } = options;

  routes.get(
    "/v1/entries",
    {
      schema: {
        ...about("List registration entries"),
        querystring: listQuery,
        response: {
          200: z.object({ entries: z.array(entrySchema), next_page_token: nextPageToken }),
          ...problemResponses(
            "INVALID_REQUEST",
            "INVALID_SPIFFE_ID",
            "INVALID_SELECTOR",
            "INVALID_TRUST_DOMAIN",
            "INVALID_PAGE_TOKEN",
            ...REFUSALS,
          ),
        },
      },
    },
    ({ query }) => {
      const page = entries.list(filterOf(query), pageRequestOf(query));
      return { entries: page.items.map(entryToJson), ...nextPage(page) };
    },
  );

  routes.post(
    "/v1/entries",
    {
      schema: {
        ...about("Create a registration entry"),
        body: newEntrySchema,
        response: { 201: entrySchema, ...problemResponses(...WRITE_FAULTS, "ALREADY_EXISTS") },
      },
    },
    async (request, reply) => {
      const { id, ...rest } = request.body;
      const { spiffe_id: spiffeId = "", parent_id: parentId } = rest;
      const draft = { selectors: [], ...draftFrom(rest), spiffeId, parentId, id };
      const entry = outcomeOf(await operations.createEntries(guard.callOf(request), [draft]));
      return reply
        .code(201)
        .headers({ location: `/v1/entries/${entry.id}`, etag: revisionTag(entry.revision) })
        .send(entryToJson(entry));
    },
  );

  routes.get(
    "/v1/entries/:id",
    {
      schema: {
        ...about("Read a registration entry"),
        params: entryParams,
        response: {
          200: entrySchema,
          ...problemResponses("ENTRY_NOT_FOUND", "INVALID_REQUEST", ...REFUSALS),
        },
      },
    },
    async ({ params: { id } }, reply) => {
      const entry = entries.get(id);
      if (entry === undefined) throw absent(id);
      return reply.header("etag", revisionTag(entry.revision)).send(entryToJson(entry));
    },
  );

  routes.patch(
    "/v1/entries/:id",
    {
      schema: {
        ...about("Change a registration entry"),
        params: entryParams,
        headers: ifMatchHeader,
        body: entryChangeSchema,
        response: {
          200: entrySchema,
          ...problemResponses(...WRITE_FAULTS, "ENTRY_NOT_FOUND", "ALREADY_EXISTS", "STALE_REVISION"),
        },
      },
    },
    async (request, reply) => {
      const { id } = request.params;
      const update = { ...draftFrom(request.body), id, ...ifMatch(request.headers) };
      const entry = outcomeOf(await operations.updateEntries(guard.callOf(request), [update]));
      return reply.header("etag", revisionTag(entry.revision)).send(entryToJson(entry));
    },
  );

  routes.delete(
    "/v1/entries/:id",
    {
      schema: {
        ...about("Delete a registration entry"),
        params: entryParams,
        response: {
          204: z.null().describe("It is gone"),
          ...problemResponses("ENTRY_NOT_FOUND", "INVALID_REQUEST", "AUDIT_UNAVAILABLE", ...REFUSALS),
        },
      },
    },
    async (request, reply) => {
      refuseIfMatch(request.headers);
      const [deletion] = await operations.deleteEntries(guard.callOf(request), [request.params.id]);
      if (deletion === undefined) throw new AssayError("INTERNAL", "the deletion has no outcome");
      if (deletion.error !== undefined) throw deletion.error;
      return reply.code(204).send(null);
    },
  );
}

function filterOf(query: z.output<typeof listQuery>): EntryFilter {
  const { spiffe_id, parent_id, federates_with, federates_with_match: match, hint, downstream } = query;
  return {
    spiffeId: spiffe_id === undefined ? undefined : parseSpiffeId(spiffe_id),
    parentId: parent_id === undefined ? undefined : parseSpiffeId(parent_id),
    selectors: selectorFilterOf(query),
    federatesWith:
      federates_with === undefined
        ? undefined
        : { trustDomains: federates_with.map(parseTrustDomainOrId), match },
    hint,
    downstream,
  };
}

function outcomeOf([outcome]: readonly EntryOutcome[]): EntryRecord {
  if (outcome === undefined) throw new AssayError("INTERNAL", "the change has no outcome");
  const { entry, error } = outcome;
  if (error === undefined) return entry;
  if (error.code === "ALREADY_EXISTS" && entry !== undefined) {
    throw new AssayError("ALREADY_EXISTS", `entry ${entry.id} is the same already`, { cause: error });
  }
  throw withJsonNames(error);
}

function absent(id: string): AssayError {
  return new AssayError("ENTRY_NOT_FOUND", `there is no entry ${id}`);
}

function about(summary: string) {
  return { tags: ["entries"], summary };
}

const entryParams = z.object({
  id: z
    .string()
    .regex(/^[A-Za-z0-9._-]{1,255}$/, "expected 1 to 255 letters, digits, dots, dashes or underscores")
    .describe("The entry's id"),
});

const listQuery = z.strictObject({
  spiffe_id: spiffeIdText.optional().describe("Only entries that give this SPIFFE ID"),
  parent_id: spiffeIdText.optional().describe("Only entries of this parent"),
  ...selectorQuery,
  federates_with: repeatable(trustDomainText, 100).describe("Trust domain; may be repeated"),
  federates_with_match: listMatch("trust domains"),
  hint: z.string().max(1024).optional().describe("Only entries with this hint"),
  downstream: flagQuery.describe("Only entries that are, or are not, downstream"),
  ...pageQuery,
});

const REFUSALS = [
  "CALLER_NOT_IDENTIFIED",
  "AUTHORIZATION_DENIED",
  "RATE_LIMITED",
  "STORE_UNAVAILABLE",
] as const;
const WRITE_FAULTS = [
  "INVALID_REQUEST",
  "INVALID_ENTRY",
  "INVALID_SPIFFE_ID",
  "INVALID_SELECTOR",
  "INVALID_TRUST_DOMAIN",
  "INVALID_AUDIENCE",
  "MESSAGE_TOO_LARGE",
  "UNSUPPORTED_MEDIA_TYPE",
  "AUDIT_UNAVAILABLE",
  ...REFUSALS,
] as const;
