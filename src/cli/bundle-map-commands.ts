import type { Command } from "commander";
import { formatBundleMap, parseBundleMap } from "../crypto/bundle-map.ts";
import { AssayError } from "../errors/assay-error.ts";
import { Bundle as BundleService } from "../proto/gen/spire/api/server/bundle/v1/bundle_pb.ts";
import type { SpiffeBundle } from "../spiffe/bundle.ts";
import { withAdminClient } from "./admin-client.ts";
import { bundleFromWire, DELETE_MODES, foreignBundles, wireBundle } from "./bundle-input.ts";
import { type CliIo, writeResult } from "./io.ts";
import { adminOptions, type AdminOptions, oneOf } from "./options.ts";
import { readInput } from "./read-input.ts";
import { itemFault } from "./wire-text.ts";

/** Adds `assay bundle map …`: all bundles in one document, a SPIFFE bundle map, on the server's admin socket. */
export function addBundleMapCommands(bundle: Command, io: CliIo): void {
  const map = bundle.command("map").description("all bundles in one document: a SPIFFE bundle map");

  adminOptions(
    map.command("show").description("write the own bundle and those of foreign trust domains"),
  ).action((flags: AdminOptions) =>
    withAdminClient(io, flags.adminSocket, async (client) => {
      const service = client.service(BundleService);
      const wire = [await service.getBundle({}), ...(await foreignBundles(service))];
      const text = formatBundleMap(wire.map(bundleFromWire));
      writeResult(io, flags.output, JSON.parse(text) as unknown, () => text);
    }),
  );

  adminOptions(map.command("set").description("set the bundles of the foreign trust domains in a map"))
    .requiredOption(
      "--file <path>",
      "the map; - reads standard input. The own trust domain in it is passed over",
    )
    .option(
      "--prune <mode>",
      "also delete bundles that the map has not; entries that federate with them: restrict (refuse), dissociate or delete",
      oneOf<keyof typeof DELETE_MODES>("--prune", ["restrict", "dissociate", "delete"]),
    )
    .action((flags: AdminOptions & { file: string; prune?: keyof typeof DELETE_MODES }) =>
      withAdminClient(io, flags.adminSocket, async (client) => {
        const service = client.service(BundleService);
        const bundles = mapOf(await readInput(io, flags.file));
        const { trustDomain: own } = await service.getBundle({ outputMask: {} });
        const wanted = [...bundles.values()].filter(({ trustDomain }) => trustDomain !== own);
        const names = new Set<string>(wanted.map(({ trustDomain }) => trustDomain));
        const { results } = await service.batchSetFederatedBundle({ bundle: wanted.map(wireBundle) });
        for (const [at, { status }] of results.entries()) {
          const fault = itemFault(status);
          if (fault !== undefined) {
            throw new AssayError(
              "INVALID_BUNDLE",
              `cannot set the bundle of ${wanted[at]?.trustDomain ?? "?"}: ${fault}`,
            );
          }
        }
        const pruned = flags.prune === undefined ? [] : await prune(service, names, flags.prune);
        writeResult(io, flags.output, { set: [...names], deleted: pruned }, () =>
          [
            `set ${names.size} bundles`,
            ...(pruned.length === 0 ? [] : [`deleted those of ${pruned.join(", ")}`]),
          ].join("; "),
        );
      }),
    );
}

function mapOf(content: Uint8Array): ReadonlyMap<string, SpiffeBundle> {
  try {
    return parseBundleMap(content);
  } catch (error) {
    if (!(error instanceof AssayError)) throw error;
    throw new AssayError("USAGE", `--file: expected a SPIFFE bundle map: ${error.detail}`, { cause: error });
  }
}

async function prune(
  service: Parameters<typeof foreignBundles>[0],
  kept: ReadonlySet<string>,
  mode: keyof typeof DELETE_MODES,
): Promise<readonly string[]> {
  const all = await foreignBundles(service);
  const trustDomains = all.map(({ trustDomain }) => trustDomain).filter((name) => !kept.has(name));
  if (trustDomains.length === 0) return [];
  const { results } = await service.batchDeleteFederatedBundle({ trustDomains, mode: DELETE_MODES[mode] });
  for (const { status, trustDomain } of results) {
    const fault = itemFault(status);
    if (fault !== undefined) {
      throw new AssayError("BUNDLE_IN_USE", `cannot delete the bundle of ${trustDomain}: ${fault}`);
    }
  }
  return trustDomains;
}
