import { systemClock } from "../../clock.ts";
import { AssayError } from "../../errors/assay-error.ts";
import { parseTrustDomain } from "../../spiffe/trust-domain.ts";
import { DEFAULT_POLICY } from "../../policy/policy-options.ts";
import { createOAuth } from "../oauth/oauth.ts";
import { buildWebApp, type WebAppOptions } from "./web-app.ts";

const trustDomain = parseTrustDomain("example.org");

/**
 * The OpenAPI 3.1 document of the server's web face, for the documentation: the same at every call, without hosts or
 * ports.
 */
export async function buildServerOpenApi(): Promise<object> {
  await using app = await buildWebApp({
    face: "web",
    clock: systemClock,
    trustDomain,
    log: { debug: unserved, error: unserved },
    requestId: unserved,
    callerOf: unserved,
    access: { holds: unserved },
    audit: { append: unserved },
    refusals: { take: unserved },
    health: unserved,
    metrics: { render: unserved, contentType: "text/plain" },
    metricsReaders: "anyone",
    signing: { bundle: unserved },
    bundles: { get: unserved, list: unserved },
    registry: { entries: { get: unserved, list: unserved }, nodes: { get: unserved, list: unserved } },
    decisions: { find: unserved },
    taskRecords: { get: unserved, list: unserved },
    credentials: { ofTask: unserved },
    ...UNSERVED_TASKS,
    federation: { configured: [], statuses: unserved },
    bundleOf: unserved,
    federationOperations: {
      createRelationship: unserved,
      updateRelationship: unserved,
      deleteRelationship: unserved,
      refreshBundle: unserved,
    },
    operations: {
      createEntries: unserved,
      updateEntries: unserved,
      deleteEntries: unserved,
      evictAgent: unserved,
      banAgent: unserved,
      purgeAgents: unserved,
      createJoinToken: unserved,
      setFederatedBundle: unserved,
      deleteFederatedBundle: unserved,
    },
  });
  return await app.openapi();
}

// The document is made from the routes' schemas alone; no request ever reaches this application.
function unserved(): never {
  throw new AssayError("INTERNAL", "an application made for its document serves no request");
}

const issuance = {
  identities: unserved,
  x509Svid: unserved,
  jwtSvid: unserved,
  witSvid: unserved,
  heartbeat: unserved,
  end: unserved,
};
const audit = { append: unserved };

/** Tasks and tokens of an application that serves none: whatever is asked fails. */
export const UNSERVED_TASKS = {
  revokeOperations: { revokeTask: unserved, revokeCredential: unserved, revokeAgent: unserved },
  lists: { crls: unserved, status: { token: unserved, addresses: unserved }, path: "" },
  taskIssuance: issuance,
  taskExplanation: {
    identities: unserved,
    attestors: new Map(),
    tasks: { byKey: unserved },
    taskRecords: { get: unserved },
    credentials: { ofTask: unserved },
    settings: { maxDuration: 0 },
    searchAudit: unserved,
  },
  taskApi: {
    trustDomain,
    taskGuard: { admit: unserved },
    callerOf: unserved,
    taskLimit: { take: unserved },
    taskIssuance: issuance,
    bundleOf: unserved,
    crlsOf: unserved,
  },
  taskWebhooks: {
    attestors: new Map(),
    tasks: { list: unserved, catchUp: unserved },
    taskIssuance: issuance,
    callerOf: unserved,
    audit,
    refusals: { take: unserved },
  },
  oauth: createOAuth({
    exchange: {
      audit,
      newDecisionId: unserved,
      trustDomain,
      clock: systemClock,
      policy: DEFAULT_POLICY,
      signing: { bundle: unserved, jwtAuthorityNotAfter: unserved, mintAccessToken: unserved },
      issuer: "https://example.org",
      entriesOf: unserved,
      entry: unserved,
      tasks: { active: unserved },
      identities: unserved,
      endTask: unserved,
      credentials: { get: unserved, record: unserved, reserveStatus: unserved, revoke: unserved },
      statusListUri: unserved,
      newTokenId: unserved,
      grace: 0,
      witSvids: false,
    },
    openTask: unserved,
    callerOf: unserved,
    limit: { take: unserved },
    log: { debug: unserved, error: unserved },
    random: (octets) => new Uint8Array(octets),
  }),
} satisfies Pick<
  WebAppOptions,
  "revokeOperations" | "taskIssuance" | "taskExplanation" | "taskApi" | "taskWebhooks" | "oauth" | "lists"
>;
