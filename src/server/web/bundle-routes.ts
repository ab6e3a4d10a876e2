import type { FastifySchemaCompiler } from "fastify";
import { z } from "zod";
import type { $ZodType } from "zod/v4/core";
import { formatBundleDocument, parseBundleDocument } from "../../crypto/bundle-document.ts";
import { AssayError } from "../../errors/assay-error.ts";
import type { HttpRoutes } from "../../http/http-routes.ts";
import { problemResponses } from "../../http/problem.ts";
import { requestValidator } from "../../http/request-fault.ts";
import type { SpiffeBundle } from "../../spiffe/bundle.ts";
import { parseTrustDomainOrId, type TrustDomain } from "../../spiffe/trust-domain.ts";
import type { BundleOperations } from "../operations/bundle-operations.ts";
import { bundleDocumentSchema } from "./bundle-schema.ts";
import { trustDomainText } from "./json-values.ts";
import type { OperatorGuard } from "./operator-guard.ts";

/** What the routes need. */
export interface BundleRoutesOptions {
  readonly trustDomain: TrustDomain;
  readonly signing: { bundle(): SpiffeBundle };
  /** Bundles of foreign trust domains; one of the own among them is passed over. */
  readonly bundles: {
    get(trustDomain: TrustDomain): Promise<SpiffeBundle | undefined>;
    list(): Promise<readonly SpiffeBundle[]>;
  };
  readonly operations: Pick<BundleOperations, "setFederatedBundle" | "deleteFederatedBundle">;
}

/** Adds `GET /v1/trust-bundle`, the own bundle, which is public. */
export function trustBundleRoutes(routes: HttpRoutes, options: Pick<BundleRoutesOptions, "signing">): void {
  routes.get(
    "/v1/trust-bundle",
    {
      schema: {
        tags: ["bundles"],
        summary: "Read the SPIFFE bundle of the server's own trust domain",
        response: { 200: bundleDocumentSchema },
      },
    },
    async (_request, reply) => reply.type("application/json").send(documentOf(options.signing.bundle())),
  );
}

/** Adds the bundles: list, read, write and delete those of foreign trust domains, read the own. */
export function bundleRoutes(routes: HttpRoutes, options: BundleRoutesOptions, guard: OperatorGuard): void {
  const { trustDomain: own, signing, bundles, operations } = options;
  // A bundle is read by its own strict reader, which needs the bytes: members named twice, and a sequence that no
  // double can hold, are gone once JSON.parse has seen them.
  routes.removeContentTypeParser("application/json");
  routes.addContentTypeParser("application/json", { parseAs: "buffer" }, (_request, body, done) =>
    done(null, body),
  );

  routes.get(
    "/v1/bundles",
    {
      schema: {
        ...about("List the bundles of all trust domains, the own first"),
        response: {
          200: z.object({ bundles: z.array(summarySchema) }),
          ...problemResponses(...REFUSALS),
        },
      },
    },
    async () => {
      const federated = (await bundles.list()).filter(({ trustDomain }) => trustDomain !== own);
      return { bundles: [signing.bundle(), ...federated].map(summaryOf) };
    },
  );

  routes.get(
    "/v1/bundles/:trust_domain",
    {
      schema: {
        ...about("Read the bundle of a trust domain"),
        params: bundleParams,
        response: { 200: bundleDocumentSchema, ...FAULTS },
      },
    },
    async ({ params }, reply) => {
      const trustDomain = parseTrustDomainOrId(params.trust_domain);
      const bundle = trustDomain === own ? signing.bundle() : await bundles.get(trustDomain);
      if (bundle === undefined) {
        throw new AssayError("BUNDLE_NOT_FOUND", `there is no bundle of trust domain ${trustDomain}`);
      }
      return reply.type("application/json").send(documentOf(bundle));
    },
  );

  routes.put(
    "/v1/bundles/:trust_domain",
    {
      bodyLimit: MAX_BUNDLE_BYTES,
      validatorCompiler: bytesForBody,
      schema: {
        ...about("Write the bundle of a foreign trust domain"),
        params: bundleParams,
        querystring: writeQuery,
        body: bundleDocumentSchema,
        response: {
          200: bundleDocumentSchema,
          ...problemResponses(
            ...FAULT_CODES,
            "INVALID_BUNDLE",
            "ALREADY_EXISTS",
            "MESSAGE_TOO_LARGE",
            "UNSUPPORTED_MEDIA_TYPE",
          ),
        },
      },
    },
    async (request, reply) => {
      const body: unknown = request.body;
      if (!Buffer.isBuffer(body))
        throw new AssayError("INVALID_BUNDLE", "the body is missing, expected a bundle");
      const bundle = parseBundleDocument(parseTrustDomainOrId(request.params.trust_domain), body, {
        broken: "refuse",
      });
      const stored = await operations.setFederatedBundle(guard.callOf(request), bundle, request.query.mode);
      return reply.type("application/json").send(documentOf(stored));
    },
  );

  routes.delete(
    "/v1/bundles/:trust_domain",
    {
      schema: {
        ...about("Delete the bundle of a foreign trust domain"),
        params: bundleParams,
        querystring: deleteQuery,
        response: {
          204: z.null().describe("It is gone"),
          ...problemResponses(...FAULT_CODES, "BUNDLE_IN_USE", "INVALID_BUNDLE"),
        },
      },
    },
    async (request, reply) => {
      const trustDomain = parseTrustDomainOrId(request.params.trust_domain);
      await operations.deleteFederatedBundle(guard.callOf(request), trustDomain, request.query.mode);
      return reply.code(204).send(null);
    },
  );
}

