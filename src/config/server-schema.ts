import { z } from "zod";
import { federationSchema } from "./federation-schema.ts";
import * as kind from "./kinds.ts";
import {
  auditSchema,
  featuresSchema,
  logSchema,
  perSecond,
  pluginSchema,
  rateLimitSchema,
} from "./shared-schema.ts";
import { taskAttestorsSchema, tasksSchema } from "./task-schema.ts";

const keyType = z.enum(["ec-p256", "ec-p384", "rsa-2048", "rsa-4096"]);

/** Rate limits of the server, per caller and second. */
export const serverRateLimits = z.strictObject({
  attestation: perSecond(10, "Node attestations"),
  signing: perSecond(500, "SVIDs signed"),
  bundle: perSecond(100, "Changes of bundles and keys"),
  token: perSecond(100, "Requests of the OAuth endpoints"),
  task: perSecond(20, "Calls of one task"),
});

/** The configuration file of the server. Keys are as in the file. */
export const serverSchema = z.strictObject({
  trust_domain: kind.trustDomain().meta({ description: "Trust domain that the server is the authority of" }),
  data_dir: kind
    .path("folder")
    .prefault("/var/lib/assay/server")
    .meta({ description: "Folder of the store, the keys and the audit log; made with mode 0700" }),
  listen: kind
    .hostPort()
    .prefault("127.0.0.1:8081")
    .meta({ description: "Address of the server API for agents and downstream servers (gRPC over TLS)" }),
  web_listen: kind
    .hostPort()
    .prefault("127.0.0.1:8443")
    .meta({ description: "Address of the web port: operator API, OIDC discovery, health, metrics" }),
  admin_socket: kind.path("socket").meta({
    description: "Unix socket for local administration; mode 0600",
    derived: "admin.sock",
    may_be_missing: true,
  }),
  ca_ttl: kind.lifetime("1m", "3650d").prefault("24h").meta({ description: "Lifetime of an authority" }),
  ca_key_type: keyType.default("ec-p256").meta({ description: "Key type of X.509 authorities" }),
  jwt_key_type: keyType.default("ec-p256").meta({ description: "Key type of JWT authorities" }),
  ca_path_length: z.int().min(0).max(7).optional().meta({
    description:
      "How many levels of servers may follow below a server whose X.509 authority this one signs (pathLenConstraint); any number where absent",
  }),
  ca_name_constraints: z.boolean().default(false).meta({
    description:
      "Whether X.509 authorities of servers below carry name constraints that permit this trust domain alone; some TLS libraries cannot read them",
  }),
  ca_subject: z
    .strictObject({
      country: z.string().length(2).optional().meta({ description: "Country (C) of an authority's subject" }),
      organization: z.string().min(1).max(64).default("SPIFFE").meta({ description: "Organization (O)" }),
    })
    .prefault({}),
  default_x509_svid_ttl: kind
    .lifetime("10s", "365d")
    .prefault("1h")
    .meta({ description: "Lifetime of an X509-SVID whose entry names none" }),
  max_x509_svid_ttl: kind
    .lifetime("10s", "365d")
    .prefault("24h")
    .meta({ description: "Longest lifetime of an X509-SVID that an entry may name" }),
  default_jwt_svid_ttl: kind
    .lifetime("10s", "24h")
    .prefault("5m")
    .meta({ description: "Lifetime of a JWT-SVID whose entry names none" }),
  max_jwt_svid_ttl: kind
    .lifetime("10s", "24h")
    .prefault("1h")
    .meta({ description: "Longest lifetime of a JWT-SVID that an entry may name" }),
  default_wit_svid_ttl: kind
    .lifetime("10s", "365d")
    .prefault("1h")
    .meta({ description: "Lifetime of a WIT-SVID whose entry names none for X509-SVIDs" }),
  max_wit_svid_ttl: kind
    .lifetime("10s", "365d")
    .prefault("24h")
    .meta({ description: "Longest lifetime of a WIT-SVID" }),
  default_access_token_ttl: kind
    .lifetime("10s", "24h")
    .prefault("5m")
    .meta({ description: "Lifetime of an access token whose entry names none for JWT-SVIDs" }),
  max_access_token_ttl: kind
    .lifetime("10s", "24h")
    .prefault("15m")
    .meta({ description: "Longest lifetime of an access token that an identity is exchanged for" }),
  wit_proof_of_possession: z.enum(["optional", "required"]).default("optional").meta({
    description:
      "`required`: a WIT-SVID is given only to an agent that proves to hold its key, which SPIRE's agents do not. `optional`: a proof is checked where there is one",
  }),
  agent_ttl: kind
    .lifetime("10s", "365d")
    .prefault("1h")
    .meta({ description: "Lifetime of an agent's X509-SVID" }),
  jwt_issuer: kind.httpsUrl().optional().meta({
    description: "`iss` of JWT-SVIDs and issuer of OIDC discovery; JWT-SVIDs have no `iss` where absent",
  }),
  rs256_audiences: z.array(z.string().min(1).max(1024)).max(1000).default([]).meta({
    description:
      "Audiences that verify RS256 and nothing else: a JWT-SVID for these alone is signed by an RSA key, made when the first is named here",
  }),
  rate_limit: rateLimitSchema(serverRateLimits),
  // Only those who attest, fetch the public bundle or keys, or use the web port without an SVID are counted, and each
  // for seconds; a thousand at once leaves room for a CI fleet behind one NAT, and descriptors for everybody else.
  max_connections_per_address: z.int().min(1).max(1_000_000).default(1000).meta({
    description:
      "Connections without an SVID that one address (of IPv6 a /64) may have open at each port, handshakes under way included; further ones are closed at once. Agents that have attested do not count",
  }),
  key_manager: pluginSchema
    .extend({
      type: pluginSchema.shape.type
        .default("disk")
        .meta({ description: "Where private keys of authorities live" }),
    })
    .prefault({}),
  upstream_authority: pluginSchema.optional().meta({
    description:
      "Authority outside of the trust domain that signs our X.509 authorities; they sign themselves where absent",
  }),
  node_attestors: z
    .array(pluginSchema)
    .min(1)
    .max(32)
    .default([{ type: "join_token" }])
    .meta({ description: "Node attestors that agents may use, each type once" }),
  credential_composers: z.array(pluginSchema).max(8).default([]).meta({
    description:
      "Credential composers, asked one after the other what SVIDs hold besides an identity, each type once",
  }),
  task_attestors: taskAttestorsSchema,
  tasks: tasksSchema,
  admin_ids: z
    .array(kind.spiffeId())
    .max(1000)
    .prefault([])
    .meta({ description: "SPIFFE IDs that are administrators without an entry saying so" }),
  metrics_readers: z
    .union([z.literal("anyone"), z.array(kind.spiffeId()).max(1000)])
    .prefault([])
    .meta({
      description:
        "Who may read `/metrics` on the web port beside operators: these SPIFFE IDs, or `anyone` who reaches it",
    }),
  oidc_domains: z
    .array(z.string().min(1).max(253))
    .max(100)
    .default([])
    .meta({ description: "Host names under which OIDC discovery is served beside that of `jwt_issuer`" }),
  jwks_uri: kind.httpsUrl().optional().meta({
    description: "Where OIDC discovery says the keys are; `/keys` of the issuer where absent",
  }),
  features: featuresSchema,
  federation: federationSchema
    .optional()
    .meta({ description: "Trust domains that are federated with, and the own bundle endpoint" }),
  audit: auditSchema,
  log: logSchema,
});
