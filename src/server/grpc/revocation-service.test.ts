import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { makeCertificate, makeKey, TEST_NOW } from "../../../test/fakes/certificates.ts";
import { makeCrl, type TestCrl } from "../../../test/fakes/crl.ts";
import { TestAgent } from "../../../test/fakes/server-agent.ts";
import { ServerBench } from "../../../test/fakes/server-bench.ts";
import { wireEntry } from "../../../test/fakes/server-wire.ts";
import { Revocation } from "../../proto/gen/assay/api/server/v1/revocation_pb.ts";

const PARTNER = "partner.example";
const key = makeKey();
const certificate = makeCertificate({
  subject: PARTNER,
  key,
  ca: true,
  uris: [`spiffe://${PARTNER}`],
  notBefore: 1_600_000_000,
  notAfter: 4_000_000_000,
});
const issuer = { certificate, key };
const inForce = { thisUpdate: 1_700_000_000, nextUpdate: 3_900_000_000 };

let bench: ServerBench;
beforeAll(async () => {
  bench = await ServerBench.start();
  await bench.bundles.batchSetFederatedBundle({
    bundle: [{ trustDomain: PARTNER, x509Authorities: [{ asn1: certificate.der }] }],
  });
});
afterAll(() => bench[Symbol.asyncDispose]());

const service = () => bench.admin.service(Revocation);
const set = (change: Partial<TestCrl> = {}) =>
  service().setRevocationList({ trustDomain: PARTNER, crl: makeCrl({ issuer, ...inForce, ...change }) });

describe("revocation lists of operators", () => {
  it("reach the agents that have the bundle, with each change, and go again", async () => {
    const agent = await TestAgent.attest(bench);
    const watch = agent.watch();
    expect((await watch.whole())[0]?.revocationLists?.lists).toEqual([]);
    await bench.entries.batchCreateEntry({
      entries: [wireEntry("db", agent.id, { federatesWith: [PARTNER] })],
    });
    expect((await watch.next()).federatedBundles).toHaveLength(1);

    const { list } = await set({ number: 1, revoked: [Uint8Array.of(5)] });
    expect(list).toMatchObject({ trustDomain: PARTNER, number: "1", revoked: 1 });
    expect((await watch.next()).revocationLists?.lists).toMatchObject([
      { trustDomain: PARTNER, crl: list?.crl },
    ]);
    await set({ number: 2 });
    expect((await watch.next()).revocationLists?.lists[0]?.crl).not.toEqual(list?.crl);
    expect((await service().listRevocationLists({})).lists).toMatchObject([{ number: "2", revoked: 0 }]);

    await service().deleteRevocationList({
      trustDomain: PARTNER,
      authorityKeyId: list?.authorityKeyId ?? "",
    });
    expect((await watch.next()).revocationLists?.lists).toEqual([]);
    expect((await service().listRevocationLists({})).lists).toEqual([]);
    watch.close();
  });

  it("are not taken back in time", async () => {
    await set({ number: 5 });
    await expect(set({ number: 4 })).rejects.toThrowCode("INVALID_REQUEST", /cRLNumber 4 is below 5/);
  });

  it.each<[string, Partial<TestCrl>, RegExp]>([
    ["that nobody in the bundle signed", { issuer: { certificate, key: makeKey() } }, /no X\.509 authority/],
    ["that is not in force yet", { thisUpdate: 3_800_000_000 }, /thisUpdate/],
    ["that is out of date", { nextUpdate: TEST_NOW - 1e8 }, /nextUpdate/],
    ["that is malformed", { number: null }, /cRLNumber/],
  ])("are refused where one comes %s", async (_, change, detail) => {
    await expect(set(change)).rejects.toThrowCode("INVALID_REQUEST", detail);
  });

  it("are refused for a trust domain without a bundle", async () => {
    const crl = makeCrl({ issuer, ...inForce });
    await expect(service().setRevocationList({ trustDomain: "nobody.example", crl })).rejects.toThrowCode(
      "NOT_FOUND",
    );
    await expect(
      service().deleteRevocationList({ trustDomain: PARTNER, authorityKeyId: "00" }),
    ).rejects.toThrowCode("NOT_FOUND");
  });
});
