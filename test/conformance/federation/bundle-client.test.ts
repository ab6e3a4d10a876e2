import { writeFile } from "node:fs/promises";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { startServer } from "../../e2e/harness.ts";
import { runCommand } from "../../fakes/cli.ts";
import { makeCa, makeCredential, RemoteServer, type TestCa } from "../../fakes/remote-server.ts";
import { askWeb } from "../foreign.ts";
import { eventually, firstOf, makeWorld, SECURED, type World } from "../world.ts";
import { documentOf } from "./federation-world.ts";

const B = "b.example";
const C = "c.example";
const ENDPOINT = `spiffe://${B}/spire/server`;
const WEB_CA = makeCa("web CA");
const OLD = makeCa("authority");
const NEW = makeCa("authority");
const WEB = makeCredential(WEB_CA, { dnsNames: ["localhost"] });
const SVID = makeCredential(OLD, { uris: [ENDPOINT] });

let world: World;
let config: string;
let endpoint: RemoteServer;
let target: RemoteServer;

beforeAll(async () => {
  world = await makeWorld();
  config = await writeConfig("client.yaml", {});
  await restart([`--config=${config}`]);
});
afterAll(() => world?.[Symbol.asyncDispose]());

beforeEach(async () => {
  endpoint = await RemoteServer.start(WEB, documentOf(B, [OLD]));
  target = await RemoteServer.start(WEB, documentOf(B, [OLD], { sequence: 2n }));
});
afterEach(async () => {
  for (const { trust_domain } of await relationships())
    await assay("federation", "delete", `--trust-domain=${trust_domain}`);
  for (const { trust_domain } of await bundles()) {
    await assay("bundle", "delete", `--trust-domain=${trust_domain}`, "--mode=delete");
  }
  await endpoint[Symbol.asyncDispose]();
  await target[Symbol.asyncDispose]();
});

describe("how a relationship is configured", () => {
  it.each(["FE-19", "FE-39"])("%s by an https URL", async () => {
    for (const url of ["http://localhost/", "ftp://localhost/", "localhost"]) {
      expect(await refusal(create(B, url))).toMatch(/https scheme/);
    }
  });

  it.each(["FE-20", "FE-40"])("%s by a URL without user information", async () => {
    for (const url of ["https://u:p@localhost/", "https://u@localhost/", "https://@localhost/"]) {
      expect(await refusal(create(B, url))).toMatch(/user info/);
    }
  });

  it.each(["FE-16", "FE-34", "FE-58"])(
    "%s by URL, profile and trust domain, none of which is guessed",
    async () => {
      expect(
        await refusal(assay("federation", "create", `--url=${urlOf(endpoint)}`, "--profile=https_web")),
      ).toMatch(/--trust-domain/);
      expect(
        await refusal(assay("federation", "create", `--trust-domain=${B}`, "--profile=https_web")),
      ).toMatch(/--url/);
      expect(
        await refusal(assay("federation", "create", `--trust-domain=${B}`, `--url=${urlOf(endpoint)}`)),
      ).toMatch(/--profile/);
      // The host is called localhost, the trust domain is not.
      await create(B, urlOf(endpoint));
      await refresh(B);
      expect((await bundles()).map(({ trust_domain }) => trust_domain)).toEqual([B]);
    },
  );

  it("FE-21 for https_web by nothing else", async () => {
    await create(B, urlOf(endpoint));
    await refresh(B);
    expect(await sequence(B)).toBe("1");
  });

  it("FE-41 for https_spiffe by the endpoint's SPIFFE ID, too, and with a bundle to know it by", async () => {
    expect(
      await refusal(
        assay(
          "federation",
          "create",
          `--trust-domain=${B}`,
          `--url=${urlOf(endpoint)}`,
          "--profile=https_spiffe",
        ),
      ),
    ).toMatch(/--endpoint-spiffe-id/);
    endpoint.show(SVID);
    await create(B, urlOf(endpoint), ENDPOINT);
    expect(await refusal(refresh(B))).toMatch(/no X\.509 authority of b\.example/);
    expect(endpoint.requests).toEqual([]);
  });

  it.each([
    ["FE-42 by a SPIFFE bundle to begin with", "spiffe", () => documentOf(B, [OLD])],
    ["FE-43 by certificates in PEM to begin with", "pem", () => OLD.pem],
  ])("%s", async (_title, format, content) => {
    endpoint.show(SVID);
    await create(B, urlOf(endpoint), ENDPOINT, await bundleFlags(format, content()));
    await refresh(B);
    expect(await sequence(B)).toBe("1");
  });
});

