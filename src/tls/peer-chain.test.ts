import { X509Certificate } from "node:crypto";
import type { DetailedPeerCertificate } from "node:tls";
import { describe, expect, it } from "vitest";
import { makeCertificate, makeKey } from "../../test/fakes/certificates.ts";
import { certificatesPem, peerChain } from "./peer-chain.ts";

type Link = Partial<DetailedPeerCertificate>;

/** Certificates as Node links them: the last one is its own issuer. */
function linked(count: number): Link {
  const root: Link = { raw: Buffer.of(0) };
  root.issuerCertificate = root as DetailedPeerCertificate;
  let link = root;
  for (let n = 1; n < count; n++) {
    link = { raw: Buffer.of(n), issuerCertificate: link as DetailedPeerCertificate };
  }
  return link;
}

describe("the chain of a peer", () => {
  it("is read leaf first, up to the certificate that is its own issuer", () => {
    expect(peerChain(linked(3))).toEqual([2, 1, 0].map((octet) => Buffer.of(octet)));
  });

  it("is empty where the peer showed nothing", () => {
    expect(peerChain({})).toEqual([]);
  });

  it("ends where certificates name each other in a circle", () => {
    const [one, two]: [Link, Link] = [{ raw: Buffer.of(1) }, { raw: Buffer.of(2) }];
    one.issuerCertificate = two as DetailedPeerCertificate;
    two.issuerCertificate = one as DetailedPeerCertificate;
    expect(peerChain(one)).toHaveLength(2);
  });

  it("is refused beyond sixteen certificates", () => {
    expect(peerChain(linked(16))).toHaveLength(16);
    expect(() => peerChain(linked(17))).toThrowCode("INVALID_CERTIFICATE", /too long/);
  });
});

it("certificates are written as PEM that OpenSSL reads, one after the other", () => {
  const certificates = ["a", "b"].map((subject) => makeCertificate({ subject, key: makeKey() }).der);
  const blocks = certificatesPem(certificates).split(/(?<=-----END CERTIFICATE-----\n)/);
  expect(blocks.map((pem) => new X509Certificate(pem).raw)).toEqual(
    certificates.map((der) => Buffer.from(der)),
  );
});
