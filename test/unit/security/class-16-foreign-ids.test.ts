import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Revocation } from "../../../src/proto/gen/assay/api/server/v1/revocation_pb.ts";
import { LocalAuthority } from "../../../src/proto/gen/spire/api/server/localauthority/v1/localauthority_pb.ts";
import { SVID } from "../../../src/proto/gen/spire/api/server/svid/v1/svid_pb.ts";
import { TrustDomain } from "../../../src/proto/gen/spire/api/server/trustdomain/v1/trustdomain_pb.ts";
import { parseSpiffeId } from "../../../src/spiffe/id.ts";
import { parseTrustDomain } from "../../../src/spiffe/trust-domain.ts";
import { systemClock } from "../../../src/clock.ts";
import { FakeAuthority } from "../../fakes/agent-authority.ts";
import { makeKey } from "../../fakes/certificates.ts";
import { makeCsr } from "../../fakes/issuance-csr.ts";
import { TestAgent } from "../../fakes/server-agent.ts";
import { ServerBench } from "../../fakes/server-bench.ts";
import { wireEntry } from "../../fakes/server-wire.ts";

const FOREIGN = { trustDomain: "partner.example", path: "/web" };
const FOREIGN_AGENT = { trustDomain: "partner.example", path: "/spire/agent/join_token/t" };
const OWN = "example.org";

let bench: ServerBench;
let mine: TestAgent;
let other: TestAgent;
let others = "";
let partner: FakeAuthority;

beforeAll(async () => {
  bench = await ServerBench.start({ features: ["wit-svid"] });
  partner = await FakeAuthority.create(parseTrustDomain(FOREIGN.trustDomain), systemClock);
  await bench.bundles.batchSetFederatedBundle({
    bundle: [{ trustDomain: FOREIGN.trustDomain, x509Authorities: [{ asn1: partner.certificate }] }],
  });
  mine = await TestAgent.attest(bench);
  other = await TestAgent.attest(bench);
  const { results } = await bench.entries.batchCreateEntry({ entries: [wireEntry("theirs", other.id)] });
  others = results[0]?.entry?.id ?? "";
});
afterAll(() => bench?.[Symbol.asyncDispose]());

/** What a call, or the first item of its answer, came to: a status, or `OK`. */
async function outcome(answer: Promise<unknown>): Promise<string> {
  try {
    const { results } = (await answer) as { results?: { status?: { code: number } }[] };
    const code = results?.[0]?.status?.code ?? 0;
    return code === 0 ? "OK" : `item ${code}`;
  } catch (error) {
    return (error as { status?: string }).status ?? String(error);
  }
}

const admin = () => bench.admin;
const spki = () => makeKey().spki;

describe("names of another trust domain, asked of this one's operators' API", () => {
  it.each<[string, () => Promise<unknown>]>([
    [
      "an X509-SVID",
      () =>
        admin()
          .service(SVID)
          .mintX509SVID({ csr: makeCsr({ uris: ["spiffe://partner.example/web"] }), ttl: 60 }),
    ],
    [
      "a JWT-SVID",
      () =>
        admin()
          .service(SVID)
          .mintJWTSVID({ id: FOREIGN, audience: ["a"] }),
    ],
    [
      "a WIT-SVID",
      () => admin().service(SVID).mintWITSVID({ id: FOREIGN, publicKey: spki(), signingAlgorithm: "ES256" }),
    ],
    [
      "an entry that earns one",
      () => bench.entries.batchCreateEntry({ entries: [{ ...wireEntry("x", mine.id), spiffeId: FOREIGN }] }),
    ],
    [
      "an entry below one",
      () =>
        bench.entries.batchCreateEntry({
          entries: [{ ...wireEntry("x", mine.id), parentId: FOREIGN_AGENT }],
        }),
    ],
    ["a join token with such an alias", () => bench.agents.createJoinToken({ ttl: 60, agentId: FOREIGN })],
    ["an agent to read", () => bench.agents.getAgent({ id: FOREIGN_AGENT })],
    ["an agent to ban", () => bench.agents.banAgent({ id: FOREIGN_AGENT })],
    ["an agent to evict", () => bench.agents.deleteAgent({ id: FOREIGN_AGENT })],
    [
      "a revocation list of a stranger",
      () =>
        admin()
          .service(Revocation)
          .setRevocationList({ trustDomain: "nobody.example", crl: Uint8Array.of(0x30, 0) }),
    ],
    [
      "an authority of nobody",
      () => admin().service(LocalAuthority).taintX509Authority({ authorityId: "00" }),
    ],
  ])("gives nothing for %s", async (_, call) => {
    expect(await outcome(call())).not.toBe("OK");
  });
});

