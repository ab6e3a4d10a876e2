import { writeFile } from "node:fs/promises";
import { decodeProtectedHeader } from "jose";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readCertificate } from "../../src/crypto/certificate-reader.ts";
import { Bundle } from "../../src/proto/gen/spire/api/server/bundle/v1/bundle_pb.ts";
import { LocalAuthority } from "../../src/proto/gen/spire/api/server/localauthority/v1/localauthority_pb.ts";
import { SpiffeWorkloadAPI } from "../../src/proto/gen/spiffe/workload/workload_pb.ts";
import type { RpcClient, ServiceClient } from "../../src/rpc/client.ts";
import { adminClient } from "./admin-rpc.ts";
import {
  type AssayAgent,
  type AssayServer,
  placeAgent,
  placeServer,
  startAgent,
  startServer,
} from "./harness.ts";
import { makeScratch, type Scratch } from "./scratch.ts";
import { fetchX509, OWN_SELECTORS, SECURITY_HEADER, workloadClient } from "./workload.ts";

const NODE = "spiffe://example.org/node";
const SELF = "spiffe://example.org/self";

let scratch: Scratch;
let server: AssayServer;
let agent: AssayAgent;
let trustBundleFile: string;
let admin: RpcClient;
let authorities: ServiceClient<typeof LocalAuthority>;

beforeAll(async () => {
  scratch = await makeScratch();
  const config = scratch.at("server.yaml");
  await writeFile(config, "rs256_audiences: [legacy]\n");
  server = await startServer(await placeServer(scratch), [`--config=${config}`]);
  admin = adminClient(server.place);
  authorities = admin.service(LocalAuthority);
  await server.createEntry({ parentId: NODE, spiffeId: SELF, selectors: OWN_SELECTORS });
  trustBundleFile = await server.trustBundleFile();
  agent = await startAgent(placeAgent(scratch), {
    server: server.place.address,
    trustBundleFile,
    joinTokenFile: await server.joinTokenFile(NODE),
  });
});

afterAll(async () => {
  admin?.[Symbol.dispose]();
  await agent?.[Symbol.asyncDispose]();
  await server?.[Symbol.asyncDispose]();
  await scratch?.[Symbol.asyncDispose]();
});

/** Makes the next authority sign; gives the id of the one before and its own. */
async function rotate(kind: "X509" | "JWT"): Promise<readonly [old: string, active: string]> {
  const { preparedAuthority } = await authorities[`prepare${kind}Authority`]({});
  const { active } = await authorities[`get${kind}AuthorityState`]({});
  const authorityId = preparedAuthority?.authorityId ?? "";
  await authorities[`activate${kind}Authority`]({ authorityId });
  return [active?.authorityId ?? "", authorityId];
}

describe("an authority that is replaced by hand", () => {
  it("is gone from a running workload's SVIDs before it is revoked, and nobody has to start anew", async () => {
    using client = workloadClient(agent.place.socket);
    const updates = client.service(SpiffeWorkloadAPI).fetchX509SVID({}, { headers: SECURITY_HEADER });
    const [old, active] = await rotate("X509");
    const said = agent.program.lines.length;
    await authorities.taintX509Authority({ authorityId: old });
    for await (const { svids } of updates) {
      expect(svids).toHaveLength(1);
      const { authorityKeyId } = readCertificate(svids[0]?.x509Svid ?? new Uint8Array());
      if (Buffer.from(authorityKeyId ?? []).toString("hex") !== active) continue;
      break;
    }
    await agent.program.line((line) => line.includes("agent SVID renewed"), { from: said });
    await authorities.revokeX509Authority({ authorityId: old });

    // The agent still hears from the server, and the server's own SVID is believed by who has the new bundle only.
    await server.createEntry({ parentId: NODE, spiffeId: `${SELF}/later`, selectors: OWN_SELECTORS });
    using later = workloadClient(agent.place.socket);
    const messages = later.service(SpiffeWorkloadAPI).fetchX509SVID({}, { headers: SECURITY_HEADER });
    for await (const { svids } of messages) if (svids.length === 2) break;
    const fetched = await fetchX509(agent.endpoint);
    expect(fetched.map(({ authority }) => authority)).toEqual([active, active]);
    await agent.program.stop();
    agent = await startAgent(agent.place, { server: server.place.address, trustBundleFile });
    expect(await fetchX509(agent.endpoint)).toHaveLength(2);
  });

  it("signs no JWT-SVID that a workload gets once it is tainted, kept ones among them", async () => {
    const kids = async () => [await kidOf("api"), await kidOf("legacy")];
    const before = await kids();
    expect(await kids()).toEqual(before);
    const [old, active] = await rotate("JWT");
    expect(before[0]).toBe(old);
    await authorities.taintJWTAuthority({ authorityId: old });
    await expect.poll(() => kidOf("api"), { timeout: 20_000 }).toBe(active);
    // The RS256 authority was replaced along with it, and what it signed before stays good until it is tainted too.
    expect(await kidOf("legacy")).toBe(before[1]);
    await authorities.taintJWTAuthority({ authorityId: before[1] ?? "" });
    await expect.poll(() => kidOf("legacy"), { timeout: 20_000 }).not.toBe(before[1]);
    for (const id of before) await authorities.revokeJWTAuthority({ authorityId: id ?? "" });
    const { jwtAuthorities } = await admin.service(Bundle).getBundle({});
    const published = jwtAuthorities.map(({ keyId }) => keyId);
    expect(new Set(published)).toEqual(new Set([active, await kidOf("legacy")]));
  });
});

/** The `kid` of the JWT-SVID that this process gets for an audience. */
async function kidOf(audience: "api" | "legacy"): Promise<string | undefined> {
  using client = workloadClient(agent.place.socket);
  const { svids } = await client
    .service(SpiffeWorkloadAPI)
    .fetchJWTSVID({ audience: [audience], spiffeId: SELF }, { headers: SECURITY_HEADER });
  const { alg, kid } = decodeProtectedHeader(svids[0]?.svid ?? "");
  expect(alg).toBe(audience === "legacy" ? "RS256" : "ES256");
  return kid;
}
