import { describe, expect, it } from "vitest";
import { makeCa, makeCredential, RemoteServer, type TestCa } from "../../fakes/remote-server.ts";
import { eventually } from "../world.ts";
import {
  assay,
  B,
  bundle,
  bundleFlags,
  C,
  certificatesIn,
  certificatesOf,
  create,
  createAs,
  ENDPOINT,
  federatedBundles,
  here,
  knowEndpoint,
  NEW,
  OLD,
  redirect,
  refresh,
  refusal,
  relationship,
  sequence,
  setBundle,
  SVID,
  urlOf,
  useClientWorld,
  WEB,
  WEB_CA,
} from "./client-world.ts";
import { documentOf } from "./federation-world.ts";

useClientWorld();

describe("whom bundles are taken from", () => {
  const untrusted = makeCredential(makeCa("web CA"), { dnsNames: ["localhost"] });
  const past = { notBefore: 1_700_000_000, notAfter: 1_700_000_100 };

  it.each([
    ["FE-31", "that has expired", makeCredential(WEB_CA, { dnsNames: ["localhost"], ...past })],
    ["FE-32", "of a CA that nobody trusts here", untrusted],
    ["FE-33", "for another name", makeCredential(WEB_CA, { dnsNames: ["elsewhere.example"] })],
  ])("%s not from a server with a certificate of the web %s", async (_id, _what, credential) => {
    here.endpoint.show(credential);
    await create(B, urlOf(here.endpoint));
    expect(await refusal(refresh(B))).toMatch(/is not accepted/);
    expect(here.endpoint.received).toBe(0);
  });

  it("FE-13 from servers of both profiles", async () => {
    await create(B, urlOf(here.endpoint));
    await refresh(B);
    await assay(
      "federation",
      "update",
      `--trust-domain=${B}`,
      "--profile=https_spiffe",
      `--endpoint-spiffe-id=${ENDPOINT}`,
    );
    here.endpoint.show(SVID);
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
    here.endpoint.show(credential);
    await createAs("https_spiffe");
    expect(await refusal(refresh(B))).toMatch(/is not accepted/);
    expect(here.endpoint.received).toBe(0);
  });

  it("FE-56 by the newest bundle of the endpoint's trust domain, not by the first", async () => {
    await knowEndpoint();
    here.endpoint.answer = (_request, response) =>
      void response.end(documentOf(B, [OLD, NEW], { sequence: 2n }));
    await createAs("https_spiffe");
    await refresh(B);
    here.endpoint.show(makeCredential(NEW, { uris: [ENDPOINT] }));
    here.endpoint.answer = (_request, response) => void response.end(documentOf(B, [NEW], { sequence: 3n }));
    await refresh(B);
    expect(await sequence(B)).toBe("3");
    here.endpoint.show(SVID);
    expect(await refusal(refresh(B))).toMatch(/is not accepted/);
  });

  it("FE-44 by the bundle of the endpoint's own trust domain, which is configured apart", async () => {
    here.endpoint.show(makeCredential(NEW, { uris: [`spiffe://${C}/endpoint`] }));
    await create(B, urlOf(here.endpoint), `spiffe://${C}/endpoint`, await bundleFlags("pem", NEW.pem));
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
        here.endpoint.show(makeCredential(OLD, { uris: [`spiffe://${C}/endpoint`] }));
        await create(B, urlOf(here.endpoint), `spiffe://${C}/endpoint`);
        await refresh(B);
        here.endpoint.show(makeCredential(NEW, { uris: [`spiffe://${C}/endpoint`] }));
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
      here.target.show(id === "FE-60" ? WEB : untrusted);
      await createAs(id === "FE-60" ? "https_spiffe" : "https_web");
      expect(await refusal(refresh(B))).toMatch(/is not accepted/);
      expect(here.target.received).toBe(0);
    },
  );

  it("FE-61 after a redirect only from a server with the SPIFFE ID that was configured", async () => {
    await knowEndpoint();
    redirect(302);
    here.target.show(makeCredential(OLD, { uris: [`spiffe://${B}/other`] }));
    await createAs("https_spiffe");
    expect(await refusal(refresh(B))).toMatch(/b\.example\/other/);
    expect(here.target.received).toBe(0);
  });
});

describe("what becomes of a fetched bundle", () => {
  it("FE-09 it is not taken where its sequence is older", async () => {
    here.endpoint.answer = (_request, response) => void response.end(documentOf(B, [OLD], { sequence: 5n }));
    await create(B, urlOf(here.endpoint));
    await refresh(B);
    here.endpoint.answer = (_request, response) => void response.end(documentOf(B, [NEW], { sequence: 4n }));
    expect(await refusal(refresh(B))).toMatch(/sequence 4, older than the stored 5/);
    expect(certificatesOf(await bundle(B))).toEqual(certificatesIn([OLD]));
  });

  it("FE-10 the last one counts where there is no sequence", async () => {
    const without = (authorities: readonly TestCa[]) =>
      JSON.stringify({ keys: (JSON.parse(documentOf(B, authorities)) as { keys: unknown }).keys });
    here.endpoint.answer = (_request, response) => void response.end(without([OLD]));
    await create(B, urlOf(here.endpoint));
    await refresh(B);
    here.endpoint.answer = (_request, response) => void response.end(without([NEW]));
    await refresh(B);
    expect(certificatesOf(await bundle(B))).toEqual(certificatesIn([NEW]));
  });

  it("FE-11 one that was set by hand is in force until the next is fetched", async () => {
    await create(B, urlOf(here.endpoint));
    await refresh(B);
    await setBundle(B, [NEW], 1n);
    expect(certificatesOf(await bundle(B))).toEqual(certificatesIn([NEW]));
    await refresh(B);
    expect(certificatesOf(await bundle(B))).toEqual(certificatesIn([OLD]));
  });

  it.each(["FE-12", "FE-18"])(
    "%s workloads get it under the name of its trust domain and with no other's keys",
    async () => {
      await create(B, urlOf(here.endpoint));
      await refresh(B);
      await setBundle(C, [NEW], 1n);
      const id = await here.world.createEntry({ path: "/federated", federatesWith: [B, C] });
      const seen = await eventually(
        () => federatedBundles(),
        (bundlesOfWorkload) => Object.keys(bundlesOfWorkload).length === 2,
      );
      expect(Buffer.from(seen[`spiffe://${B}`] ?? []).equals(OLD.certificate.der)).toBe(true);
      expect(Buffer.from(seen[`spiffe://${C}`] ?? []).equals(NEW.certificate.der)).toBe(true);
      await here.world.deleteEntry(id);
    },
  );

  it("FE-65 it goes from the workloads when relationship and bundle are deleted, and nobody asks for it any more", async () => {
    await create(B, urlOf(here.endpoint));
    await refresh(B);
    const id = await here.world.createEntry({ path: "/federated", federatesWith: [B] });
    await eventually(
      () => federatedBundles(),
      (seen) => Object.keys(seen).length === 1,
    );
    await assay("federation", "delete", `--trust-domain=${B}`, "--bundle=dissociate");
    await eventually(
      () => federatedBundles(),
      (seen) => Object.keys(seen).length === 0,
    );
    const before = here.endpoint.requests.length;
    await new Promise((resolve) => setTimeout(resolve, 6_000));
    expect(here.endpoint.requests).toHaveLength(before);
    await here.world.deleteEntry(id);
  });
});
