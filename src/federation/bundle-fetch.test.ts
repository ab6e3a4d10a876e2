import { afterEach, describe, expect, it } from "vitest";
import { makeCa, makeCredential, RemoteServer, type TestCa } from "../../test/fakes/remote-server.ts";
import { systemClock } from "../clock.ts";
import { formatBundleDocument } from "../crypto/bundle-document.ts";
import { addressRules, parseAddressBlock } from "../outbound/address-rules.ts";
import { createOutbound } from "../outbound/outbound.ts";
import { emptyBundle, type SpiffeBundle } from "../spiffe/bundle.ts";
import { parseSpiffeId } from "../spiffe/id.ts";
import { parseTrustDomain, type TrustDomain } from "../spiffe/trust-domain.ts";
import type { FederationRelationshipRecord } from "../store/records.ts";
import { type BundleFetchOptions, fetchBundle } from "./bundle-fetch.ts";

const B = parseTrustDomain("b.example");
const C = parseTrustDomain("c.example");
const WEB_CA = makeCa("web");
const OLD = makeCa("authority");
const NEW = makeCa("authority");
const ENDPOINT = "spiffe://b.example/spire/server";
const servers: RemoteServer[] = [];

afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => server[Symbol.asyncDispose]()));
});

describe("fetching over https_web", () => {
  it("gives the bundle of the trust domain that was configured, whatever the host is called", async () => {
    const server = await serving(
      bundleOf(B, 7n, [OLD]),
      makeCredential(WEB_CA, { dnsNames: ["elsewhere.example"] }),
    );
    const { bundle, address, redirects } = await fetch(web(server, "elsewhere.example"));
    expect(bundle).toMatchObject({ trustDomain: B, sequence: 7n, refreshHint: 60 });
    expect([address, redirects]).toEqual(["127.0.0.1", 0]);
  });

  it.each([
    ["nothing", "", /not JSON/],
    ["a page", "<html>", /not JSON/],
    ["a list", "[]", /JSON object/],
    ["no keys", '{"spiffe_sequence":1}', /keys must be an array/],
    ["a name twice", '{"keys":[],"keys":[]}', /twice/],
    ["a byte order mark", '\ufeff{"keys":[]}', /not JSON/],
  ])("refuses %s", async (_what, body, reason) => {
    const server = await serving(body, makeCredential(WEB_CA, { dnsNames: ["b.example"] }));
    await expect(fetch(web(server))).rejects.toThrowCode("BUNDLE_NOT_FETCHED", reason);
  });

  it("refuses a certificate that only an operator's bundle would vouch for", async () => {
    const server = await serving("{}", makeCredential(OLD, { dnsNames: ["b.example"], uris: [ENDPOINT] }));
    await expect(fetch(web(server), [bundleOf(B, 1n, [OLD])])).rejects.toThrowCode(
      "BUNDLE_NOT_FETCHED",
      /not accepted/,
    );
    expect(server.requests).toEqual([]);
  });

  it("follows redirects unless it is told not to", async () => {
    const credential = makeCredential(WEB_CA, { dnsNames: ["b.example"] });
    const target = await serving(bundleOf(B, 2n, [OLD]), credential);
    const server = await serving("", credential);
    server.answer = (_request, response) => {
      response.writeHead(307, { location: `https://b.example:${target.port}/` }).end();
    };
    expect((await fetch(web(server))).bundle.sequence).toBe(2n);
    await expect(fetch(web(server), [], { followRedirects: false })).rejects.toThrowCode(
      "BUNDLE_NOT_FETCHED",
      /not followed/,
    );
  });
});

