import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type AssayAgent, placeAgent, startAgent } from "../e2e/harness.ts";
import { Program, run } from "../e2e/program.ts";
import { makeScratch, type Scratch } from "../e2e/scratch.ts";
import { joinTokenFile, NODE_ID } from "./issuers.ts";
import { BUILD_PATIENCE, buildPeer, describeWith, placeForAll } from "./peers.ts";
import { type SpireServer, startSpireServer } from "./spire.ts";

const WORKLOAD = { uid: 61021, id: "spiffe://example.org/served-by-assay-agent" };

describeWith(["go", "root"], "an assay agent with an unmodified spire-server 1.15.3", () => {
  let scratch: Scratch;
  let server: SpireServer;
  let agent: AssayAgent;
  let probe: string;

  beforeAll(async () => {
    const programs = await buildPeer("spire");
    scratch = await makeScratch();
    probe = await placeForAll(join(await buildPeer("go-client"), "spiffe-probe"), scratch);
    server = await startSpireServer(programs, scratch);
    await server.createEntry(entry(WORKLOAD.id));
    agent = await startAgent(placeAgent(scratch), {
      server: server.address,
      trustBundleFile: await server.trustBundleFile(),
      joinTokenFile: await joinTokenFile(scratch, await server.joinToken(NODE_ID)),
    });
  }, BUILD_PATIENCE);

  afterAll(async () => {
    await agent?.[Symbol.asyncDispose]();
    await server?.[Symbol.asyncDispose]();
    await scratch?.[Symbol.asyncDispose]();
  });

  it("serves a workload, and hears by polling of an entry that is added", async () => {
    await using watching = Program.start("spiffe-probe", probe, ["watch"], asWorkload());
    const first = await watching.json<X509Answer>(({ event }) => event === "x509");
    expect(first.identities.map(({ id }) => id)).toEqual([WORKLOAD.id]);
    await server.createEntry(entry(`${WORKLOAD.id}/added`));
    const more = await watching.json<X509Answer>((line) => line.identities?.length === 2);
    expect(more.identities.map(({ id }) => id).toSorted()).toEqual([WORKLOAD.id, `${WORKLOAD.id}/added`]);
  });

  it("serves a JWT-SVID that go-spiffe validates", async () => {
    const { code, stdout } = await run(probe, ["jwt", "anybody"], asWorkload());
    expect(code, stdout).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ validatedByApi: WORKLOAD.id, validatedOffline: WORKLOAD.id });
  });

  function asWorkload() {
    return {
      uid: WORKLOAD.uid,
      gid: WORKLOAD.uid,
      cwd: "/",
      env: { SPIFFE_ENDPOINT_SOCKET: agent.endpoint },
    };
  }
});

function entry(spiffeId: string) {
  return { parentId: NODE_ID, spiffeId, selectors: [`unix:uid:${WORKLOAD.uid}`] };
}

interface X509Answer {
  readonly event: string;
  readonly identities: readonly { readonly id: string }[];
}