describe("the own trust domain, named where only foreign ones belong", () => {
  it.each<[string, () => Promise<unknown>]>([
    ["a bundle to set", () => bench.bundles.batchSetFederatedBundle({ bundle: [{ trustDomain: OWN }] })],
    ["a bundle to delete", () => bench.bundles.batchDeleteFederatedBundle({ trustDomains: [OWN] })],
    ["a bundle to read", () => bench.bundles.getFederatedBundle({ trustDomain: OWN })],
    [
      "a federation relationship",
      () =>
        admin()
          .service(TrustDomain)
          .batchCreateFederationRelationship({
            federationRelationships: [
              {
                trustDomain: OWN,
                bundleEndpointUrl: "https://partner.example/",
                bundleEndpointProfile: { case: "httpsWeb", value: {} },
              },
            ],
          }),
    ],
  ])("is refused as %s", async (_, call) => {
    expect(await outcome(call())).not.toBe("OK");
  });
});

describe("an agent that asks for what is below another agent", () => {
  it.each<[string, () => Promise<unknown>]>([
    [
      "BatchNewX509SVID",
      () => mine.svids.batchNewX509SVID({ params: [{ entryId: others, csr: makeCsr() }] }),
    ],
    ["NewJWTSVID", () => mine.svids.newJWTSVID({ entryId: others, audience: ["a"] })],
    [
      "BatchNewWITSVID",
      () =>
        mine.svids.batchNewWITSVID({
          params: [{ entryId: others, publicKey: spki(), signingAlgorithm: "ES256" }],
        }),
    ],
  ])("gets nothing by %s, and no other answer than for an entry that nobody has", async (method, call) => {
    const refused = await outcome(call());
    expect(refused).not.toBe("OK");
    const [kept, absent] = [others, "no-such-entry"];
    others = absent;
    try {
      expect(await outcome(call()), method).toBe(refused);
    } finally {
      others = kept;
    }
  });

  it("sees nothing of it in its entries", async () => {
    const { entries } = await mine.entries.getAuthorizedEntries({});
    expect(entries).toEqual([]);
    const watch = mine.watch();
    expect((await watch.whole()).flatMap(({ upserted }) => upserted)).toEqual([]);
    watch.close();
  });
});

describe("a caller whose X509-SVID is of a federated trust domain", () => {
  it.each([
    ["a workload", "spiffe://partner.example/web"],
    ["an agent", "spiffe://partner.example/spire/agent/join_token/t"],
    ["a server", "spiffe://partner.example/spire/server"],
  ])("is a stranger here, though it is %s there", async (_, id) => {
    const { certificate, privateKey } = partner.credential(parseSpiffeId(id));
    const client = await bench.tls({ certificates: [certificate], privateKey });
    const svids = client.service(SVID);
    expect(await outcome(svids.newJWTSVID({ entryId: others, audience: ["a"] }))).toBe("PERMISSION_DENIED");
    expect(await outcome(svids.mintJWTSVID({ id: { trustDomain: OWN, path: "/x" }, audience: ["a"] }))).toBe(
      "PERMISSION_DENIED",
    );
  });

  it("is not believed about a name of ours that its authority signed", async () => {
    const { certificate, privateKey } = partner.credential(parseSpiffeId(mine.id));
    const client = await bench.tls({ certificates: [certificate], privateKey });
    expect(await outcome(client.service(SVID).newJWTSVID({ entryId: others, audience: ["a"] }))).not.toBe(
      "OK",
    );
  });
});