describe("fetching over https_spiffe", () => {
  const svid = (ca: TestCa, id = ENDPOINT) => makeCredential(ca, { uris: [id] });

  it("takes a server by its SPIFFE ID and not by its name", async () => {
    const server = await serving(bundleOf(B, 2n, [OLD]), svid(OLD));
    const { bundle } = await fetch(spiffe(server), [bundleOf(B, 1n, [OLD])]);
    expect(bundle.sequence).toBe(2n);
  });

  it.each([
    [
      "another path",
      svid(OLD, "spiffe://b.example/spire/servers"),
      /expected spiffe:\/\/b\.example\/spire\/server/,
    ],
    ["another trust domain", svid(OLD, "spiffe://c.example/spire/server"), /spiffe:\/\/c\.example/],
    ["a certificate of the web", makeCredential(WEB_CA, { dnsNames: ["b.example"] }), /not accepted/],
    ["the right ID by another authority", svid(makeCa("authority")), /not accepted/],
    ["no ID", makeCredential(OLD, { dnsNames: ["b.example"] }), /one URI/],
    ["two IDs", makeCredential(OLD, { uris: [ENDPOINT, "spiffe://b.example/x"] }), /one URI/],
    ["an ID that may sign", makeCredential(OLD, { uris: [ENDPOINT], keyUsage: [2, 0x84] }), /keyCertSign/],
    ["no keyUsage", makeCredential(OLD, { uris: [ENDPOINT], keyUsage: null }), /keyUsage/],
    [
      "an SVID past its end",
      makeCredential(OLD, { uris: [ENDPOINT], notBefore: 1_700_000_000, notAfter: 1_700_000_100 }),
      /expired/,
    ],
  ])("refuses a server that shows %s before anything is sent to it", async (_what, credential, reason) => {
    const server = await serving(bundleOf(B, 2n, [OLD]), credential);
    await expect(fetch(spiffe(server), [bundleOf(B, 1n, [OLD]), bundleOf(C, 1n, [OLD])])).rejects.toThrowCode(
      "BUNDLE_NOT_FETCHED",
      reason,
    );
    expect(server.received).toBe(0);
  });

  it("knows the server by the newest bundle each time, so that it follows a rotation and forgets the old root", async () => {
    const bundles = [bundleOf(B, 1n, [OLD])];
    const server = await serving(bundleOf(B, 2n, [OLD, NEW]), svid(OLD));
    const first = await fetch(spiffe(server), bundles);
    bundles[0] = first.bundle;
    server.show(svid(NEW));
    server.answer = (_request, response) => void response.end(formatBundleDocument(bundleOf(B, 3n, [NEW])));
    bundles[0] = (await fetch(spiffe(server), bundles)).bundle;
    expect(bundles[0].sequence).toBe(3n);
    server.show(svid(OLD));
    await expect(fetch(spiffe(server), bundles)).rejects.toThrowCode("BUNDLE_NOT_FETCHED", /not accepted/);
  });

  it("knows an endpoint of another trust domain by that one's bundle alone", async () => {
    const server = await serving(bundleOf(B, 2n, [OLD]), svid(NEW, "spiffe://c.example/endpoint"));
    const relationship = spiffe(server, "spiffe://c.example/endpoint");
    await expect(fetch(relationship, [bundleOf(B, 1n, [NEW])])).rejects.toThrowCode(
      "BUNDLE_NOT_FETCHED",
      /no X\.509 authority of c\.example/,
    );
    expect((await fetch(relationship, [bundleOf(C, 1n, [NEW])])).bundle.trustDomain).toBe(B);
  });

  it("asks nobody while the trust domain's bundle is missing or empty", async () => {
    const server = await serving("", svid(OLD));
    for (const bundles of [[], [emptyBundle(B)]]) {
      await expect(fetch(spiffe(server), bundles)).rejects.toThrowCode(
        "BUNDLE_NOT_FETCHED",
        /set its bundle/,
      );
    }
    expect(server.connections).toBe(0);
  });

  it("follows a redirect to a server with the same SPIFFE ID and to no other", async () => {
    const target = await serving(bundleOf(B, 2n, [OLD]), svid(OLD));
    const server = await serving("", svid(OLD));
    server.answer = (_request, response) => {
      response.writeHead(302, { location: `https://localhost:${target.port}/` }).end();
    };
    const bundles = [bundleOf(B, 1n, [OLD])];
    expect((await fetch(spiffe(server), bundles)).redirects).toBe(1);
    target.show(svid(OLD, "spiffe://b.example/other"));
    await expect(fetch(spiffe(server), bundles)).rejects.toThrowCode(
      "BUNDLE_NOT_FETCHED",
      /b\.example\/other/,
    );
    target.show(makeCredential(WEB_CA, { dnsNames: ["localhost"] }));
    await expect(fetch(spiffe(server), bundles)).rejects.toThrowCode("BUNDLE_NOT_FETCHED", /not accepted/);
    expect(target.requests).toHaveLength(1);
  });

  it("finds the one authority that signed among five hundred of the same name", async () => {
    const crowd = Array.from({ length: 500 }, () => makeCa("authority"));
    const authorities = [...crowd.slice(0, 400), OLD, ...crowd.slice(400)];
    const server = await serving(bundleOf(B, 2n, [OLD]), svid(OLD));
    expect((await fetch(spiffe(server), [bundleOf(B, 1n, authorities)])).bundle.sequence).toBe(2n);
  }, 30_000);

  it("accepts an authority that is an intermediate, and no intermediate that has expired", async () => {
    const intermediate = makeCa("issuing", { issuer: OLD });
    const expired = makeCa("issuing", { issuer: OLD, notBefore: 1_700_000_000, notAfter: 1_700_000_100 });
    const server = await serving(bundleOf(B, 2n, [OLD]), makeCredential(intermediate, { uris: [ENDPOINT] }));
    expect((await fetch(spiffe(server), [bundleOf(B, 1n, [intermediate])])).bundle.sequence).toBe(2n);
    server.show(makeCredential(intermediate, { uris: [ENDPOINT] }, [intermediate]));
    expect((await fetch(spiffe(server), [bundleOf(B, 1n, [OLD])])).bundle.sequence).toBe(2n);
    server.show(makeCredential(expired, { uris: [ENDPOINT] }, [expired]));
    await expect(fetch(spiffe(server), [bundleOf(B, 1n, [OLD])])).rejects.toThrowCode(
      "BUNDLE_NOT_FETCHED",
      /expired/,
    );
  });
});

