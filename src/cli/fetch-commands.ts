import { resolve } from "node:path";
import type { Command } from "commander";
import { DEFAULT_WORKLOAD_ENDPOINT } from "./default-sockets.ts";
import { durationOf } from "./duration-flag.ts";
import { type CliIo, type OutputForm, writeResult } from "./io.ts";
import { collect, oneOf, outputOption } from "./options.ts";
import { saveX509Svids } from "./save-svids.ts";
import { bundlesText, jwtSvidText, x509SvidText } from "./svid-text.ts";
import { facts } from "./table.ts";
import { typedSpiffeId } from "./wire-text.ts";
import {
  bundleViews,
  first,
  SECURITY_HEADER,
  withWorkloadClient,
  type X509SvidView,
  x509SvidViews,
} from "./workload-client.ts";

interface FetchFlags {
  readonly socket: string;
  readonly output: OutputForm;
  readonly timeout: string;
}

/** Adds `assay fetch …`: what this very process gets from the Workload API. */
export function addFetchCommands(program: Command, io: CliIo): void {
  const fetch = program
    .command("fetch")
    .description("SVIDs and bundles: fetch them as a workload, over the agent's socket");
  addX509(fetch, io);
  addJwt(fetch, io);
  addBundles(fetch, io);
  addWatch(fetch, io);
  addValidate(fetch, io);
}

function addX509(fetch: Command, io: CliIo): void {
  once(outputOption(endpoint(io, fetch.command("x509").description("fetch X509-SVIDs once"))))
    .option("--write <folder>", "write svid.N.pem, svid.N.key and bundle.N.pem there, N counting from 0")
    .action((flags: FetchFlags & { write?: string }) =>
      withWorkloadClient(io, flags.socket, async (client) => {
        const svids = await first(client.fetchX509SVID({}, callOptions(io, flags)), x509SvidViews);
        if (flags.write !== undefined) await saveX509Svids(resolve(flags.write), svids);
        writeResult(io, flags.output, svids.map(withoutKey), () => svids.map(x509SvidText).join("\n\n"));
        if (flags.write !== undefined) io.stderr(`wrote ${svids.length} X509-SVIDs to ${flags.write}\n`);
      }),
    );
}

function addJwt(fetch: Command, io: CliIo): void {
  once(endpoint(io, fetch.command("jwt").description("fetch JWT-SVIDs for an audience")))
    .requiredOption("--audience <audience>", "who will read the JWT-SVID; may be given again", collect)
    .option("--spiffe-id <id>", "only the identity with this SPIFFE ID")
    .option(
      "--output <form>",
      "pretty for people, json for programs, token for the first JWT-SVID alone",
      oneOf("--output", ["pretty", "json", "token"]),
      "pretty",
    )
    .addHelpText(
      "after",
      `\nIn a script:\n  curl -H "Authorization: Bearer $(${io.command} fetch jwt --audience api --output token)" …`,
    )
    .action((flags: JwtFlags) =>
      withWorkloadClient(io, flags.socket, async (client) => {
        const spiffeId = flags.spiffeId === undefined ? "" : typedSpiffeId(flags.spiffeId, "--spiffe-id");
        const audience = [...flags.audience];
        const { svids } = await client.fetchJWTSVID({ audience, spiffeId }, callOptions(io, flags));
        if (flags.output === "token") {
          // The first identity is the default one (Workload API §6.2.1).
          io.stdout(`${svids[0]?.svid ?? ""}\n`);
          return;
        }
        writeResult(
          io,
          flags.output,
          svids.map(({ spiffeId: spiffe_id, svid, hint }) => ({ spiffe_id, hint, svid })),
          () =>
            svids
              .map(({ spiffeId: id, svid, hint }) => `${jwtSvidText(id, hint, svid)}\n${svid}`)
              .join("\n\n"),
        );
      }),
    );
}