describe("how bundles are fetched", () => {
  it.each(["FE-06", "FE-07"])("%s again and again, as often as the hint says", async () => {
    await create(B, urlOf(endpoint));
    await eventually(async () => endpoint.requests.length >= 3);
    const { last_attempt_at, next_attempt_at } = await relationship(B);
    const wait = (Date.parse(next_attempt_at) - Date.parse(last_attempt_at)) / 1000;
    expect(wait).toBeGreaterThanOrEqual(4);
    expect(wait).toBeLessThanOrEqual(6);
  });

  it("FE-07 every five minutes where there is no hint", async () => {
    endpoint.answer = (_request, response) => void response.end(documentOf(B, [OLD], { refreshHint: 0 }));
    await create(B, urlOf(endpoint));
    await refresh(B);
    const { last_attempt_at, next_attempt_at } = await relationship(B);
    const wait = (Date.parse(next_attempt_at) - Date.parse(last_attempt_at)) / 1000;
    expect(wait).toBeGreaterThanOrEqual(269);
    expect(wait).toBeLessThanOrEqual(301);
  });

  it("FE-64 no sooner after a failure than after a success", async () => {
    await create(B, urlOf(endpoint));
    await refresh(B);
    endpoint.answer = (_request, response) => void response.writeHead(500).end();
    const before = endpoint.requests.length;
    expect(await refusal(refresh(B))).toMatch(/status 500/);
    const { last_attempt_at, next_attempt_at } = await relationship(B);
    expect(Date.parse(next_attempt_at) - Date.parse(last_attempt_at)).toBeGreaterThanOrEqual(4_000);
    await new Promise((resolve) => setTimeout(resolve, 2_000));
    expect(endpoint.requests).toHaveLength(before + 1);
  });

  it.each(["FE-37", "FE-38", "FE-62", "FE-63"])(
    "%s from the configured URL, wherever the fetch before was led to",
    async () => {
      redirect(308);
      await create(B, urlOf(endpoint));
      await refresh(B);
      const before = endpoint.requests.length;
      await refresh(B);
      expect(endpoint.requests.length).toBeGreaterThan(before);
      expect(target.requests).toHaveLength(endpoint.requests.length);
      expect((await relationship(B)).bundle_endpoint_url).toBe(urlOf(endpoint));
    },
  );

  it("FE-67 with a line in the log for each", async () => {
    const from = world.server.program.lines.length;
    await create(B, urlOf(endpoint));
    await refresh(B);
    const lines = world.server.program.lines
      .slice(from)
      .filter((line) => line.includes("foreign bundle fetched"));
    expect(lines).toHaveLength(endpoint.requests.length);
    expect(lines[0]).toContain(`"trust_domain":"${B}"`);
  });

  it.each(["FE-35", "FE-59"])("%s after a redirect to another valid URL", async (id) => {
    if (id === "FE-59") await knowEndpoint();
    redirect(302);
    await createAs(id === "FE-59" ? "https_spiffe" : "https_web");
    await refresh(B);
    expect(await sequence(B)).toBe("2");
  });

  it("FE-35 not after a redirect to http or to a URL with user information", async () => {
    await create(B, urlOf(endpoint));
    for (const location of [`http://localhost:${target.port}/`, `https://u:p@localhost:${target.port}/`]) {
      redirect(302, location);
      expect(await refusal(refresh(B))).toMatch(/redirects to a URL that may not be asked/);
    }
    expect(target.connections).toBe(0);
  });
});

