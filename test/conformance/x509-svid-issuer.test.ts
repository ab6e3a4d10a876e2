import { sign, X509Certificate } from "node:crypto";
import { connect } from "node:tls";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createCertificationRequest } from "../../src/crypto/pkcs10-writer.ts";
import { SVID } from "../../src/proto/gen/spire/api/server/svid/v1/svid_pb.ts";
import { makeFactoryKey } from "../fakes/svid-factory.ts";
import { type CertificateView, viewCertificate, viewCertificates } from "./certificate-view.ts";
import { eventually, firstOf, makeWorld, SECURED, type World } from "./world.ts";

const SELF = "spiffe://example.org/self";
const SERVER_AUTH = "1.3.6.1.5.5.7.3.1";
/** What is well-formed and may not be issued. */
const DENIED = { status: "PERMISSION_DENIED" } as const;
const CLIENT_AUTH = "1.3.6.1.5.5.7.3.2";

let world: World;
let leaves: Readonly<Record<LeafSource, CertificateView>>;
let chain: readonly CertificateView[];
let authorities: readonly CertificateView[];

type LeafSource = (typeof LEAF_SOURCES)[number];
const LEAF_SOURCES = [
  "a workload",
  "a workload with DNS names",
  "an operator's request",
  "the server itself",
] as const;

beforeAll(async () => {
  world = await makeWorld();
  await world.createEntry({ path: "/self" });
  await world.createEntry({ path: "/named", dnsNames: ["a.test", "b.test"] });
  const { svids } = await eventually(
    () => firstOf(world.api.fetchX509SVID({}, SECURED)),
    (answer) => answer.svids.length === 2,
  );
  chain = viewCertificates(svids[0]?.x509Svid ?? Buffer.of());
  authorities = viewCertificates(svids[0]?.bundle ?? Buffer.of());
  leaves = {
    "a workload": first(chain),
    "a workload with DNS names": first(viewCertificates(svids[1]?.x509Svid ?? Buffer.of())),
    "an operator's request": viewCertificate(await minted(SELF)),
    "the server itself": viewCertificate(await serverCertificate()),
  };
});

afterAll(() => world?.[Symbol.asyncDispose]());

