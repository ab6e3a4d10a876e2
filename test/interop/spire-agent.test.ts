import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Program } from "../e2e/program.ts";
import { makeScratch, type Scratch } from "../e2e/scratch.ts";
import { MAKES, type Server, startServerOf } from "./issuers.ts";
import { BUILD_PATIENCE, buildPeer, describeWith, placeForAll } from "./peers.ts";
import { launchSpireAgent, makeX509popFiles, startSpireAgent, type X509popFiles } from "./spire.ts";

const WORKLOAD = { uid: 61011, id: "spiffe://example.org/served-by-spire-agent" };

describeWith(["go", "openssl", "root"], "an unmodified spire-agent 1.15.3", () => {
  describe.each(MAKES)("with a server of %s", (make) => {
    let scratch: Scratch;
    let programs: string;
    let probe: string;
    let node: X509popFiles;
    let server: Server;

    beforeAll(async () => {
      programs = await buildPeer("spire");
      scratch = await makeScratch();
      probe = await placeForAll(join(await buildPeer("go-client"), "spiffe-probe"), scratch);
      node = await makeX509popFiles(scratch);
      server = await startServerOf(make, programs, scratch, node.caFile);
    }, BUILD_PATIENCE);

    afterAll(async () => {
      await server?.[Symbol.asyncDispose]();
      await scratch?.[Symbol.asyncDispose]();
    });

    it("attests with join_token and serves a workload", async () => {
      const alias = "spiffe://example.org/by-join-token";
      await server.createEntry(entryUnder(alias));
      await using agent = await startSpireAgent(programs, scratch, {
        name: "by-join-token",
        server: server.address,
        trustBundleFile: await server.trustBundleFile(),
        evidence: { joinToken: await server.joinToken(alias) },
      });
      expect(await firstIdentities(agent.endpoint)).toEqual([WORKLOAD.id]);
    });

    it("attests with x509pop, has the selectors of its certificate, and serves a workload", async () => {
      // An alias for the node by what its certificate says, then the workload under the alias.
      const alias = "spiffe://example.org/by-x509pop";
      await server.createEntry({
        parentId: "spiffe://example.org/spire/server",
        spiffeId: alias,
        selectors: ["x509pop:subject:cn:node"],
      });
      await server.createEntry(entryUnder(alias));
      await using agent = await startSpireAgent(programs, scratch, {
        name: "by-x509pop",
        server: server.address,
        trustBundleFile: await server.trustBundleFile(),
        evidence: { x509pop: node },
      });
      expect(await firstIdentities(agent.endpoint)).toEqual([WORKLOAD.id]);
    });

    it("is turned away with a join token that was used before", async () => {
      const evidence = { joinToken: await server.joinToken("spiffe://example.org/used") };
      const wanted = { server: server.address, trustBundleFile: await server.trustBundleFile(), evidence };
      const first = await startSpireAgent(programs, scratch, { ...wanted, name: "used-first" });
      await first[Symbol.asyncDispose]();
      await using again = await launchSpireAgent(programs, scratch, { ...wanted, name: "used-again" });
      expect(await again.line(isRefusal)).toMatch(/InvalidArgument/);
    });

    it("is turned away with the certificate of a CA that the server does not know", async () => {
      const stranger = await makeX509popFiles(scratch, "stranger");
      await using agent = await launchSpireAgent(programs, scratch, {
        name: "stranger",
        server: server.address,
        trustBundleFile: await server.trustBundleFile(),
        evidence: { x509pop: stranger },
      });
      expect(await agent.line(isRefusal)).toMatch(/PermissionDenied|InvalidArgument/);
    });

    async function firstIdentities(endpoint: string): Promise<string[]> {
      await using watching = Program.start("spiffe-probe", probe, ["watch"], {
        uid: WORKLOAD.uid,
        gid: WORKLOAD.uid,
        cwd: "/",
        env: { SPIFFE_ENDPOINT_SOCKET: endpoint },
      });
      const answer = await watching.json<X509Answer>(({ event }) => event === "x509");
      return answer.identities.map(({ id }) => id);
    }
  });
});

/** The line in which a spire-agent says that the server refused its evidence. */
function isRefusal(line: string): boolean {
  return line.includes("code = ") && /attest/i.test(line);
}

function entryUnder(parentId: string) {
  return { parentId, spiffeId: WORKLOAD.id, selectors: [`unix:uid:${WORKLOAD.uid}`] };
}

interface X509Answer {
  readonly event: string;
  readonly identities: readonly { readonly id: string }[];
}