describe("whom bundles are taken from", () => {
  const untrusted = makeCredential(makeCa("web CA"), { dnsNames: ["localhost"] });
  const past = { notBefore: 1_700_000_000, notAfter: 1_700_000_100 };

  it.each([
    ["FE-31", "that has expired", makeCredential(WEB_CA, { dnsNames: ["localhost"], ...past })],
    ["FE-32", "of a CA that nobody trusts here", untrusted],
    ["FE-33", "for another name", makeCredential(WEB_CA, { dnsNames: ["elsewhere.example"] })],
  ])("%s not from a server with a certificate of the web %s", async (_id, _what, credential) => {
    endpoint.show(credential);
    await create(B, urlOf(endpoint));
    expect(await refusal(refresh(B))).toMatch(/is not accepted/);
    expect(endpoint.received).toBe(0);
  });

  it("FE-13 from servers of both profiles", async () => {
    await create(B, urlOf(endpoint));
    await refresh(B);
    await assay(
      "federation",
      "update",
      `--trust-domain=${B}`,
      "--profile=https_spiffe",
      `--endpoint-spiffe-id=${ENDPOINT}`,
    );
    endpoint.show(SVID);
    await refresh(B);
    expect((await relationship(B)).last_error).toBeNull();
  });

  it.each([
    ["another path", makeCredential(OLD, { uris: [`spiffe://${B}/other`] })],
    ["another trust domain", makeCredential(OLD, { uris: [`spiffe://${C}/spire/server`] })],
    ["a certificate of the web", WEB],
    ["the ID by another authority", makeCredential(NEW, { uris: [ENDPOINT] })],
  ])("FE-55 over https_spiffe not from a server that shows %s", async (_what, credential) => {
    await knowEndpoint();
    endpoint.show(credential);
    await createAs("https_spiffe");
    expect(await refusal(refresh(B))).toMatch(/is not accepted/);
    expect(endpoint.received).toBe(0);
  });

  it("FE-56 by the newest bundle of the endpoint's trust domain, not by the first", async () => {
    await knowEndpoint();
    endpoint.answer = (_request, response) => void response.end(documentOf(B, [OLD, NEW], { sequence: 2n }));
    await createAs("https_spiffe");
    await refresh(B);
    endpoint.show(makeCredential(NEW, { uris: [ENDPOINT] }));
    endpoint.answer = (_request, response) => void response.end(documentOf(B, [NEW], { sequence: 3n }));
    await refresh(B);
    expect(await sequence(B)).toBe("3");
    endpoint.show(SVID);
    expect(await refusal(refresh(B))).toMatch(/is not accepted/);
  });

  it("FE-44 by the bundle of the endpoint's own trust domain, which is configured apart", async () => {
    endpoint.show(makeCredential(NEW, { uris: [`spiffe://${C}/endpoint`] }));
    await create(B, urlOf(endpoint), `spiffe://${C}/endpoint`, await bundleFlags("pem", NEW.pem));
    expect(await refusal(refresh(B))).toMatch(/no X\.509 authority of c\.example/);
    await setBundle(C, [NEW], 1n);
    await refresh(B);
    expect(certificatesOf(await bundle(B))).toEqual(certificatesIn([OLD]));
  });

  it.each(["FE-45", "FE-57"])(
    "%s by the newest bundle of the endpoint's trust domain, however that was had",
    async () => {
      const other = await RemoteServer.start(WEB, documentOf(C, [OLD]));
      try {
        await create(C, urlOf(other));
        await refresh(C);
        endpoint.show(makeCredential(OLD, { uris: [`spiffe://${C}/endpoint`] }));
        await create(B, urlOf(endpoint), `spiffe://${C}/endpoint`);
        await refresh(B);
        endpoint.show(makeCredential(NEW, { uris: [`spiffe://${C}/endpoint`] }));
        expect(await refusal(refresh(B))).toMatch(/is not accepted/);
        other.answer = (_request, response) => void response.end(documentOf(C, [NEW], { sequence: 2n }));
        await refresh(C);
        await refresh(B);
        await assay("federation", "delete", `--trust-domain=${C}`);
      } finally {
        await other[Symbol.asyncDispose]();
      }
    },
  );

  it.each(["FE-36", "FE-60"])(
    "%s after a redirect not from a server that would not do as an endpoint",
    async (id) => {
      if (id === "FE-60") await knowEndpoint();
      redirect(302);
      target.show(id === "FE-60" ? WEB : untrusted);
      await createAs(id === "FE-60" ? "https_spiffe" : "https_web");
      expect(await refusal(refresh(B))).toMatch(/is not accepted/);
      expect(target.received).toBe(0);
    },
  );

  it("FE-61 after a redirect only from a server with the SPIFFE ID that was configured", async () => {
    await knowEndpoint();
    redirect(302);
    target.show(makeCredential(OLD, { uris: [`spiffe://${B}/other`] }));
    await createAs("https_spiffe");
    expect(await refusal(refresh(B))).toMatch(/b\.example\/other/);
    expect(target.received).toBe(0);
  });
});

