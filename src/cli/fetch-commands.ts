import type { Command } from "commander";
import { workloadSocketDefault } from "../config/environment.ts";
import { AssayError } from "../errors/assay-error.ts";
import { type CliIo, type OutputForm, writeResult } from "./io.ts";
import { collect, outputOption } from "./options.ts";
import { saveX509Svids } from "./save-svids.ts";
import { jwtSvidText, x509SvidText } from "./svid-text.ts";
import { facts } from "./table.ts";
import { SECURITY_HEADER, withWorkloadClient, type X509SvidView, x509SvidViews } from "./workload-client.ts";

interface FetchFlags {
  readonly socket: string;
  readonly output: OutputForm;
}

/** Adds `assay fetch …`: what this very process gets from the Workload API. */
export function addFetchCommands(program: Command, io: CliIo): void {
  const fetch = program.command("fetch").description("fetch SVIDs and bundles as a workload, over the agent's socket");

  workloadOptions(fetch.command("x509").description("fetch X509-SVIDs once"))
    .option("--write <folder>", "write svid.N.pem, svid.N.key and bundle.N.pem there")
    .action((flags: FetchFlags & { write?: string }) =>
      withWorkloadClient(flags.socket, async (client) => {
        const svids = await first(client.fetchX509SVID({}, { ...SECURITY_HEADER, signal: io.signal }), x509SvidViews);
        if (flags.write !== undefined) await saveX509Svids(flags.write, svids);
        writeResult(io, flags.output, svids.map(publicView), () => svids.map(x509SvidText).join("\n\n"));
        if (flags.write !== undefined) io.stderr(`wrote ${svids.length} SVIDs to ${flags.write}\n`);
      }),
    );

  workloadOptions(fetch.command("jwt").description("fetch JWT-SVIDs for an audience"))
    .requiredOption("--audience <audience>", "who will read the token; may be given again", collect, [])
    .option("--spiffe-id <id>", "only the identity with this SPIFFE ID", "")
    .action((flags: FetchFlags & { audience: readonly string[]; spiffeId: string }) =>
      withWorkloadClient(flags.socket, async (client) => {
        const { svids } = await client.fetchJWTSVID(
          { audience: [...flags.audience], spiffeId: flags.spiffeId },
          { ...SECURITY_HEADER, signal: io.signal },
        );
        writeResult(
          io,
          flags.output,
          svids.map(({ spiffeId, svid, hint }) => ({ spiffe_id: spiffeId, hint, svid })),
          () => svids.map(({ spiffeId, svid }) => `${jwtSvidText(spiffeId, svid)}\n${svid}`).join("\n\n"),
        );
      }),
    );

  workloadOptions(fetch.command("bundles").description("fetch the bundles of every trust domain this workload may know")).action(
    (flags: FetchFlags) =>
      withWorkloadClient(flags.socket, async (client) => {
        const options = { ...SECURITY_HEADER, signal: io.signal };
        const x509 = await first(client.fetchX509Bundles({}, options), ({ bundles }) => bundles);
        const jwt = await first(client.fetchJWTBundles({}, options), ({ bundles }) => bundles);
        const names = [...new Set([...Object.keys(x509), ...Object.keys(jwt)])].toSorted();
        const documents = names.map((name) => ({
          trust_domain: name,
          x509_authorities: x509[name] ?? new Uint8Array(),
          jwt_authorities: jwt[name] === undefined ? { keys: [] } : jsonOf(jwt[name]),
        }));
        writeResult(io, flags.output, documents, () =>
          documents
            .map((document) =>
              facts([
                ["Trust domain", document.trust_domain],
                ["X.509 authorities", `${document.x509_authorities.length} bytes of DER`],
                ["JWT authorities", JSON.stringify(document.jwt_authorities)],
              ]),
            )
            .join("\n\n"),
        );
      }),
  );

  workloadOptions(fetch.command("watch").description("print X509-SVIDs whenever they change, until Ctrl-C")).action(
    (flags: FetchFlags) =>
      withWorkloadClient(flags.socket, async (client) => {
        try {
          for await (const update of client.fetchX509SVID({}, { ...SECURITY_HEADER, signal: io.signal })) {
            const svids = x509SvidViews(update);
            const time = new Date(io.clock.now()).toISOString();
            if (flags.output === "json") io.stdout(`${JSON.stringify({ time, svids: svids.map(summary) })}\n`);
            else io.stdout(`# ${time}\n${svids.map(x509SvidText).join("\n\n")}\n`);
          }
        } catch (error) {
          if (!io.signal.aborted) throw error;
        }
      }),
  );

  workloadOptions(fetch.command("validate").description("have the agent validate a JWT-SVID; - reads it from standard input"))
    .requiredOption("--audience <audience>", "the audience it must be for")
    .argument("<jwt-svid>")
    .action((token: string, flags: FetchFlags & { audience: string }) =>
      withWorkloadClient(flags.socket, async (client) => {
        const svid = token === "-" ? (await io.stdin()).trim() : token;
        const { spiffeId, claims } = await client.validateJWTSVID(
          { audience: flags.audience, svid },
          { ...SECURITY_HEADER, signal: io.signal },
        );
        writeResult(io, flags.output, { spiffe_id: spiffeId, claims }, () =>
          facts([
            ["SPIFFE ID", spiffeId],
            ["Claims", JSON.stringify(claims)],
          ]),
        );
      }),
    );
}

function workloadOptions(command: Command): Command {
  return outputOption(
    command.option(
      "--socket <address>",
      "the Workload Endpoint, as a path or unix:///path (default: SPIFFE_ENDPOINT_SOCKET or the agent's default)",
      workloadSocketDefault(),
    ),
  );
}

async function first<Message, Result>(messages: AsyncIterable<Message>, read: (message: Message) => Result): Promise<Result> {
  for await (const message of messages) return read(message);
  throw new AssayError("SERVER_UNAVAILABLE", "the stream ended before its first message");
}

function publicView(svid: X509SvidView): Omit<X509SvidView, "private_key"> {
  const { private_key: _, ...view } = svid;
  return view;
}

function summary({ spiffe_id, hint, not_before, not_after, serial, authority }: X509SvidView) {
  return { spiffe_id, hint, not_before, not_after, serial, authority };
}

function jsonOf(bytes: Uint8Array): unknown {
  return JSON.parse(Buffer.from(bytes).toString("utf8"));
}
