import type { Command } from "commander";
import { formatBundleDocument } from "../crypto/bundle-document.ts";
import { toPem } from "../crypto/pem.ts";
import { AssayError } from "../errors/assay-error.ts";
import { Bundle as BundleService } from "../proto/gen/spire/api/server/bundle/v1/bundle_pb.ts";
import type { Bundle } from "../proto/gen/spire/api/types/bundle_pb.ts";
import { withAdminClient } from "./admin-client.ts";
import {
  type BundleFormat,
  bundleFromWire,
  bundleInput,
  DELETE_MODES,
  foreignBundles,
  wireBundle,
} from "./bundle-input.ts";
import { addBundleMapCommands } from "./bundle-map-commands.ts";
import { addCrlCommands } from "./crl-commands.ts";
import { type CliIo, writeResult } from "./io.ts";
import { adminOptions, type AdminOptions, oneOf } from "./options.ts";
import { readInput } from "./read-input.ts";
import { itemFault, typedTrustDomain } from "./wire-text.ts";

/** Adds `assay bundle …`: the own bundle and those of foreign trust domains, on the server's admin socket. */
export function addBundleCommands(program: Command, io: CliIo): void {
  const bundle = program
    .command("bundle")
    .description("SPIFFE bundles: whom a trust domain's SVIDs chain to");

  withFormat(adminOptions(bundle.command("show").description("show the own bundle"))).action(
    (flags: AdminOptions & FormatFlag) =>
      withAdminClient(io, flags.adminSocket, async (client) => {
        writeBundle(io, flags, await client.service(BundleService).getBundle({}));
      }),
  );

  withFormat(adminOptions(bundle.command("list").description("list the bundles of foreign trust domains")))
    .option("--trust-domain <name>", "only this one")
    .action((flags: AdminOptions & FormatFlag & { trustDomain?: string }) =>
      withAdminClient(io, flags.adminSocket, async (client) => {
        const service = client.service(BundleService);
        if (flags.trustDomain !== undefined) {
          const trustDomain = typedTrustDomain(flags.trustDomain, "--trust-domain");
          writeBundle(io, flags, await service.getFederatedBundle({ trustDomain }));
          return;
        }
        const bundles = await foreignBundles(service);
        writeResult(io, flags.output, bundles.map(documentOf), () =>
          bundles.length === 0
            ? "no bundles of foreign trust domains"
            : bundles.map((found) => `# ${found.trustDomain}\n${bundleText(found, flags.format)}`).join("\n"),
        );
      }),
    );

  withFormat(adminOptions(bundle.command("set").description("set the bundle of a foreign trust domain")))
    .requiredOption("--trust-domain <name>", "the trust domain")
    .requiredOption("--file <path>", "the bundle; - reads standard input")
    .action((flags: AdminOptions & FormatFlag & { trustDomain: string; file: string }) =>
      withAdminClient(io, flags.adminSocket, async (client) => {
        const content = await readInput(io, flags.file);
        const trustDomain = typedTrustDomain(flags.trustDomain, "--trust-domain");
        const wanted = bundleInput(trustDomain, content, flags.format, "--file");
        const { results } = await client
          .service(BundleService)
          .batchSetFederatedBundle({ bundle: [wireBundle(wanted)] });
        const fault = itemFault(results[0]?.status);
        if (fault !== undefined) throw new AssayError("INVALID_BUNDLE", `cannot set the bundle: ${fault}`);
        writeResult(
          io,
          flags.output,
          { set: wanted.trustDomain },
          () => `set the bundle of ${wanted.trustDomain}`,
        );
      }),
    );

  adminOptions(bundle.command("delete").description("delete the bundle of a foreign trust domain"))
    .requiredOption("--trust-domain <name>", "the trust domain")
    .option(
      "--mode <mode>",
      "entries that federate with it: restrict (refuse), dissociate or delete",
      oneOf("--mode", ["restrict", "dissociate", "delete"]),
      "restrict",
    )
    .action((flags: AdminOptions & { trustDomain: string; mode: keyof typeof DELETE_MODES }) =>
      withAdminClient(io, flags.adminSocket, async (client) => {
        const trustDomain = typedTrustDomain(flags.trustDomain, "--trust-domain");
        const { results } = await client
          .service(BundleService)
          .batchDeleteFederatedBundle({ trustDomains: [trustDomain], mode: DELETE_MODES[flags.mode] });
        const fault = itemFault(results[0]?.status);
        if (fault !== undefined)
          throw new AssayError("BUNDLE_NOT_FOUND", `cannot delete the bundle: ${fault}`);
        writeResult(io, flags.output, { deleted: trustDomain }, () => `deleted the bundle of ${trustDomain}`);
      }),
    );

  addBundleMapCommands(bundle, io);
  addCrlCommands(bundle, io);
}

interface FormatFlag {
  readonly format: BundleFormat;
}

function withFormat(command: Command): Command {
  return command.option(
    "--format <format>",
    "pem (X.509 authorities alone) or spiffe (the whole JSON document)",
    oneOf<FormatFlag["format"]>("--format", ["pem", "spiffe"]),
    "pem",
  );
}

function writeBundle(io: CliIo, flags: AdminOptions & FormatFlag, bundle: Bundle): void {
  writeResult(io, flags.output, documentOf(bundle), () => bundleText(bundle, flags.format));
}

function bundleText(bundle: Bundle, format: FormatFlag["format"]): string {
  if (format === "pem") return bundle.x509Authorities.map(({ asn1 }) => toPem("CERTIFICATE", asn1)).join("");
  return formatBundleDocument(bundleFromWire(bundle));
}

function documentOf(bundle: Bundle): unknown {
  return {
    trust_domain: bundle.trustDomain,
    ...(JSON.parse(formatBundleDocument(bundleFromWire(bundle))) as object),
  };
}