describe("what becomes of a fetched bundle", () => {
  it("FE-09 it is not taken where its sequence is older", async () => {
    endpoint.answer = (_request, response) => void response.end(documentOf(B, [OLD], { sequence: 5n }));
    await create(B, urlOf(endpoint));
    await refresh(B);
    endpoint.answer = (_request, response) => void response.end(documentOf(B, [NEW], { sequence: 4n }));
    expect(await refusal(refresh(B))).toMatch(/sequence 4, older than the stored 5/);
    expect(certificatesOf(await bundle(B))).toEqual(certificatesIn([OLD]));
  });

  it("FE-10 the last one counts where there is no sequence", async () => {
    const without = (authorities: readonly TestCa[]) =>
      JSON.stringify({ keys: (JSON.parse(documentOf(B, authorities)) as { keys: unknown }).keys });
    endpoint.answer = (_request, response) => void response.end(without([OLD]));
    await create(B, urlOf(endpoint));
    await refresh(B);
    endpoint.answer = (_request, response) => void response.end(without([NEW]));
    await refresh(B);
    expect(certificatesOf(await bundle(B))).toEqual(certificatesIn([NEW]));
  });

  it("FE-11 one that was set by hand is in force until the next is fetched", async () => {
    await create(B, urlOf(endpoint));
    await refresh(B);
    await setBundle(B, [NEW], 1n);
    expect(certificatesOf(await bundle(B))).toEqual(certificatesIn([NEW]));
    await refresh(B);
    expect(certificatesOf(await bundle(B))).toEqual(certificatesIn([OLD]));
  });

  it.each(["FE-12", "FE-18"])(
    "%s workloads get it under the name of its trust domain and with no other's keys",
    async () => {
      await create(B, urlOf(endpoint));
      await refresh(B);
      await setBundle(C, [NEW], 1n);
      const id = await world.createEntry({ path: "/federated", federatesWith: [B, C] });
      const seen = await eventually(
        () => federatedBundles(),
        (bundlesOfWorkload) => Object.keys(bundlesOfWorkload).length === 2,
      );
      expect(Buffer.from(seen[`spiffe://${B}`] ?? []).equals(OLD.certificate.der)).toBe(true);
      expect(Buffer.from(seen[`spiffe://${C}`] ?? []).equals(NEW.certificate.der)).toBe(true);
      await world.deleteEntry(id);
    },
  );

  it("FE-65 it goes from the workloads when relationship and bundle are deleted, and nobody asks for it any more", async () => {
    await create(B, urlOf(endpoint));
    await refresh(B);
    const id = await world.createEntry({ path: "/federated", federatesWith: [B] });
    await eventually(
      () => federatedBundles(),
      (seen) => Object.keys(seen).length === 1,
    );
    await assay("federation", "delete", `--trust-domain=${B}`, "--bundle=dissociate");
    await eventually(
      () => federatedBundles(),
      (seen) => Object.keys(seen).length === 0,
    );
    const before = endpoint.requests.length;
    await new Promise((resolve) => setTimeout(resolve, 6_000));
    expect(endpoint.requests).toHaveLength(before);
    await world.deleteEntry(id);
  });
});

describe("after a restart", () => {
  it("FE-08 a fetched bundle is still there, though nobody answers", async () => {
    await create(B, urlOf(endpoint));
    await refresh(B);
    endpoint.answer = (_request, response) => void response.destroy();
    await restart([`--config=${config}`]);
    expect(certificatesOf(await bundle(B))).toEqual(certificatesIn([OLD]));
  });

  it("FE-66 redirects can be switched off", async () => {
    await restart([`--config=${await writeConfig("no-redirects.yaml", { follow_redirects: false })}`]);
    redirect(302);
    await create(B, urlOf(endpoint));
    expect(await refusal(refresh(B))).toMatch(/redirects, which is not followed/);
    expect(target.connections).toBe(0);
    await restart([`--config=${config}`]);
  });
});

let restarted: Awaited<ReturnType<typeof startServer>> | undefined;