const bytesForBody: FastifySchemaCompiler<unknown> = (route) =>
  route.httpPart === "body"
    ? (data: unknown) => ({ value: data })
    : requestValidator({ ...route, schema: route.schema as $ZodType });

// The document goes out as the text that was written: a sequence above 2^53 does not survive JSON.stringify. The type
// of an answer knows only values that have the document's schema.
function documentOf(bundle: SpiffeBundle): never {
  return formatBundleDocument(bundle) as never;
}

function summaryOf(bundle: SpiffeBundle): z.output<typeof summarySchema> {
  return {
    trust_domain: bundle.trustDomain,
    sequence: String(bundle.sequence),
    refresh_hint: bundle.refreshHint,
    x509_authorities: bundle.x509Authorities.length,
    jwt_authorities: bundle.jwtAuthorities.length,
  };
}

function about(summary: string) {
  return { tags: ["bundles"], summary };
}

const bundleParams = z.object({ trust_domain: trustDomainText });

const writeQuery = z.strictObject({
  mode: z
    .enum(["set", "create", "update"])
    .default("set")
    .describe("`create` only where there is none, `update` only where there is one, `set` either way"),
});

const deleteQuery = z.strictObject({
  mode: z
    .enum(["restrict", "dissociate", "delete"])
    .default("restrict")
    .describe(
      "Entries that name it: with `restrict` they keep it from being deleted, `dissociate` takes the name out of them, `delete` deletes them",
    ),
});

const summarySchema = z
  .object({
    trust_domain: z.string(),
    sequence: z.string().describe("Sequence number in decimal digits; may exceed 2^53"),
    refresh_hint: z.int().describe("Seconds between refreshes, 0 where the bundle says nothing"),
    x509_authorities: z.int().describe("How many"),
    jwt_authorities: z.int().describe("How many"),
  })
  .meta({ id: "BundleSummary", description: "What a bundle holds" });

const MAX_BUNDLE_BYTES = 4 * 1024 * 1024;
const REFUSALS = [
  "CALLER_NOT_IDENTIFIED",
  "AUTHORIZATION_DENIED",
  "RATE_LIMITED",
  "STORE_UNAVAILABLE",
] as const;
const FAULT_CODES = [
  "INVALID_REQUEST",
  "INVALID_TRUST_DOMAIN",
  "BUNDLE_NOT_FOUND",
  "AUDIT_UNAVAILABLE",
  ...REFUSALS,
] as const;
const FAULTS = problemResponses(...FAULT_CODES);
