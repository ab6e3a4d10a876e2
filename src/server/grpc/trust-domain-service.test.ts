import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { makeCa, makeCredential, RemoteServer } from "../../../test/fakes/remote-server.ts";
import { ServerBench } from "../../../test/fakes/server-bench.ts";
import { statuses } from "../../../test/fakes/server-wire.ts";
import { formatBundleDocument } from "../../crypto/bundle-document.ts";
import { parseAddressBlock } from "../../outbound/address-rules.ts";
import { TrustDomain } from "../../proto/gen/spire/api/server/trustdomain/v1/trustdomain_pb.ts";
import { emptyBundle } from "../../spiffe/bundle.ts";
import { parseTrustDomain } from "../../spiffe/trust-domain.ts";
import { NO_FEDERATION } from "../federation/federation-options.ts";

const B = parseTrustDomain("b.example");
const CA = makeCa("authority");
const ENDPOINT = "spiffe://b.example/spire/server";
const BUNDLE = {
  trustDomain: B,
  sequenceNumber: 1n,
  refreshHint: 300n,
  x509Authorities: [{ asn1: CA.certificate.der }],
};

let bench: ServerBench;
let endpoint: RemoteServer;

beforeAll(async () => {
  const allowedAddresses = ["127.0.0.0/8", "::1"].map(parseAddressBlock);
  bench = await ServerBench.start({ federation: { ...NO_FEDERATION, allowedAddresses } });
  const document = formatBundleDocument({
    ...emptyBundle(B),
    sequence: 7n,
    x509Authorities: [{ certificate: CA.certificate.der, tainted: false }],
  });
  endpoint = await RemoteServer.start(makeCredential(CA, { uris: [ENDPOINT] }), document);
});
afterAll(async () => {
  await endpoint?.[Symbol.asyncDispose]();
  await bench?.[Symbol.asyncDispose]();
});
afterEach(async () => {
  const { federationRelationships } = await service().listFederationRelationships({});
  const trustDomains = federationRelationships.map(({ trustDomain }) => trustDomain);
  await service().batchDeleteFederationRelationship({ trustDomains });
  await bench.bundles.batchDeleteFederatedBundle({ trustDomains: [B] });
});