/** Starts the server again in its place, as after a change of its configuration. */
async function restart(flags: readonly string[]): Promise<void> {
  await (restarted ?? world.server)[Symbol.asyncDispose]();
  restarted = await startServer(world.server.place, flags);
  const kept = restarted;
  Object.defineProperty(world, "server", { value: kept, configurable: true });
}

async function writeConfig(name: string, change: Readonly<Record<string, unknown>>): Promise<string> {
  const ca = world.scratch.at("web-ca.pem");
  await writeFile(ca, WEB_CA.pem);
  const path = world.scratch.at(name);
  const federation = { trusted_ca_file: ca, allowed_addresses: ["127.0.0.0/8", "::1"], ...change };
  // JSON is YAML.
  await writeFile(path, JSON.stringify({ federation }));
  return path;
}

/** Runs a command as a person would, in this process: starting one for each would take most of the time. */
async function assay(...args: readonly string[]): Promise<unknown> {
  const socket = `--admin-socket=${world.server.place.adminSocket}`;
  const { code, stdout, stderr } = await runCommand([...args, socket, "--output", "json"]);
  if (code !== 0) throw new Error(stderr);
  return JSON.parse(stdout);
}

async function create(
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

function createAs(profile: "https_web" | "https_spiffe"): Promise<void> {
  return create(B, urlOf(endpoint), profile === "https_spiffe" ? ENDPOINT : undefined);
}

/** Lets the endpoint be known by its SPIFFE ID, and both servers show it. */
async function knowEndpoint(): Promise<void> {
  await setBundle(B, [OLD], 0n);
  endpoint.show(SVID);
  target.show(SVID);
}

function refresh(trustDomain: string): Promise<unknown> {
  return assay("federation", "refresh", `--trust-domain=${trustDomain}`);
}

function redirect(status: number, location = `https://localhost:${target.port}/`): void {
  endpoint.answer = (_request, response) => void response.writeHead(status, { location }).end();
}

async function setBundle(
  trustDomain: string,
  authorities: readonly TestCa[],
  sequenceNumber: bigint,
): Promise<void> {
  const file = world.scratch.at("set-bundle.json");
  await writeFile(file, documentOf(trustDomain, authorities, { sequence: sequenceNumber }));
  await assay("bundle", "set", `--trust-domain=${trustDomain}`, `--file=${file}`, "--format=spiffe");
}

async function bundleFlags(format: string, content: string): Promise<readonly string[]> {
  const file = world.scratch.at(`first-bundle.${format}`);
  await writeFile(file, content);
  return [`--bundle-file=${file}`, `--bundle-format=${format}`];
}

async function refusal(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => "it was not refused",
    (error: unknown) => String(error),
  );
}

interface Relationship {
  readonly trust_domain: string;
  readonly bundle_endpoint_url: string;
  readonly bundle_sequence: string;
  readonly last_attempt_at: string;
  readonly next_attempt_at: string;
  readonly last_error: string | null;
}

interface Bundle {
  readonly trust_domain: string;
  readonly keys: readonly { readonly x5c?: readonly string[] }[];
}

async function relationships(): Promise<readonly Relationship[]> {
  return (await assay("federation", "list")) as readonly Relationship[];
}

async function relationship(trustDomain: string): Promise<Relationship> {
  return (await assay("federation", "show", `--trust-domain=${trustDomain}`)) as Relationship;
}

async function sequence(trustDomain: string): Promise<string> {
  return (await relationship(trustDomain)).bundle_sequence;
}

async function bundles(): Promise<readonly Bundle[]> {
  return (await assay("bundle", "list")) as readonly Bundle[];
}

async function bundle(trustDomain: string): Promise<Bundle> {
  const { body } = await askWeb(world, "GET", `/v1/bundles/${trustDomain}`);
  return JSON.parse(body.toString()) as Bundle;
}

function certificatesOf({ keys }: Bundle): readonly string[] {
  return keys.flatMap(({ x5c = [] }) => x5c);
}

function certificatesIn(authorities: readonly TestCa[]): readonly string[] {
  return authorities.map(({ certificate }) => Buffer.from(certificate.der).toString("base64"));
}

async function federatedBundles(): Promise<Readonly<Record<string, Uint8Array>>> {
  return (await firstOf(world.api.fetchX509SVID({}, SECURED))).federatedBundles;
}

function urlOf({ port }: RemoteServer): string {
  return `https://localhost:${port}/`;
}
