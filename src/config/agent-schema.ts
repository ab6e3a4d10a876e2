import { SVID_KEY_TYPES } from "../spiffe/svid-key-type.ts";
import { z } from "zod";
import { REFERENCE_TYPES } from "../agent/broker/broker-settings.ts";
import * as kind from "./kinds.ts";
import {
  auditSchema,
  featuresSchema,
  logSchema,
  perSecond,
  pluginSchema,
  rateLimitSchema,
} from "./shared-schema.ts";

/** Rate limits of the agent, per calling user and second. */
export const agentRateLimits = z.strictObject({
  x509_svid: perSecond(100, "X509-SVID fetches and streams opened"),
  jwt_svid: perSecond(500, "JWT-SVIDs asked for"),
  bundles: perSecond(100, "Bundle fetches and streams opened"),
  validation: perSecond(1000, "JWT-SVIDs validated"),
});

/** What Envoy asks for secrets by. SPIRE's names. */
const sdsSchema = z
  .strictObject({
    default_svid_name: secretName("default", "Name of the caller's default X509-SVID"),
    default_bundle_name: secretName("ROOTCA", "Name of the own trust domain's bundle"),
    default_all_bundles_name: secretName("ALL", "Name of all bundles that the caller may have"),
    disable_spiffe_cert_validation: z.boolean().default(false).meta({
      description:
        "Send plain CA certificates in place of Envoy's SPIFFE validator; an Envoy's node metadata may say otherwise",
    }),
  })
  .prefault({});

/** Who may ask for whom on the Broker Endpoint. */
const brokerSchema = z.strictObject({
  addresses: z.array(kind.brokerAddress()).min(1).max(8).meta({
    description:
      "Where brokers connect: Unix sockets, ports, or both; each connection is mutual TLS with X509-SVIDs",
  }),
  socket_mode: socketMode("0660").meta({ description: "Who may connect to its Unix sockets" }),
  brokers: z
    .array(
      z.strictObject({
        id: kind
          .spiffeId()
          .meta({ description: "SPIFFE ID of the broker; its trust domain may be a foreign one" }),
        references: z
          .array(
            z.strictObject({
              type: z.enum(REFERENCE_TYPES).meta({
                description:
                  "`workload_pid` names a process of this node, `kubernetes_object` an object of the cluster, which needs an attestor for it",
              }),
              allow_over_tcp: z.boolean().default(false).meta({
                description: "Whether it may be used over TCP too, where a broker may be on another machine",
              }),
            }),
          )
          .min(1)
          .max(REFERENCE_TYPES.length)
          .meta({ description: "How this broker may name workloads" }),
      }),
    )
    .max(1000)
    .meta({ description: "Brokers that may call; nobody else may" }),
});

/** The configuration file of the agent. Keys are as in the file. */
export const agentSchema = z.strictObject({
  trust_domain: kind.trustDomain().meta({ description: "Trust domain of the server" }),
  server: kind.hostPort().meta({ description: "Address of the server API" }),
  trust_bundle: kind.path("file").optional().meta({
    description:
      "PEM certificates or SPIFFE bundle that the server is known by at the first start; later ones use what `data_dir` holds, and read this again where no server is believed any more and the file has changed",
  }),
  join_token_file: kind.path("file").optional().meta({
    description: "File with a join token, read when the agent attests; may be gone afterwards",
    may_be_missing: true,
  }),
  node_attestor: pluginSchema
    .optional()
    .meta({ description: "Node attestor other than `join_token`; not together with `join_token_file`" }),
  data_dir: kind.path("folder").prefault("/var/lib/assay/agent").meta({
    description: "Folder of the agent's key, its SVID and what it serves while the server is away; mode 0700",
  }),
  socket: kind.path("socket").prefault("/run/assay/agent.sock").meta({
    description: "Unix socket of the Workload API; every local user may connect",
    may_be_missing: true,
  }),
  admin_socket: kind.path("socket").meta({
    description: "Unix socket for local administration, and for delegates",
    derived: "admin.sock",
    may_be_missing: true,
  }),
  admin_socket_mode: socketMode("0600").meta({
    description:
      "Who may connect to `admin_socket`: delegates may run as another user than the agent, and everything else on it stays the agent's own user's",
  }),
  authorized_delegates: z.array(kind.spiffeId()).max(1000).default([]).meta({
    description:
      "SPIFFE IDs of workloads that may fetch the identities of all others of this agent by the Delegated Identity API",
  }),
  workload_attestors: z
    .array(pluginSchema)
    .min(1)
    .max(32)
    .default([{ type: "unix" }])
    .meta({ description: "Workload attestors that are asked about every caller, each type once" }),
  workload_key_type: z
    .enum(SVID_KEY_TYPES)
    .default("ec-p256")
    .meta({ description: "Key type of workloads' SVIDs, where their entries demand no other" }),
  sync_interval: kind
    .duration("500ms", "1h")
    .prefault("5s")
    .meta({ description: "How often the server is polled where it has no stream of changes" }),
  jwt_svid_cache_size: z
    .int()
    .min(1)
    .max(1_000_000)
    .default(1000)
    .meta({ description: "How many JWT-SVIDs are kept for workloads that ask again" }),
  allowed_foreign_jwt_claims: z.array(z.string().min(1).max(256)).max(100).default([]).meta({
    description: "Claims that are shown of JWT-SVIDs of foreign trust domains, beside `sub`, `exp` and `aud`",
  }),
  allow_unauthenticated_verifiers: z
    .boolean()
    .default(false)
    .meta({ description: "Give bundles also to callers without an identity" }),
  sds: sdsSchema,
  features: featuresSchema,
  broker: brokerSchema.optional().meta({
    description: "The Broker Endpoint; opened where `broker` is among `features`",
  }),
  rate_limit: rateLimitSchema(agentRateLimits),
  audit: auditSchema,
  log: logSchema,
});

function socketMode(mode: "0600" | "0660") {
  return z.enum(["0600", "0660", "0666"], { error: "expected 0600, 0660 or 0666, in quotes" }).default(mode);
}

function secretName(name: string, description: string) {
  return z
    .string()
    .min(1)
    .max(256)
    .regex(/^(?!spiffe:)[!-)+-~]+$/, "expected a name without spaces and asterisks that is no SPIFFE ID")
    .default(name)
    .meta({ description });
}
