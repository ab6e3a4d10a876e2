import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { makeCertificate, makeKey } from "../../../test/fakes/certificates.ts";
import { TestAgent } from "../../../test/fakes/server-agent.ts";
import { ServerBench } from "../../../test/fakes/server-bench.ts";
import { statuses, wireBundle, wireEntry } from "../../../test/fakes/server-wire.ts";
import {
  Bundle,
  BatchDeleteFederatedBundleRequest_Mode as Mode,
} from "../../proto/gen/spire/api/server/bundle/v1/bundle_pb.ts";

const PARENT = "spiffe://example.org/spire/agent/x509pop/p";
let bench: ServerBench;
beforeAll(async () => {
  bench = await ServerBench.start();
});
afterAll(() => bench[Symbol.asyncDispose]());

describe("the own bundle", () => {
  it("is there for anybody, masked as asked, its trust domain always", async () => {
    const anonymous = (await bench.tls()).service(Bundle);
    const bundle = await anonymous.getBundle({});
    expect(bundle).toMatchObject({ trustDomain: "example.org", x509Authorities: [{ tainted: false }] });
    expect(bundle.jwtAuthorities).toHaveLength(1);
    expect(await anonymous.getBundle({ outputMask: {} })).toMatchObject({
      trustDomain: "example.org",
      x509Authorities: [],
      jwtAuthorities: [],
      sequenceNumber: 0n,
    });
    expect(await anonymous.getBundle({ outputMask: { jwtAuthorities: true } })).toMatchObject({
      x509Authorities: [],
      jwtAuthorities: [{}],
    });
  });

  it("takes authorities from outside, each once, and tells agents", async () => {
    const agent = await TestAgent.attest(bench);
    const watch = agent.watch();
    await watch.whole();
    const { x509Authorities, jwtAuthorities } = wireBundle("example.org");
    const before = await bench.bundles.getBundle({});
    const append = () => bench.bundles.appendBundle({ x509Authorities, jwtAuthorities });
    const after = await append();
    expect(after.x509Authorities).toHaveLength(before.x509Authorities.length + 1);
    expect(after.sequenceNumber).toBeGreaterThan(before.sequenceNumber);
    expect((await watch.next()).bundle?.x509Authorities).toHaveLength(after.x509Authorities.length);
    expect(await append()).toEqual(after);
    watch.close();
  });

  it.each<[string, () => object, string]>([
    ["nothing", () => ({}), "no authorities to append"],
    [
      "WIT keys while WIT-SVIDs are switched off",
      () => ({ witAuthorities: [{ keyId: "w", publicKey: makeKey().spki }] }),
      "wit_authorities: WIT-SVIDs are switched off",
    ],
    [
      "what is no certificate",
      () => ({ x509Authorities: [{ asn1: Buffer.from("x") }] }),
      "x509_authorities[0]",
    ],
    [
      "a leaf",
      () => ({ x509Authorities: [{ asn1: makeCertificate({ subject: "leaf", key: makeKey() }).der }] }),
      "CA",
    ],
    ["a key without id", () => ({ jwtAuthorities: [{ publicKey: makeKey().spki }] }), "missing key ID"],
    [
      "what is no key",
      () => ({ jwtAuthorities: [{ publicKey: Buffer.from("x"), keyId: "k" }] }),
      "jwt_authorities[0]",
    ],
  ])("refuses to append %s", async (_, request, detail) => {
    await expect(bench.bundles.appendBundle(request())).rejects.toMatchObject({
      status: "INVALID_ARGUMENT",
      detail: expect.stringContaining(detail) as string,
    });
  });
});

describe("the own bundle of a server that issues WIT-SVIDs", () => {
  let issuing: ServerBench;
  beforeAll(async () => {
    issuing = await ServerBench.start({ features: ["wit-svid"] });
    await issuing.bundles.appendBundle({ jwtAuthorities: [{ keyId: "twice", publicKey: makeKey().spki }] });
  });
  afterAll(() => issuing[Symbol.asyncDispose]());

  it("takes WIT keys from outside, each once, and tells agents", async () => {
    const agent = await TestAgent.attest(issuing);
    const watch = agent.watch();
    await watch.whole();
    const before = await issuing.bundles.getBundle({});
    const witAuthorities = [{ keyId: "outside", publicKey: makeKey().spki, expiresAt: 4_000_000_000n }];
    const append = () => issuing.bundles.appendBundle({ witAuthorities });
    const after = await append();
    expect(after.witAuthorities).toHaveLength(before.witAuthorities.length + 1);
    expect(after.witAuthorities.at(-1)).toMatchObject({ keyId: "outside", expiresAt: 4_000_000_000n });
    expect(after.jwtAuthorities).toEqual(before.jwtAuthorities);
    expect((await watch.next()).bundle?.witAuthorities).toHaveLength(after.witAuthorities.length);
    expect(await append()).toEqual(after);
    watch.close();
  });

  it.each<[string, () => object, string]>([
    ["without id", () => ({ keyId: "", publicKey: makeKey().spki }), "missing key ID"],
    ["that is none", () => ({ keyId: "k", publicKey: Buffer.from("x") }), "wit_authorities[0]"],
    [
      "with the id of another",
      () => ({ keyId: "twice", publicKey: makeKey().spki }),
      "key id of another key",
    ],
  ])("refuses a WIT key %s", async (_, key, detail) => {
    await expect(issuing.bundles.appendBundle({ witAuthorities: [key()] })).rejects.toMatchObject({
      status: "INVALID_ARGUMENT",
      detail: expect.stringContaining(detail) as string,
    });
  });
});

