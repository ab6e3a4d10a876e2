import { readdir } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  type AgentPlace,
  assay,
  assayJson,
  placeAgent,
  placeServer,
  type ServerPlace,
  startAgent,
  startServer,
} from "./harness.ts";
import { makeScratch, type Scratch } from "./scratch.ts";
import { fetchX509, OWN_SELECTORS, workloadClient, X509Stream } from "./workload.ts";

const NODE = "spiffe://example.org/node";
const SELF = "spiffe://example.org/self";

let scratch: Scratch;

beforeAll(async () => {
  scratch = await makeScratch();
});

afterAll(async () => {
  await scratch?.[Symbol.asyncDispose]();
});

describe("an agent whose server is away", () => {
  it("goes on serving, over its own restart too, and follows the server when it is back", async () => {
    const { place, agentPlace, trustBundleFile, server, agent } = await startPair("away");
    const { address } = place;
    const before = await fetchX509(agent.endpoint);
    expect(before.map(({ spiffe_id }) => spiffe_id)).toEqual([SELF]);
    const jwtBefore = await fetchJwt(agent.endpoint, "cached");

    // The server is gone in the hardest way.
    await server.program.kill();
    using client = workloadClient(agentPlace.socket);
    using stream = new X509Stream(client);
    expect(await stream.next()).toEqual([SELF]);
    expect(await fetchX509(agent.endpoint)).toEqual(before);
    expect(await fetchJwt(agent.endpoint, "cached")).toEqual(jwtBefore);
    // A JWT-SVID for a new audience needs a signature; that is trouble, not a loss of entitlement.
    const fresh = await assay(["fetch", "jwt", "--audience=fresh", `--socket=${agent.endpoint}`]);
    expect(fresh.code).toBe(1);
    expect(fresh.stderr).not.toMatch(/no identity issued/i);

    const ended = stream.next();
    ended.catch(() => undefined);
    expect((await agent.program.stop()).code).toBe(0);
    await expect(ended).rejects.toMatchObject({ status: "UNAVAILABLE" });

    const restarted = await startAgent(agentPlace, { server: address, trustBundleFile });
    expect(await fetchX509(restarted.endpoint)).toEqual(before);
    expect((await assay(["healthcheck", `--admin-socket=${agentPlace.adminSocket}`])).code).toBe(0);

    using laterClient = workloadClient(agentPlace.socket);
    using laterStream = new X509Stream(laterClient);
    expect(await laterStream.next()).toEqual([SELF]);
    const back = await startServer(place);
    await back.createEntry({ parentId: NODE, spiffeId: `${SELF}/later`, selectors: OWN_SELECTORS });
    expect(await laterStream.next()).toEqual([SELF, `${SELF}/later`]);
    expect(await fetchJwt(restarted.endpoint, "fresh")).toHaveLength(2);

    await restarted.program.stop();
    await back.program.stop();
  });

  it("loses an identity that was taken away meanwhile as soon as the server is back", async () => {
    const { place, agentPlace, server, agent } = await startPair("revoked");
    using client = workloadClient(agentPlace.socket);
    using stream = new X509Stream(client);
    expect(await stream.next()).toEqual([SELF]);
    await server.program.stop();

    // The same server where the agent does not find it: there the entry goes.
    const elsewhere = await startServer({
      ...(await placeServer(scratch, "hidden")),
      dataDir: place.dataDir,
    });
    const [entry] = await elsewhere.ask<readonly { id: string }[]>("entry", "list", `--spiffe-id=${SELF}`);
    await elsewhere.ask("entry", "delete", `--id=${entry?.id ?? ""}`);
    await elsewhere.program.stop();
    expect(await fetchX509(agent.endpoint)).toHaveLength(1);

    const back = await startServer(place);
    await expect(stream.next()).rejects.toMatchObject({ status: "PERMISSION_DENIED" });
    await agent.program.stop();
    await back.program.stop();
  });
});

describe("an agent that is banned", () => {
  it("ends the streams of its workloads, wipes what it holds and exits with 1", async () => {
    const { agentPlace, server, agent } = await startPair("banned");
    using client = workloadClient(agentPlace.socket);
    using stream = new X509Stream(client);
    expect(await stream.next()).toEqual([SELF]);
    const held = await readdir(agentPlace.dataDir);
    expect(held.length).toBeGreaterThan(0);

    const ended = stream.next();
    ended.catch(() => undefined);
    const start = performance.now();
    await server.ask("agents", "ban", await onlyAgent(server.ask));
    expect((await agent.program.ended).code).toBe(1);
    expect(performance.now() - start).toBeLessThan(10_000);
    await expect(ended).rejects.toMatchObject({
      status: expect.stringMatching(/UNAVAILABLE|DENIED/) as string,
    });
    expect(agent.program.lines.some((line) => /^assay: .*banned/.test(line))).toBe(true);

    // What is left are files that no SVID can be made of.
    const left = await readdir(agentPlace.dataDir);
    expect(left.filter((name) => /svid|identity|cache|key/i.test(name))).toEqual([]);
    const late = await assay(["fetch", "x509", `--socket=${agent.endpoint}`]);
    expect(late.code).toBe(1);
    await server.program.stop();
  });

  it("does not come back with the token it once had", async () => {
    const { place, agentPlace, trustBundleFile, joinTokenFile, server, agent } = await startPair("returning");
    await server.ask("agents", "ban", await onlyAgent(server.ask));
    await agent.program.ended;
    await expect(
      startAgent(agentPlace, { server: place.address, trustBundleFile, joinTokenFile }),
    ).rejects.toThrow(/join token does not exist or has already been used|banned/);
    await server.program.stop();
  });
});

describe("an agent that is evicted", () => {
  it("may attest again with a new token, and not with the old one", async () => {
    const { place, agentPlace, trustBundleFile, server, agent } = await startPair("evicted");
    await server.ask("agents", "evict", await onlyAgent(server.ask));
    // Its token is used up, so there is nothing it could attest with.
    expect((await agent.program.ended).code).toBe(1);
    const joinTokenFile = await server.joinTokenFile(NODE);
    await using again = await startAgent(agentPlace, {
      server: place.address,
      trustBundleFile,
      joinTokenFile,
    });
    expect(await fetchX509(again.endpoint)).toHaveLength(1);
    await again.program.stop();
    await server.program.stop();
  });
});

/** A server, an agent under a node alias, and an entry for the user who runs the tests. */
async function startPair(name: string) {
  const place: ServerPlace = await placeServer(scratch, name);
  const agentPlace: AgentPlace = placeAgent(scratch, `${name}-agent`);
  const server = await startServer(place);
  await server.createEntry({ parentId: NODE, spiffeId: SELF, selectors: OWN_SELECTORS });
  const trustBundleFile = await server.trustBundleFile();
  const joinTokenFile = await server.joinTokenFile(NODE);
  const agent = await startAgent(agentPlace, { server: place.address, trustBundleFile, joinTokenFile });
  return { place, agentPlace, trustBundleFile, joinTokenFile, server, agent };
}

async function onlyAgent(ask: <T>(...args: readonly string[]) => Promise<T>): Promise<string> {
  const [agent] = await ask<readonly { id: string }[]>("agents", "list");
  return agent?.id ?? "";
}

function fetchJwt(endpoint: string, audience: string) {
  return assayJson<readonly { svid: string }[]>([
    "fetch",
    "jwt",
    `--audience=${audience}`,
    `--socket=${endpoint}`,
  ]);
}
