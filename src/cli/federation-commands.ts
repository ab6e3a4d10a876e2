import type { MessageInitShape } from "@bufbuild/protobuf";
import type { Command } from "commander";
import { AssayError } from "../errors/assay-error.ts";
import { Bundle as BundleService } from "../proto/gen/spire/api/server/bundle/v1/bundle_pb.ts";
import { TrustDomain as TrustDomainService } from "../proto/gen/spire/api/server/trustdomain/v1/trustdomain_pb.ts";
import type { FederationRelationshipSchema } from "../proto/gen/spire/api/types/federationrelationship_pb.ts";
import type { RpcClient } from "../rpc/client.ts";
import type { TrustDomain } from "../spiffe/trust-domain.ts";
import { withAdminClient } from "./admin-client.ts";
import { readAdminJson } from "./admin-json.ts";
import { bundleInput, type BundleFormat, DELETE_MODES, wireBundle } from "./bundle-input.ts";
import { type CliIo, writeResult } from "./io.ts";
import { adminOptions, type AdminOptions, oneOf } from "./options.ts";
import { readInput } from "./read-input.ts";
import { facts, table } from "./table.ts";
import { itemFault, typedSpiffeId, typedTrustDomain } from "./wire-text.ts";

/** Adds `assay federation …`: relationships with foreign trust domains, on the server's admin socket. */
export function addFederationCommands(program: Command, io: CliIo): void {
  const federation = program
    .command("federation")
    .description(
      "relationships with foreign trust domains: where their bundles are fetched, and how that goes",
    );

  withRelationship(
    adminOptions(federation.command("create").description("federate with a foreign trust domain")),
  )
    .requiredOption("--url <url>", "https URL of its bundle endpoint")
    .requiredOption(
      "--profile <profile>",
      "how the endpoint proves itself: https_web or https_spiffe",
      profile,
    )
    .action((flags: AdminOptions & RelationshipFlags) =>
      withAdminClient(io, flags.adminSocket, async (client) => {
        const relationship = await relationshipOf(io, flags);
        const { results } = await client
          .service(TrustDomainService)
          .batchCreateFederationRelationship({ federationRelationships: [relationship] });
        refuse(itemFault(results[0]?.status), "cannot create the relationship");
        const { trustDomain } = relationship;
        writeResult(io, flags.output, { created: trustDomain }, () => `federating with ${trustDomain}`);
      }),
    );

  withRelationship(adminOptions(federation.command("update").description("change a relationship")))
    .option("--url <url>", "https URL of its bundle endpoint")
    .option("--profile <profile>", "how the endpoint proves itself: https_web or https_spiffe", profile)
    .action((flags: AdminOptions & RelationshipFlags) =>
      withAdminClient(io, flags.adminSocket, async (client) => {
        const relationship = await relationshipOf(io, flags);
        const { results } = await client.service(TrustDomainService).batchUpdateFederationRelationship({
          federationRelationships: [relationship],
          inputMask: {
            bundleEndpointUrl: flags.url !== undefined,
            bundleEndpointProfile: flags.profile !== undefined,
            trustDomainBundle: flags.bundleFile !== undefined,
          },
        });
        refuse(itemFault(results[0]?.status), "cannot update the relationship");
        const { trustDomain } = relationship;
        writeResult(
          io,
          flags.output,
          { updated: trustDomain },
          () => `updated the relationship with ${trustDomain}`,
        );
      }),
    );

  adminOptions(federation.command("list").description("list relationships and how they fare")).action(
    async (flags: AdminOptions) => {
      const path = "/v1/federation-relationships";
      const answer = await readAdminJson<{ federation_relationships: readonly Relationship[] }>(
        io,
        flags.adminSocket,
        path,
      );
      const all = answer.federation_relationships;
      writeResult(io, flags.output, all, () =>
        all.length === 0
          ? "no relationships with foreign trust domains"
          : table(["TRUST DOMAIN", "PROFILE", "URL", "SEQUENCE", "UP TO DATE", "STATE"], all.map(row)),
      );
    },
  );

  adminOptions(federation.command("show").description("show one relationship and how it fares"))
    .requiredOption("--trust-domain <name>", "the foreign trust domain")
    .action(async (flags: AdminOptions & { trustDomain: string }) => {
      const trustDomain = typedTrustDomain(flags.trustDomain, "--trust-domain");
      const path = `/v1/federation-relationships/${trustDomain}`;
      const found = await readAdminJson<Relationship>(io, flags.adminSocket, path);
      writeResult(io, flags.output, found, () => relationshipText(found));
    });

  adminOptions(federation.command("delete").description("end a relationship; the bundle stays unless told"))
    .requiredOption("--trust-domain <name>", "the foreign trust domain")
    .option(
      "--bundle <mode>",
      "keep the bundle, or delete it and treat entries that name it: restrict (refuse), dissociate or delete",
      oneOf("--bundle", ["keep", "restrict", "dissociate", "delete"]),
      "keep",
    )
    .action((flags: AdminOptions & { trustDomain: string; bundle: "keep" | keyof typeof DELETE_MODES }) =>
      withAdminClient(io, flags.adminSocket, async (client) => {
        const trustDomain = typedTrustDomain(flags.trustDomain, "--trust-domain");
        const { results } = await client
          .service(TrustDomainService)
          .batchDeleteFederationRelationship({ trustDomains: [trustDomain] });
        refuse(itemFault(results[0]?.status), "cannot delete the relationship");
        if (flags.bundle !== "keep") await deleteBundle(client, trustDomain, flags.bundle);
        writeResult(
          io,
          flags.output,
          { deleted: trustDomain },
          () => `no longer federating with ${trustDomain}`,
        );
      }),
    );

  adminOptions(federation.command("refresh").description("fetch the bundle of a foreign trust domain now"))
    .requiredOption("--trust-domain <name>", "the foreign trust domain")
    .action((flags: AdminOptions & { trustDomain: string }) =>
      withAdminClient(io, flags.adminSocket, async (client) => {
        const trustDomain = typedTrustDomain(flags.trustDomain, "--trust-domain");
        await client.service(TrustDomainService).refreshBundle({ trustDomain });
        writeResult(
          io,
          flags.output,
          { refreshed: trustDomain },
          () => `refreshed the bundle of ${trustDomain}`,
        );
      }),
    );
}