describe.each(LEAF_SOURCES)("the leaf of %s", (source) => {
  const leaf = () => leaves[source];

  it("XS-01 has exactly one URI", () => {
    expect(leaf().uris).toHaveLength(1);
  });

  it("ID-01 begins with spiffe://", () => {
    expect(leaf().uris[0]).toMatch(/^spiffe:\/\/example\.org\//);
  });

  it("XS-05 has critical names if it has no subject", () => {
    const { hasSubject, sanCritical } = leaf();
    expect(hasSubject || sanCritical).toBe(true);
  });

  it("XS-14 says that it is no CA, in an extension that is there", () => {
    expect(leaf().ca).toBe(false);
    // 30 00 is the empty SEQUENCE: DER leaves out what is false.
    expect(leaf().der.includes(Buffer.from("0603551d130101ff04023000", "hex"))).toBe(true);
  });

  it.each(["XS-17", "XS-18"])("%s has a key usage, and it is critical", () => {
    expect(leaf().keyUsage).toBeDefined();
    expect(leaf().keyUsageCritical).toBe(true);
  });

  it("XS-21 may sign data", () => {
    expect(leaf().keyUsage).toContain("digitalSignature");
  });

  it("XS-22 may encipher keys and agree on them, and nothing else", () => {
    const rest = leaf().keyUsage?.filter((name) => name !== "digitalSignature") ?? [];
    expect(["keyEncipherment", "keyAgreement"]).toEqual(expect.arrayContaining(rest));
  });

  it.each([
    ["XS-23", "keyCertSign"],
    ["XS-24", "cRLSign"],
  ])("%s lacks %s", (_line, bit) => {
    expect(leaf().keyUsage).not.toContain(bit);
  });

  it.each(["XS-25", "XS-27"])("%s may be used at both ends of TLS", () => {
    expect(leaf().purposes?.toSorted()).toEqual([SERVER_AUTH, CLIENT_AUTH]);
  });
});

describe("the names in a leaf", () => {
  it("XS-03 may have others beside the URI", () => {
    const { subjectAltName } = new X509Certificate(leaves["a workload with DNS names"].der);
    expect(subjectAltName).toBe("URI:spiffe://example.org/named, DNS:a.test, DNS:b.test");
  });

  it("XS-01 is one URI whatever a request asks for", async () => {
    await expect(minted(SELF, `${SELF}/two`)).rejects.toMatchObject({ status: "INVALID_ARGUMENT" });
    await expect(minted(SELF, "https://example.org/")).rejects.toMatchObject({ status: "INVALID_ARGUMENT" });
    await expect(minted()).rejects.toMatchObject({ status: "INVALID_ARGUMENT" });
  });

  it("XS-04 is an ID with a path", async () => {
    await expect(minted("spiffe://example.org")).rejects.toMatchObject(DENIED);
    await expect(minted("spiffe://example.org/")).rejects.toMatchObject({ status: "INVALID_ARGUMENT" });
    await expect(world.createEntry({ path: "" })).rejects.toThrow(/path/);
  });

  it("ID-27 is of the own trust domain", async () => {
    await expect(minted("spiffe://elsewhere.test/x")).rejects.toMatchObject(DENIED);
    await expect(world.createEntry({ path: "/x", trustDomain: "elsewhere.test" })).rejects.toThrow(
      /trust domain/,
    );
    const mint = world.admin.service(SVID).mintJWTSVID({
      id: { trustDomain: "elsewhere.test", path: "/x" },
      audience: ["a"],
    });
    await expect(mint).rejects.toMatchObject(DENIED);
  });
});

describe("an authority", () => {
  const authority = () => first(authorities);

  it.each(["ID-20", "ID-22", "XS-07", "XS-08", "XS-01"])(
    "%s is named by its trust domain, without path or slash",
    () => {
      expect(authorities).toHaveLength(1);
      expect(authority().uris).toEqual(["spiffe://example.org"]);
    },
  );

  it.each(["ID-21", "XS-09"])("%s is of the trust domain that it signs for", () => {
    const [own] = authority().uris;
    expect(leaves["a workload"].uris[0]).toBe(`${own ?? ""}/self`);
  });

  it("XS-13 says that it is a CA", () => {
    expect(authority().ca).toBe(true);
  });

  it("XS-12 bounds no path", () => {
    expect(authority().pathLength).toBeUndefined();
  });

  it("XS-16 has no name constraints", () => {
    expect(authority().hasNameConstraints).toBe(false);
  });

  it.each(["XS-17", "XS-18"])("%s has a key usage, and it is critical", () => {
    expect(authority().keyUsage).toBeDefined();
    expect(authority().keyUsageCritical).toBe(true);
  });

  it("XS-19 may sign certificates", () => {
    expect(authority().keyUsage).toContain("keyCertSign");
  });

  it("XS-20 may sign revocation lists", () => {
    expect(authority().keyUsage).toContain("cRLSign");
  });

  it("XS-43 has no usage but these two", () => {
    expect(authority().keyUsage).toEqual(["keyCertSign", "cRLSign"]);
  });

  it("XS-28 has no extended key usage, which some would hold against all below it", () => {
    expect(authority().purposes).toBeUndefined();
  });

  it("XS-05 has a subject", () => {
    expect(authority().hasSubject).toBe(true);
  });
});

describe("what is signed", () => {
  const verifies = (leaf: X509Certificate) =>
    leaf.verify(new X509Certificate(first(authorities).der).publicKey);

  it("ID-23 has the ID in it", () => {
    const { der } = leaves["a workload"];
    expect(verifies(new X509Certificate(der))).toBe(true);
    const forged = Buffer.from(der);
    const at = forged.indexOf(SELF);
    forged.write("elfs", at + SELF.length - 4, "latin1");
    expect(viewCertificate(forged).uris).toEqual(["spiffe://example.org/elfs"]);
    expect(verifies(new X509Certificate(forged))).toBe(false);
  });

  it("ID-24 has the key in it", () => {
    const { der } = leaves["a workload"];
    const key = new X509Certificate(der).publicKey.export({ format: "der", type: "spki" });
    const forged = Buffer.from(der);
    forged.set(makeFactoryKey().spki, der.indexOf(key));
    expect(forged.equals(der)).toBe(false);
    expect(verifies(new X509Certificate(forged))).toBe(false);
  });
});

async function minted(...uris: readonly string[]): Promise<Buffer> {
  const { spki, privateKey } = makeFactoryKey();
  const csr = createCertificationRequest({ spki, uris }, "ecdsa-sha256", (bytes) =>
    sign("sha256", bytes, privateKey),
  );
  const { svid } = await world.admin.service(SVID).mintX509SVID({ csr });
  return Buffer.from(svid?.certChain[0] ?? []);
}

function serverCertificate(): Promise<Buffer> {
  const [host = "", port = ""] = world.server.place.address.split(":");
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port: Number(port), rejectUnauthorized: false, ALPNProtocols: ["h2"] });
    socket.once("error", reject);
    socket.once("secureConnect", () => {
      resolve(socket.getPeerCertificate().raw);
      socket.destroy();
    });
  });
}

function first<T>(values: readonly T[]): T {
  const [value] = values;
  if (value === undefined) throw new Error("there is none");
  return value;
}