describe("federated bundles", () => {
  it("keep their WIT keys, whether or not the server issues WIT-SVIDs itself", async () => {
    const key = { keyId: "w1", publicKey: makeKey().spki, expiresAt: 4_000_000_000n, tainted: false };
    const wit = { ...wireBundle("wit.org"), witAuthorities: [key] };
    const { results } = await bench.bundles.batchSetFederatedBundle({ bundle: [wit] });
    expect(results[0]?.bundle?.witAuthorities).toMatchObject([{ keyId: "w1" }]);
    const broken = { ...wit, witAuthorities: [{ ...key, publicKey: Buffer.from("x") }] };
    const refused = await bench.bundles.batchSetFederatedBundle({ bundle: [broken] });
    expect(statuses(refused.results)[0]).toMatch(/^3 .*wit_authorities\[0\]/);
  });

  it("are created once, set at will and updated only where they are", async () => {
    const one = wireBundle("crud.org");
    const create = () => bench.bundles.batchCreateFederatedBundle({ bundle: [one, wireBundle("crud.org")] });
    expect((await create()).results.map(({ status }) => status?.code)).toEqual([0, 6]);
    const set = await bench.bundles.batchSetFederatedBundle({ bundle: [{ ...one, refreshHint: 60n }] });
    expect(set.results[0]).toMatchObject({
      status: { code: 0, message: "OK" },
      bundle: { refreshHint: 60n },
    });
    const update = await bench.bundles.batchUpdateFederatedBundle({
      bundle: [{ ...wireBundle("crud.org"), refreshHint: 90n, sequenceNumber: 9n }, wireBundle("absent.org")],
      inputMask: { refreshHint: true },
    });
    expect(update.results.map(({ status }) => status?.code)).toEqual([0, 5]);
    expect(update.results[0]?.bundle).toMatchObject({ refreshHint: 90n, sequenceNumber: 1n });
    expect(update.results[0]?.bundle?.x509Authorities.map(({ asn1 }) => Buffer.from(asn1))).toEqual(
      one.x509Authorities.map(({ asn1 }) => Buffer.from(asn1)),
    );
    const whole = await bench.bundles.batchUpdateFederatedBundle({
      bundle: [{ ...one, jwtAuthorities: [] }],
      outputMask: { jwtAuthorities: true },
    });
    expect(whole.results[0]?.bundle).toMatchObject({ jwtAuthorities: [], x509Authorities: [] });
    expect(await bench.bundles.getFederatedBundle({ trustDomain: "spiffe://crud.org" })).toMatchObject({
      trustDomain: "crud.org",
      jwtAuthorities: [],
    });
  });

  it("never are the own one", async () => {
    const own = wireBundle("example.org");
    const { batchCreateFederatedBundle, batchSetFederatedBundle, batchUpdateFederatedBundle } = bench.bundles;
    for (const write of [batchCreateFederatedBundle, batchSetFederatedBundle, batchUpdateFederatedBundle]) {
      expect((await write({ bundle: [own] })).results[0]?.status?.code).toBe(3);
    }
    const { results } = await bench.bundles.batchDeleteFederatedBundle({ trustDomains: ["example.org"] });
    expect(results[0]?.status?.code).toBe(3);
    await expect(bench.bundles.getFederatedBundle({ trustDomain: "example.org" })).rejects.toMatchObject({
      status: "INVALID_ARGUMENT",
    });
    expect((await bench.bundles.getBundle({})).x509Authorities.length).toBeGreaterThan(0);
  });

  it("are listed in order, page by page, and counted with the own one", async () => {
    const names = ["list-a.org", "list-b.org", "list-c.org"];
    await bench.bundles.batchSetFederatedBundle({ bundle: names.toReversed().map(wireBundle) });
    const all = (await bench.bundles.listFederatedBundles({})).bundles.map(({ trustDomain }) => trustDomain);
    expect(all).toEqual(all.toSorted());
    expect(all).toEqual(expect.arrayContaining(names));
    expect((await bench.bundles.countBundles({})).count).toBe(all.length + 1);
    const seen = [];
    for (let pageToken = "", more = true; more; more = pageToken !== "") {
      const page = await bench.bundles.listFederatedBundles({ pageSize: 2, pageToken, outputMask: {} });
      seen.push(...page.bundles.map(({ trustDomain }) => trustDomain));
      pageToken = page.nextPageToken;
    }
    expect(seen).toEqual(all);
    for (const page of [{ pageToken: "?" }, { pageToken: "x".repeat(1000) }, { pageSize: -1 }]) {
      await expect(bench.bundles.listFederatedBundles(page)).rejects.toMatchObject({
        status: "INVALID_ARGUMENT",
      });
    }
  });

  it("are refused where they are malformed, item by item", async () => {
    const good = wireBundle("items.org");
    const key = makeKey().spki;
    const { results } = await bench.bundles.batchSetFederatedBundle({
      bundle: [
        { ...good, x509Authorities: [{ asn1: Buffer.from("x") }] },
        { ...good, jwtAuthorities: [{ publicKey: key, keyId: "" }] },
        {
          ...good,
          jwtAuthorities: [
            { publicKey: key, keyId: "a" },
            { publicKey: key, keyId: "a" },
          ],
        },
        { ...good, refreshHint: -1n },
        good,
      ],
    });
    expect(results.map(({ status }) => status?.code)).toEqual([3, 3, 3, 3, 0]);
  });

  it("are deleted as told: not while used, with the entries, or taken out of them", async () => {
    await bench.bundles.batchSetFederatedBundle({ bundle: [wireBundle("used.org")] });
    const { results } = await bench.entries.batchCreateEntry({
      entries: [wireEntry("federating", PARENT, { federatesWith: ["used.org"] })],
    });
    const id = results[0]?.entry?.id ?? "";
    const remove = async (mode: Mode) =>
      (await bench.bundles.batchDeleteFederatedBundle({ trustDomains: ["used.org", "absent.org"], mode }))
        .results;
    expect((await remove(Mode.RESTRICT)).map(({ status }) => status?.code)).toEqual([9, 5]);
    const gone = await remove(Mode.DISSOCIATE);
    expect(statuses(gone)[0]).toBe("0 OK");
    expect(gone.map(({ trustDomain }) => trustDomain)).toEqual(["used.org", "absent.org"]);
    expect((await bench.entries.getEntry({ id })).federatesWith).toEqual([]);

    await bench.bundles.batchSetFederatedBundle({ bundle: [wireBundle("used.org")] });
    await bench.entries.batchUpdateEntry({
      entries: [{ id, federatesWith: ["used.org"] }],
      inputMask: { federatesWith: true },
    });
    expect((await remove(Mode.DELETE))[0]?.status?.code).toBe(0);
    await expect(bench.entries.getEntry({ id })).rejects.toMatchObject({ status: "NOT_FOUND" });
    await expect(remove(7 as Mode)).rejects.toMatchObject({ status: "INVALID_ARGUMENT" });
  });

  it("may be read by an agent, and reach it with the entry that names them", async () => {
    await bench.bundles.batchSetFederatedBundle({ bundle: [wireBundle("seen.org")] });
    const agent = await TestAgent.attest(bench);
    expect(await agent.bundles.getFederatedBundle({ trustDomain: "seen.org" })).toMatchObject({
      trustDomain: "seen.org",
    });
    await expect(agent.bundles.getFederatedBundle({ trustDomain: "unseen.org" })).rejects.toMatchObject({
      status: "NOT_FOUND",
    });
    const watch = agent.watch();
    expect((await watch.next()).federatedBundles).toEqual([]);
    await bench.entries.batchCreateEntry({
      entries: [wireEntry("seeing", agent.id, { federatesWith: ["seen.org"] })],
    });
    expect(await watch.next()).toMatchObject({
      upserted: [{ federatesWith: ["seen.org"] }],
      federatedBundles: [{ trustDomain: "seen.org" }],
    });
    await bench.bundles.batchDeleteFederatedBundle({ trustDomains: ["seen.org"], mode: Mode.DISSOCIATE });
    const messages = [await watch.next()];
    if (messages[0]?.deletedFederatedBundles.length === 0) messages.push(await watch.next());
    expect(messages.flatMap(({ deletedFederatedBundles }) => deletedFederatedBundles)).toEqual(["seen.org"]);
    watch.close();
  });
});