type WireRelationship = MessageInitShape<typeof FederationRelationshipSchema>;

interface RelationshipFlags {
  readonly trustDomain: string;
  readonly url?: string;
  readonly profile?: "https_web" | "https_spiffe";
  readonly endpointSpiffeId?: string;
  readonly bundleFile?: string;
  readonly bundleFormat: BundleFormat;
}

/** A relationship as the server answers it, as far as it is shown. */
interface Relationship {
  readonly trust_domain: string;
  readonly bundle_endpoint_url: string;
  readonly bundle_endpoint_profile: { readonly type: string; readonly endpoint_spiffe_id?: string };
  readonly source: string;
  readonly bundle_sequence: string | null;
  readonly last_attempt_at: string | null;
  readonly last_success_at: string | null;
  readonly next_attempt_at: string | null;
  readonly last_error: string | null;
}

function withRelationship(command: Command): Command {
  return command
    .requiredOption("--trust-domain <name>", "the foreign trust domain")
    .option("--endpoint-spiffe-id <id>", "SPIFFE ID of the endpoint, for https_spiffe")
    .option("--bundle-file <path>", "bundle to begin with; - reads standard input")
    .option(
      "--bundle-format <format>",
      "pem (X.509 authorities alone) or spiffe (the whole JSON document)",
      oneOf<BundleFormat>("--bundle-format", ["pem", "spiffe"]),
      "pem",
    );
}

const profile = oneOf("--profile", ["https_web", "https_spiffe"]);

async function relationshipOf(
  io: CliIo,
  flags: RelationshipFlags,
): Promise<WireRelationship & { readonly trustDomain: TrustDomain }> {
  const trustDomain = typedTrustDomain(flags.trustDomain, "--trust-domain");
  return {
    trustDomain,
    bundleEndpointUrl: flags.url ?? "",
    bundleEndpointProfile: profileOf(flags),
    ...(flags.bundleFile !== undefined && {
      trustDomainBundle: wireBundle(
        bundleInput(
          trustDomain,
          await readInput(io, flags.bundleFile, "--bundle-file"),
          flags.bundleFormat,
          "--bundle-file",
        ),
      ),
    }),
  };
}

function profileOf(flags: RelationshipFlags): NonNullable<WireRelationship["bundleEndpointProfile"]> {
  const { profile: type, endpointSpiffeId } = flags;
  if (type !== "https_spiffe") {
    if (endpointSpiffeId !== undefined) {
      throw new AssayError("USAGE", "--endpoint-spiffe-id: is for --profile https_spiffe only");
    }
    return type === undefined ? { case: undefined } : { case: "httpsWeb", value: {} };
  }
  if (endpointSpiffeId === undefined) {
    throw new AssayError("USAGE", "--endpoint-spiffe-id: is missing, https_spiffe needs it");
  }
  const id = typedSpiffeId(endpointSpiffeId, "--endpoint-spiffe-id");
  return { case: "httpsSpiffe", value: { endpointSpiffeId: id } };
}

async function deleteBundle(
  client: RpcClient,
  trustDomain: TrustDomain,
  mode: keyof typeof DELETE_MODES,
): Promise<void> {
  const { results } = await client
    .service(BundleService)
    .batchDeleteFederatedBundle({ trustDomains: [trustDomain], mode: DELETE_MODES[mode] });
  refuse(itemFault(results[0]?.status), "the relationship is gone, but its bundle cannot be deleted");
}

function refuse(fault: string | undefined, what: string): void {
  if (fault !== undefined) throw new AssayError("INVALID_RELATIONSHIP", `${what}: ${fault}`);
}

function row(one: Relationship): readonly string[] {
  return [
    one.trust_domain,
    one.bundle_endpoint_profile.type,
    one.bundle_endpoint_url,
    one.bundle_sequence ?? "no bundle",
    one.last_success_at ?? "never",
    stateOf(one),
  ];
}

function relationshipText(one: Relationship): string {
  const { endpoint_spiffe_id: id } = one.bundle_endpoint_profile;
  return facts([
    ["Trust domain", one.trust_domain],
    ["Endpoint", one.bundle_endpoint_url],
    ["Profile", one.bundle_endpoint_profile.type],
    ...(id === undefined ? [] : [["SPIFFE ID", id] as const]),
    ["Written in", one.source],
    ["Bundle", one.bundle_sequence === null ? "none" : `sequence ${one.bundle_sequence}`],
    ["Up to date at", one.last_success_at ?? "never since the server began"],
    ["Next attempt", one.next_attempt_at ?? "now"],
    ["State", stateOf(one)],
  ]);
}

function stateOf({ last_attempt_at, last_error }: Relationship): string {
  if (last_error !== null) return `failing: ${last_error}`;
  return last_attempt_at === null ? "asking" : "fresh";
}