function addBundles(fetch: Command, io: CliIo): void {
  const command = fetch.command("bundles").description("fetch the bundles that this workload may know");
  once(outputOption(endpoint(io, command))).action((flags: FetchFlags) =>
    withWorkloadClient(io, flags.socket, async (client) => {
      const options = callOptions(io, flags);
      const x509 = await first(client.fetchX509Bundles({}, options), ({ bundles }) => bundles);
      const jwt = await first(client.fetchJWTBundles({}, options), ({ bundles }) => bundles);
      const views = bundleViews(x509, jwt);
      writeResult(io, flags.output, views, () => bundlesText(views));
    }),
  );
}

function addWatch(fetch: Command, io: CliIo): void {
  const command = fetch
    .command("watch")
    .description("print X509-SVIDs now and whenever they change, until Ctrl-C; as JSON, one line each time");
  outputOption(endpoint(io, command)).action((flags: FetchFlags) =>
    withWorkloadClient(io, flags.socket, async (client) => {
      try {
        for await (const update of client.fetchX509SVID({}, { ...SECURITY_HEADER, signal: io.signal })) {
          const svids = x509SvidViews(update);
          const time = new Date(io.clock.now()).toISOString();
          if (flags.output === "json")
            io.stdout(`${JSON.stringify({ time, svids: svids.map(withoutBytes) })}\n`);
          else io.stdout(`# ${time}\n${svids.map(x509SvidText).join("\n\n")}\n\n`);
        }
      } catch (error) {
        if (!io.signal.aborted) throw error;
      }
    }),
  );
}

function addValidate(fetch: Command, io: CliIo): void {
  const command = fetch
    .command("validate")
    .description("have the agent validate a JWT-SVID; exits 0 where it is valid, 1 where it is not")
    .argument("<jwt-svid>", "the JWT-SVID, or - to read it from standard input")
    .requiredOption("--audience <audience>", "the audience it must be for");
  once(outputOption(endpoint(io, command))).action(
    (jwtSvid: string, flags: FetchFlags & { audience: string }) =>
      withWorkloadClient(io, flags.socket, async (client) => {
        const svid = jwtSvid === "-" ? (await io.stdin()).trim() : jwtSvid;
        const { audience } = flags;
        const { spiffeId, claims } = await client.validateJWTSVID({ audience, svid }, callOptions(io, flags));
        writeResult(io, flags.output, { spiffe_id: spiffeId, claims: claims ?? {} }, () =>
          facts([
            ["SPIFFE ID", spiffeId],
            ["Claims", JSON.stringify(claims ?? {})],
          ]),
        );
      }),
  );
}

interface JwtFlags extends Omit<FetchFlags, "output"> {
  readonly output: OutputForm | "token";
  readonly audience: readonly string[];
  readonly spiffeId?: string;
}

function endpoint(io: CliIo, command: Command): Command {
  return command.option(
    "--socket <address>",
    "the Workload Endpoint, a path or unix:///path (default: SPIFFE_ENDPOINT_SOCKET, else the agent's default)",
    (address) => (address.includes(":") ? address : resolve(address)),
    io.environment.spiffeEndpointSocket ?? DEFAULT_WORKLOAD_ENDPOINT,
  );
}

function once(command: Command): Command {
  return command.option("--timeout <duration>", "how long to wait for the answer", "30s");
}

function callOptions(io: CliIo, flags: Pick<FetchFlags, "timeout">) {
  return { ...SECURITY_HEADER, signal: io.signal, timeout: durationOf(flags.timeout, "--timeout") };
}

function withoutKey(svid: X509SvidView): Omit<X509SvidView, "private_key"> {
  return { ...withoutBytes(svid), chain: svid.chain, bundle: svid.bundle };
}

function withoutBytes(svid: X509SvidView): Omit<X509SvidView, "private_key" | "chain" | "bundle"> {
  const { spiffe_id, hint, not_before, not_after, serial, authority, dns_names } = svid;
  return { spiffe_id, hint, not_before, not_after, serial, authority, dns_names };
}
