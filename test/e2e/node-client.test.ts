import { readFile, writeFile } from "node:fs/promises";
import { Agent, get } from "node:https";
import type { IncomingMessage } from "node:http";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { authorizeId, authorizeMemberOf } from "../../src/workload/authorize.ts";
import { openWitBundleSource, openX509BundleSource } from "../../src/workload/bundle-sources.ts";
import { openJwtSource } from "../../src/workload/jwt-source.ts";
import { createHttpsAgent } from "../../src/workload/tls-client.ts";
import { peerOf } from "../../src/workload/tls-peer.ts";
import { createHttpsServer } from "../../src/workload/tls-server.ts";
import { validateWitRequest } from "../../src/workload/validate-wit-request.ts";
import { openWitSource } from "../../src/workload/wit-source.ts";
import { openX509Source, type X509Source } from "../../src/workload/x509-source.ts";
import { listen } from "../fakes/tls-pair.ts";
import {
  type AssayAgent,
  type AssayServer,
  placeAgent,
  placeServer,
  startAgent,
  startServer,
} from "./harness.ts";
import { Program, run } from "./program.ts";
import { freePorts, makeScratch, type Scratch } from "./scratch.ts";
import { OWN_SELECTORS } from "./workload.ts";

const NODE = "spiffe://example.org/node";
const SERVER = "spiffe://example.org/server";
const CLIENT = "spiffe://example.org/client";
const HOOK = import.meta.resolve("./source-package.ts");

let scratch: Scratch;
let server: AssayServer;
let agent: AssayAgent;

beforeAll(async () => {
  scratch = await makeScratch();
  server = await startServer(await placeServer(scratch), [
    "--default-x509-svid-ttl=10s",
    "--feature=wit-svid",
  ]);
  for (const name of ["server", "client"]) {
    await server.createEntry({
      parentId: NODE,
      spiffeId: `spiffe://example.org/${name}`,
      selectors: OWN_SELECTORS,
      flags: [`--hint=${name}`],
    });
  }
  agent = await startAgent(placeAgent(scratch), {
    server: server.place.address,
    trustBundleFile: await server.trustBundleFile(),
    joinTokenFile: await server.joinTokenFile(NODE),
    flags: ["--feature=wit-svid"],
  });
});

afterAll(async () => {
  await agent?.[Symbol.asyncDispose]();
  await server?.[Symbol.asyncDispose]();
  await scratch?.[Symbol.asyncDispose]();
});

const open = (hint: string) => openX509Source({ address: agent.endpoint, hint });

describe("docs/node-client.md", () => {
  it("shows a server and a client that greet each other when they are run as they stand", async () => {
    const [serverFile, clientFile] = await examples(2);
    const port = await freePort();
    await using serving = example("server.mjs", serverFile, port);
    await serving.line((line) => line === "listening");
    const { stdout, stderr, code } = await runExample(clientFile, port);
    expect({ stdout, stderr, code }).toEqual({ stdout: `hello ${CLIENT}\n`, stderr: "", code: 0 });
  });

  it("shows a Fastify application that knows its callers", async () => {
    const [, , fastifyFile] = await examples(3);
    const port = await freePort();
    await using serving = example("fastify.mjs", fastifyFile, port);
    await serving.line((line) => line === "listening");
    await using source = await open("client");
    using https = createHttpsAgent(source, { authorize: authorizeId(SERVER) });
    const ask = (path: string) => request(https, `https://127.0.0.1:${port}${path}`);
    expect(await ask("/")).toEqual({ status: 200, body: JSON.stringify({ caller: CLIENT }) });
    expect(await ask("/health")).toMatchObject({ status: 200 });
    const refused = await ask("/admin");
    expect(refused.status).toBe(403);
    expect(JSON.parse(refused.body)).toMatchObject({ code: "PEER_REFUSED", status: 403 });
  });

  it("shows how a JWT-SVID is fetched and validated", async () => {
    const [, , , jwtFile] = await examples(4);
    const { stdout, stderr, code } = await runExample(jwtFile, 0);
    expect({ stdout, stderr, code }).toEqual({ stdout: `${CLIENT}\n`, stderr: "", code: 0 });
  });
});

describe("HTTPS between two workloads", () => {
  it("goes on without a failed request while SVIDs and then the authority are exchanged", {
    timeout: 180_000,
  }, async () => {
    await using serving = await open("server");
    await using calling = await open("client");
    const greeter = createHttpsServer(serving, { authorize: authorizeId(CLIENT) }, (incoming, response) => {
      response.end(peerOf(incoming.socket)?.spiffeId);
    });
    const url = `https://127.0.0.1:${await listen(greeter)}/`;
    using https = createHttpsAgent(calling, { authorize: authorizeId(SERVER) });
    const seen = { server: new Set<string>(), client: new Set<string>() };
    const stopped = new AbortController();
    let answers = 0;
    const traffic = Array.from({ length: 4 }, async () => {
      while (!stopped.signal.aborted) {
        seen.server.add(serving.x509Svid().serial);
        seen.client.add(calling.x509Svid().serial);
        // Every answer counts: a failed one ends the test.
        expect(await request(https, url)).toEqual({ status: 200, body: CLIENT });
        answers++;
      }
    });
    const failed = Promise.all(traffic);
    const until = (condition: () => boolean) =>
      Promise.race([failed, vi.waitUntil(condition, { timeout: 60_000, interval: 50 })]);
    try {
      await until(() => seen.server.size >= 3 && seen.client.size >= 3);
      const { prepared } = await server.ask<{ readonly prepared: string }>("authority", "x509", "prepare");
      const authorities = () => bundleOf(calling).length;
      await until(() => authorities() === 2);
      await server.ask("authority", "x509", "activate", `--authority-id=${prepared}`);
      const before = { server: seen.server.size, client: seen.client.size };
      await until(() => seen.server.size >= before.server + 2 && seen.client.size >= before.client + 2);
    } finally {
      stopped.abort();
      await failed.finally(() => greeter.close());
    }
    expect(answers).toBeGreaterThan(100);
  });

  it("is refused to whom the authorizer does not name, on either side", async () => {
    await using serving = await open("server");
    await using calling = await open("client");
    const reasons: string[] = [];
    const greeter = createHttpsServer(
      serving,
      { authorize: authorizeId(SERVER), onRefused: ({ message }) => reasons.push(message) },
      (_, response) => response.end("never"),
    );
    const url = `https://127.0.0.1:${await listen(greeter)}/`;
    try {
      using https = createHttpsAgent(calling, { authorize: authorizeMemberOf("example.org") });
      await expect(request(https, url)).rejects.toThrow();
      expect(reasons.join()).toContain(`peer ${CLIENT} is not authorized`);
      using wary = createHttpsAgent(serving, { authorize: authorizeId(CLIENT) });
      await expect(request(wary, url)).rejects.toThrowCode("PEER_REFUSED", SERVER);
    } finally {
      greeter.close();
    }
  });
});

