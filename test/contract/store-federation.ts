import { describe, expect, it } from "vitest";
import { parseTrustDomain, type TrustDomain } from "../../src/spiffe/trust-domain.ts";
import { parseSpiffeId } from "../../src/spiffe/id.ts";
import type { FederationRelationshipRecord } from "../../src/store/records.ts";
import { changesAfter, FOREIGN, foreignBundle, newEntry, OWN } from "./store-samples.ts";
import type { StoreUnderTest } from "./store-suite.ts";

const OTHER = parseTrustDomain("a.example");

export function federationContract(subject: StoreUnderTest): void {
  describe("federation relationships", () => {
    it("gives back relationships of both profiles whole, before and after a restart", async () => {
      const { federation } = subject.store;
      expect(await federation.create(web())).toEqual(web());
      expect(await federation.create(spiffe(OTHER))).toEqual(spiffe(OTHER));
      const again = await subject.reopen();
      expect(await again.federation.get(FOREIGN)).toEqual(web());
      expect(await again.federation.get(OTHER)).toEqual(spiffe(OTHER));
      expect(await again.federation.get(parseTrustDomain("none.example"))).toBeUndefined();
    });

    it("lists them by trust domain, page by page", async () => {
      const names = ["c.example", "a.example", "d.example", "b.example"].map(parseTrustDomain);
      for (const name of names) await subject.store.federation.create(web(name));
      const listed = async (after: string, limit: number) =>
        (await subject.store.federation.list(after, limit)).map(({ trustDomain }) => trustDomain);
      expect(await listed("", 3)).toEqual(["a.example", "b.example", "c.example"]);
      expect(await listed("c.example", 3)).toEqual(["d.example"]);
      expect(await listed("b.example.org", 10)).toEqual(["c.example", "d.example"]);
      await expect(subject.store.federation.list("", 0)).rejects.toThrowCode("INVALID_REQUEST", /limit/);
    });

    it("makes each relationship once, and none with the own trust domain", async () => {
      const { federation } = subject.store;
      await federation.create(web());
      const before = await subject.store.changes.latest();
      await expect(federation.create(spiffe(FOREIGN), foreignBundle(9n))).rejects.toThrowCode(
        "ALREADY_EXISTS",
        FOREIGN,
      );
      await expect(federation.create(web(OWN))).rejects.toThrowCode("INVALID_RELATIONSHIP", /own/);
      expect(await federation.get(FOREIGN)).toEqual(web());
      expect(await subject.store.bundles.get(FOREIGN)).toBeUndefined();
      expect(await subject.store.changes.latest()).toBe(before);
    });

    it("sets the bundle that comes along in the same transaction, whatever was stored", async () => {
      const { federation, bundles } = subject.store;
      await federation.create(web(), foreignBundle(3n));
      expect(await changesAfter(subject.store, 0)).toEqual([
        `federation_relationship put ${FOREIGN}`,
        `bundle put ${FOREIGN}`,
      ]);
      await federation.update(FOREIGN, {}, foreignBundle(2n));
      expect((await bundles.get(FOREIGN))?.sequence).toBe(2n);
    });

    it("leaves nothing where the bundle is another trust domain's", async () => {
      const { federation } = subject.store;
      const creation = federation.create(web(), foreignBundle(1n, OTHER));
      await expect(creation).rejects.toThrowCode("INVALID_RELATIONSHIP", /a\.example.*partner\.example/);
      expect(await federation.get(FOREIGN)).toBeUndefined();
      expect(await changesAfter(subject.store, 0)).toEqual([]);
    });

    it("changes what it is told to and nothing else, with one row for what changed", async () => {
      const { federation } = subject.store;
      await federation.create(web());
      const before = await subject.store.changes.latest();
      const url = "https://elsewhere.example/bundle";
      expect(await federation.update(FOREIGN, { bundleEndpointUrl: url })).toEqual({
        ...web(),
        bundleEndpointUrl: url,
      });
      await federation.update(FOREIGN, { bundleEndpointUrl: url });
      await federation.update(FOREIGN, {});
      const { profile } = spiffe(FOREIGN);
      await federation.update(FOREIGN, { profile });
      expect(await federation.get(FOREIGN)).toEqual({ ...web(), bundleEndpointUrl: url, profile });
      expect(await changesAfter(subject.store, before)).toEqual([
        `federation_relationship put ${FOREIGN}`,
        `federation_relationship put ${FOREIGN}`,
      ]);
      await expect(federation.update(OTHER, { profile })).rejects.toThrowCode(
        "RELATIONSHIP_NOT_FOUND",
        OTHER,
      );
    });

    it("deletes a relationship and keeps the bundle and the entries that name it", async () => {
      const { federation, bundles, entries, changes } = subject.store;
      await federation.create(web(), foreignBundle());
      await entries.create([newEntry("a", { federatesWith: [FOREIGN] })]);
      const before = await changes.latest();
      await federation.delete(FOREIGN);
      await expect(federation.delete(FOREIGN)).rejects.toThrowCode("RELATIONSHIP_NOT_FOUND", FOREIGN);
      expect(await bundles.get(FOREIGN)).toEqual(foreignBundle());
      expect((await entries.get(["a"]))[0]?.federatesWith).toEqual([FOREIGN]);
      expect(await changesAfter(subject.store, before)).toEqual([
        `federation_relationship delete ${FOREIGN}`,
      ]);
    });
  });
}

function web(trustDomain: TrustDomain = FOREIGN): FederationRelationshipRecord {
  return {
    trustDomain,
    bundleEndpointUrl: `https://${trustDomain}:8443/`,
    profile: { type: "https_web" },
  };
}

function spiffe(trustDomain: TrustDomain): FederationRelationshipRecord {
  return {
    ...web(trustDomain),
    profile: {
      type: "https_spiffe",
      endpointSpiffeId: parseSpiffeId(`spiffe://${trustDomain}/spire/server`),
    },
  };
}