describe("the TrustDomain service", () => {
  it("creates, reads, changes and deletes relationships, with or without a bundle", async () => {
    const created = await service().batchCreateFederationRelationship({
      federationRelationships: [web(B), spiffe("c.example")],
    });
    expect(statuses(created.results)).toEqual(["0 OK", "0 OK"]);
    expect(created.results[1]?.federationRelationship).toMatchObject(spiffe("c.example"));
    const updated = await service().batchUpdateFederationRelationship({
      federationRelationships: [
        { trustDomain: B, bundleEndpointUrl: "https://new.example/", trustDomainBundle: BUNDLE },
      ],
      inputMask: { bundleEndpointUrl: true, trustDomainBundle: true },
    });
    expect(statuses(updated.results)).toEqual(["0 OK"]);
    const found = await service().getFederationRelationship({ trustDomain: B });
    expect(found).toMatchObject({
      trustDomain: B,
      bundleEndpointUrl: "https://new.example/",
      bundleEndpointProfile: { case: "httpsWeb" },
      trustDomainBundle: { sequenceNumber: 1n },
    });
    const { results } = await service().batchDeleteFederationRelationship({
      trustDomains: [B, "none.example"],
    });
    expect(statuses(results)).toEqual([
      "0 OK",
      "5 failed to delete federation relationship: there is no federation relationship with none.example",
    ]);
    expect((await bench.bundles.getFederatedBundle({ trustDomain: B })).sequenceNumber).toBe(1n);
  });

  it("gives only what the mask names", async () => {
    await service().batchCreateFederationRelationship({
      federationRelationships: [{ ...web(B), trustDomainBundle: BUNDLE }],
    });
    const found = await service().getFederationRelationship({
      trustDomain: B,
      outputMask: { bundleEndpointUrl: true },
    });
    expect(found.bundleEndpointUrl).toBe("https://b.example/");
    expect(found.bundleEndpointProfile.case).toBeUndefined();
    expect(found.trustDomainBundle).toBeUndefined();
  });

  it("lists page by page, by trust domain", async () => {
    const names = ["c.example", "a.example", "b.example"];
    await service().batchCreateFederationRelationship({ federationRelationships: names.map(web) });
    const seen: string[] = [];
    for (let pageToken = ""; ; ) {
      const page = await service().listFederationRelationships({ pageSize: 2, pageToken });
      seen.push(...page.federationRelationships.map(({ trustDomain }) => trustDomain));
      pageToken = page.nextPageToken;
      if (pageToken === "") break;
    }
    expect(seen).toEqual(names.toSorted());
  });

  it.each([
    [
      { ...web(B), bundleEndpointUrl: "http://b.example/" },
      3,
      "failed to create federation relationship: failed to convert federation relationship: bundle endpoint URL must use the https scheme",
    ],
    [{ ...web(B), bundleEndpointUrl: "https://u:p@b.example/" }, 3, /URL must not contain user info/],
    [{ ...web(B), bundleEndpointUrl: "" }, 3, /bundle endpoint URL/],
    [{ ...web(B), bundleEndpointProfile: { case: undefined } }, 3, /https_web or https_spiffe/],
    [
      { ...spiffe(B), bundleEndpointProfile: { case: "httpsSpiffe", value: { endpointSpiffeId: "no" } } },
      3,
      /endpoint SPIFFE ID/,
    ],
    [{ ...web(B), trustDomain: "" }, 3, /trust domain is missing/],
    [
      { ...web(B), trustDomain: "example.org" },
      3,
      /unable to create federation relationship for server trust domain/,
    ],
    [
      { ...web(B), trustDomainBundle: { ...BUNDLE, trustDomain: "c.example" } },
      3,
      /trust domain bundle \("c\.example"\) must match/,
    ],
    [
      { ...web(B), trustDomainBundle: { ...BUNDLE, x509Authorities: [{ asn1: Uint8Array.of(1) }] } },
      3,
      /x509_authorities\[0\]/,
    ],
  ] as const)("refuses %o", async (relationship, code, message) => {
    const { results } = await service().batchCreateFederationRelationship({
      federationRelationships: [relationship as ReturnType<typeof web>, web("good.example")],
    });
    expect(results[0]?.status?.code).toBe(code);
    expect(results[0]?.status?.message).toMatch(message);
    expect(results[1]?.status?.code).toBe(0);
  });

  it("says what is there already and what is not", async () => {
    const create = () => service().batchCreateFederationRelationship({ federationRelationships: [web(B)] });
    await create();
    expect((await create()).results[0]?.status?.code).toBe(6);
    const { results } = await service().batchUpdateFederationRelationship({
      federationRelationships: [web("none.example")],
    });
    expect(results[0]?.status?.code).toBe(5);
    await expect(service().getFederationRelationship({ trustDomain: "none.example" })).rejects.toThrowCode(
      "NOT_FOUND",
      "federation relationship does not exist",
    );
    await expect(service().getFederationRelationship({ trustDomain: "A" })).rejects.toThrowCode(
      "INVALID_REQUEST",
      /failed to parse trust domain/,
    );
    await expect(service().refreshBundle({ trustDomain: "none.example" })).rejects.toThrowCode(
      "NOT_FOUND",
      'no relationship with trust domain "none.example"',
    );
    expect(
      statuses((await service().batchDeleteFederationRelationship({ trustDomains: [""] })).results),
    ).toEqual(["3 failed to delete federation relationship: missing trust domain"]);
  });

  it("fetches a bundle out of turn, and says why it could not", async () => {
    await service().batchCreateFederationRelationship({
      federationRelationships: [spiffe(B, endpoint.port)],
    });
    await expect(service().refreshBundle({ trustDomain: B })).rejects.toThrowCode(
      "SERVER_UNAVAILABLE",
      /failed to refresh bundle: there is no X\.509 authority of b\.example/,
    );
    await service().batchUpdateFederationRelationship({
      federationRelationships: [{ trustDomain: B, trustDomainBundle: BUNDLE }],
      inputMask: { trustDomainBundle: true },
    });
    await service().refreshBundle({ trustDomain: B });
    expect((await bench.bundles.getFederatedBundle({ trustDomain: B })).sequenceNumber).toBe(7n);
  });

  it("writes each change down, and each bundle that was fetched", async () => {
    const before = bench.audit().length;
    await service().batchCreateFederationRelationship({
      federationRelationships: [{ ...spiffe(B, endpoint.port), trustDomainBundle: BUNDLE }],
    });
    await service().refreshBundle({ trustDomain: B });
    await service().batchDeleteFederationRelationship({ trustDomains: [B] });
    const events = bench
      .audit()
      .slice(before)
      .flatMap(({ event, trust_domain }) => (trust_domain === B ? [event] : []));
    for (const event of ["federation.created", "federation.refreshed", "federation.deleted"]) {
      expect(events.filter((one) => one === event)).toHaveLength(1);
    }
    // The one to begin with, and the one that was fetched.
    expect(events.filter((one) => one === "bundle.changed")).toHaveLength(2);
  });
});

function service() {
  return bench.admin.service(TrustDomain);
}

function web(trustDomain: string) {
  return {
    trustDomain,
    bundleEndpointUrl: `https://${trustDomain}/`,
    bundleEndpointProfile: { case: "httpsWeb" as const, value: {} },
  };
}

function spiffe(trustDomain: string, port = 443) {
  return {
    trustDomain,
    bundleEndpointUrl: port === 443 ? `https://${trustDomain}/` : `https://localhost:${port}/`,
    bundleEndpointProfile: { case: "httpsSpiffe" as const, value: { endpointSpiffeId: ENDPOINT } },
  };
}