async function serving(
  what: SpiffeBundle | string,
  credential: { cert: string; key: string },
): Promise<RemoteServer> {
  const server = await RemoteServer.start(
    credential,
    typeof what === "string" ? what : formatBundleDocument(what),
  );
  servers.push(server);
  return server;
}

function fetch(
  relationship: FederationRelationshipRecord,
  bundles: readonly SpiffeBundle[] = [],
  change: Partial<BundleFetchOptions> = {},
) {
  const outbound = createOutbound({
    clock: systemClock,
    addresses: addressRules([parseAddressBlock("127.0.0.0/8")]),
    resolve: async () => ["127.0.0.1"],
  });
  return fetchBundle(relationship, {
    clock: systemClock,
    outbound,
    bundleOf: (trustDomain) => bundles.find((bundle) => bundle.trustDomain === trustDomain),
    webAuthorities: [WEB_CA.pem],
    followRedirects: true,
    ...change,
  });
}

function web({ port }: RemoteServer, host = "b.example"): FederationRelationshipRecord {
  return { trustDomain: B, bundleEndpointUrl: `https://${host}:${port}/`, profile: { type: "https_web" } };
}

function spiffe(server: RemoteServer, id = ENDPOINT): FederationRelationshipRecord {
  return {
    ...web(server, "nobody-checks.example"),
    profile: { type: "https_spiffe", endpointSpiffeId: parseSpiffeId(id) },
  };
}

function bundleOf(trustDomain: TrustDomain, sequence: bigint, authorities: readonly TestCa[]): SpiffeBundle {
  return {
    ...emptyBundle(trustDomain),
    sequence,
    refreshHint: 60,
    x509Authorities: authorities.map(({ certificate }) => ({ certificate: certificate.der, tainted: false })),
  };
}
