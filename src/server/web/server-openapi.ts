import { systemClock } from "../../clock.ts";
import { AssayError } from "../../errors/assay-error.ts";
import { parseTrustDomain } from "../../spiffe/trust-domain.ts";
import { buildWebApp } from "./web-app.ts";

/**
 * The OpenAPI 3.1 document of the server's web face, for the documentation: the same at every call, without hosts or
 * ports.
 */
export async function buildServerOpenApi(): Promise<object> {
  await using app = await buildWebApp({
    face: "web",
    clock: systemClock,
    trustDomain: parseTrustDomain("example.org"),
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
    taskIssuance: { identities: unserved, end: unserved },
    taskWebhooks: {
      attestors: new Map(),
      tasks: { list: unserved, catchUp: unserved },
      taskIssuance: { end: unserved },
      callerOf: unserved,
      audit: { append: unserved },
      refusals: { take: unserved },
    },
    taskApi: {
      trustDomain: parseTrustDomain("example.org"),
      taskGuard: { admit: unserved },
      callerOf: unserved,
      taskLimit: { take: unserved },
      taskIssuance: {
        identities: unserved,
        x509Svid: unserved,
        jwtSvid: unserved,
        witSvid: unserved,
        heartbeat: unserved,
        end: unserved,
      },
      bundleOf: unserved,
      crlsOf: unserved,
    },
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
