import { writeFile } from "node:fs/promises";
import { afterAll, afterEach, beforeAll, beforeEach } from "vitest";
import { startServer } from "../../e2e/harness.ts";
import { runCommand } from "../../fakes/cli.ts";
import { makeCa, makeCredential, RemoteServer, type TestCa } from "../../fakes/remote-server.ts";
import { askWeb } from "../foreign.ts";
import { firstOf, makeWorld, SECURED, type World } from "../world.ts";
import { documentOf } from "./federation-world.ts";

/** Foreign trust domains. */
export const B = "b.example";
export const C = "c.example";
/** The SPIFFE ID of an endpoint of {@link B}. */
export const ENDPOINT = `spiffe://${B}/spire/server`;
/** A CA of the web that the server is told of. */
export const WEB_CA = makeCa("web CA");
/** Authorities of the foreign trust domains. */
export const OLD = makeCa("authority");
export const NEW = makeCa("authority");
/** What endpoints show, by profile. */
export const WEB = makeCredential(WEB_CA, { dnsNames: ["localhost"] });
export const SVID = makeCredential(OLD, { uris: [ENDPOINT] });

/** What the tests of a file work with. */
export const here = {} as {
  /** The world whose server fetches bundles. */
  world: World;
  /** Its configuration file. */
  config: string;
  /** A fresh endpoint for each test, over `https_web` unless told. */
  endpoint: RemoteServer;
  /** A server that the endpoint may redirect to. */
  target: RemoteServer;
};

/** Keeps all that for the tests of a file. */
export function useClientWorld(): void {
  beforeAll(async () => {
    here.world = await makeWorld();
    here.config = await writeConfig("client.yaml", {});
    await restart([`--config=${here.config}`]);
  });
  afterAll(() => here.world?.[Symbol.asyncDispose]());

  beforeEach(async () => {
    here.endpoint = await RemoteServer.start(WEB, documentOf(B, [OLD]));
    here.target = await RemoteServer.start(WEB, documentOf(B, [OLD], { sequence: 2n }));
  });
  afterEach(async () => {
    for (const { trust_domain } of await relationships())
      await assay("federation", "delete", `--trust-domain=${trust_domain}`);
    for (const { trust_domain } of await bundles()) {
      await assay("bundle", "delete", `--trust-domain=${trust_domain}`, "--mode=delete");
    }
    await here.endpoint[Symbol.asyncDispose]();
    await here.target[Symbol.asyncDispose]();
  });
}

let restarted: Awaited<ReturnType<typeof startServer>> | undefined;

/** Starts the server again in its place, as after a change of its configuration. */
export async function restart(flags: readonly string[]): Promise<void> {
  await (restarted ?? here.world.server)[Symbol.asyncDispose]();
  restarted = await startServer(here.world.server.place, flags);
  const kept = restarted;
  Object.defineProperty(here.world, "server", { value: kept, configurable: true });
}

/** Writes a configuration with this change and gives its path. */
export async function writeConfig(name: string, change: Readonly<Record<string, unknown>>): Promise<string> {
  const ca = here.world.scratch.at("web-ca.pem");
  await writeFile(ca, WEB_CA.pem);
  const path = here.world.scratch.at(name);
  const federation = { trusted_ca_file: ca, allowed_addresses: ["127.0.0.0/8", "::1"], ...change };
  // JSON is YAML.
  await writeFile(path, JSON.stringify({ federation }));
  return path;
}

/** Runs a command as a person would, in this process: starting one for each would take most of the time. */
export async function assay(...args: readonly string[]): Promise<unknown> {
  const socket = `--admin-socket=${here.world.server.place.adminSocket}`;
  const { code, stdout, stderr } = await runCommand([...args, socket, "--output", "json"]);
  if (code !== 0) throw new Error(stderr);
  return JSON.parse(stdout);
}

/** Creates a relationship; over `https_spiffe` where it is told the endpoint's SPIFFE ID. */
export async function create(
  trustDomain: string,
  url: string,
  endpointId?: string,
  more: readonly string[] = [],
): Promise<void> {
  const profile =
    endpointId === undefined
      ? ["--profile=https_web"]
      : ["--profile=https_spiffe", `--endpoint-spiffe-id=${endpointId}`];
  await assay("federation", "create", `--trust-domain=${trustDomain}`, `--url=${url}`, ...profile, ...more);
}