describe("a workload whose entry goes", () => {
  it("loses its identity on its open stream, and has it again with a new entry", async () => {
    const wanted = {
      parentId: NODE,
      spiffeId: "spiffe://example.org/passing",
      selectors: OWN_SELECTORS,
      flags: ["--hint=passing"],
    };
    const id = await server.createEntry(wanted);
    await using source = await open("server");
    const has = () => source.x509Svids().some(({ hint }) => hint === "passing");
    await vi.waitUntil(has, { timeout: 20_000 });
    await server.ask("entry", "delete", `--id=${id}`);
    await vi.waitUntil(() => !has(), { timeout: 20_000 });
    expect(() => source.x509Svid({ hint: "passing" })).toThrowCode("NO_IDENTITY_ISSUED", "passing");
    await server.createEntry(wanted);
    await vi.waitUntil(has, { timeout: 20_000 });
  });
});

describe("JWT-SVIDs and bundles", () => {
  it("are fetched once, validate here and at the agent, and for no other audience", async () => {
    await using source = await openJwtSource({ address: agent.endpoint });
    const wanted = { audience: "database", spiffeId: CLIENT };
    const { token, spiffeId } = await source.jwtSvid(wanted);
    expect(spiffeId).toBe(CLIENT);
    expect((await source.jwtSvid(wanted)).token).toBe(token);
    expect((await source.validate(token, { audience: "database" })).spiffeId).toBe(CLIENT);
    expect(await source.validateRemotely(token, "database")).toBe(CLIENT);
    await expect(source.validate(token, { audience: "other" })).rejects.toThrowCode("INVALID_JWT_SVID");
    await expect(source.validateRemotely(token, "other")).rejects.toThrowCode("INVALID_JWT_SVID");
    await using bundles = await openX509BundleSource({ address: agent.endpoint });
    expect([...bundles.x509Bundles().keys()]).toEqual(["example.org"]);
  });
});

describe("WIT-SVIDs", () => {
  it("are presented with a proof that the other end takes, and are worth nothing without it", async () => {
    const url = "https://api.example.org/orders";
    await using source = await openWitSource({ address: agent.endpoint, hint: "client" });
    await using bundles = await openWitBundleSource({ address: agent.endpoint });
    const headers = { ...source.present({ url: `${url}?page=2` }) };
    expect((await validateWitRequest(headers, bundles, { audiences: [url] })).spiffeId).toBe(CLIENT);
    const bare = { "workload-identity-token": headers["workload-identity-token"] };
    await expect(validateWitRequest(bare, bundles, { audiences: [url] })).rejects.toThrowCode(
      "INVALID_PROOF",
    );
    await expect(validateWitRequest(headers, bundles, { audiences: [`${url}/1`] })).rejects.toThrowCode(
      "INVALID_PROOF",
    );
  });
});

/** The first so many examples of the page that are programs, each in a file. */
async function examples(count: number): Promise<readonly string[]> {
  const page = await readFile(join(import.meta.dirname, "..", "..", "docs", "node-client.md"), "utf8");
  const programs = [...page.matchAll(/^```js\n([\s\S]*?)^```$/gm)].map(([, text = ""]) => text);
  expect(programs).toHaveLength(EXAMPLES);
  return Promise.all(
    programs.slice(0, count).map(async (text, at) => {
      const path = scratch.at(`example-${at}.mjs`);
      await writeFile(path, text);
      return path;
    }),
  );
}

function example(name: string, path: string | undefined, port: number): Program {
  return Program.start(name, process.execPath, nodeArguments(path), { env: environment(port) });
}

function runExample(path: string | undefined, port: number) {
  return run(process.execPath, nodeArguments(path), { env: environment(port) });
}

function nodeArguments(path = ""): string[] {
  return ["--disable-warning=ExperimentalWarning", `--import=${HOOK}`, path];
}

function environment(port: number) {
  return { SPIFFE_ENDPOINT_SOCKET: agent.endpoint, PORT: String(port) };
}

async function freePort(): Promise<number> {
  const [port = 0] = await freePorts(1);
  return port;
}

async function request(
  https: Agent,
  url: string,
): Promise<{ readonly status: number; readonly body: string }> {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  get(url, { agent: https }, resolve).on("error", reject);
  const response = await promise;
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  return { status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString() };
}

function bundleOf(source: X509Source): readonly Uint8Array[] {
  return [...source.x509Bundles().values()].flatMap(({ authorities }) => authorities);
}

const EXAMPLES = 4;