/** Creates the relationship of {@link B} with the endpoint. */
export function createAs(profile: "https_web" | "https_spiffe"): Promise<void> {
  return create(B, urlOf(here.endpoint), profile === "https_spiffe" ? ENDPOINT : undefined);
}

/** Lets the endpoint be known by its SPIFFE ID, and both servers show it. */
export async function knowEndpoint(): Promise<void> {
  await setBundle(B, [OLD], 0n);
  here.endpoint.show(SVID);
  here.target.show(SVID);
}

/** Fetches a bundle now; rejects with what the command says. */
export function refresh(trustDomain: string): Promise<unknown> {
  return assay("federation", "refresh", `--trust-domain=${trustDomain}`);
}

/** Lets the endpoint redirect. */
export function redirect(status: number, location = `https://localhost:${here.target.port}/`): void {
  here.endpoint.answer = (_request, response) => void response.writeHead(status, { location }).end();
}

/** Sets a bundle by hand. */
export async function setBundle(
  trustDomain: string,
  authorities: readonly TestCa[],
  sequenceNumber: bigint,
): Promise<void> {
  const file = here.world.scratch.at("set-bundle.json");
  await writeFile(file, documentOf(trustDomain, authorities, { sequence: sequenceNumber }));
  await assay("bundle", "set", `--trust-domain=${trustDomain}`, `--file=${file}`, "--format=spiffe");
}

/** Flags for a bundle to begin with. */
export async function bundleFlags(format: string, content: string): Promise<readonly string[]> {
  const file = here.world.scratch.at(`first-bundle.${format}`);
  await writeFile(file, content);
  return [`--bundle-file=${file}`, `--bundle-format=${format}`];
}

/** What a command that is refused says. */
export async function refusal(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => "it was not refused",
    (error: unknown) => String(error),
  );
}

/** A relationship as `federation show` gives it. */
export interface Relationship {
  readonly trust_domain: string;
  readonly bundle_endpoint_url: string;
  readonly bundle_sequence: string;
  readonly last_attempt_at: string;
  readonly next_attempt_at: string;
  readonly last_error: string | null;
}

/** A bundle document. */
export interface Bundle {
  readonly trust_domain: string;
  readonly keys: readonly { readonly x5c?: readonly string[] }[];
}

/** How all relationships fare. */
export async function relationships(): Promise<readonly Relationship[]> {
  return (await assay("federation", "list")) as readonly Relationship[];
}

/** How one fares. */
export async function relationship(trustDomain: string): Promise<Relationship> {
  return (await assay("federation", "show", `--trust-domain=${trustDomain}`)) as Relationship;
}

/** The sequence of the bundle in force. */
export async function sequence(trustDomain: string): Promise<string> {
  return (await relationship(trustDomain)).bundle_sequence;
}

/** All foreign bundles. */
export async function bundles(): Promise<readonly Bundle[]> {
  return (await assay("bundle", "list")) as readonly Bundle[];
}

/** One bundle. */
export async function bundle(trustDomain: string): Promise<Bundle> {
  const { body } = await askWeb(here.world, "GET", `/v1/bundles/${trustDomain}`);
  return JSON.parse(body.toString()) as Bundle;
}

/** The certificates of a bundle, base64. */
export function certificatesOf({ keys }: Bundle): readonly string[] {
  return keys.flatMap(({ x5c = [] }) => x5c);
}

/** The certificates of authorities, base64. */
export function certificatesIn(authorities: readonly TestCa[]): readonly string[] {
  return authorities.map(({ certificate }) => Buffer.from(certificate.der).toString("base64"));
}

/** The foreign bundles that a workload gets. */
export async function federatedBundles(): Promise<Readonly<Record<string, Uint8Array>>> {
  return (await firstOf(here.world.api.fetchX509SVID({}, SECURED))).federatedBundles;
}

/** Where an endpoint is asked. */
export function urlOf({ port }: RemoteServer): string {
  return `https://localhost:${port}/`;
}
