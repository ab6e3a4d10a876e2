import { describe, expect, it } from "vitest";
import { makeCertificate, makeKey, TEST_NOW } from "../../test/fakes/certificates.ts";
import { FakeClock } from "../../test/fakes/clock.ts";
import { makeCrl } from "../../test/fakes/crl.ts";
import { OIDS } from "../crypto/der/oid.ts";
import type { SpiffeBundle } from "../spiffe/bundle.ts";
import { parseTrustDomain } from "../spiffe/trust-domain.ts";
import { createClientSvidVerifier } from "./client-svid.ts";

const key = makeKey();
const certificate = makeCertificate({ subject: "root", key, ca: true });
const issuer = { certificate, key };

function client(purposes?: readonly string[], id = "spiffe://example.org/client") {
  const named = purposes === undefined ? {} : { purposes };
  return makeCertificate({ subject: "client", key: makeKey(), issuer, uris: [id], ...named });
}

function bundle(): SpiffeBundle {
  return {
    trustDomain: parseTrustDomain("example.org"),
    sequence: 1n,
    refreshHint: 0,
    x509Authorities: [{ certificate: certificate.der, tainted: false }],
    jwtAuthorities: [],
    witAuthorities: [],
  };
}

function world() {
  const state: { bundle: SpiffeBundle | undefined; crls: readonly Uint8Array[] | undefined } = {
    bundle: bundle(),
    crls: undefined,
  };
  const verifier = createClientSvidVerifier({
    clock: new FakeClock(TEST_NOW * 1000),
    bundleOf: (name) => (name === "example.org" ? state.bundle : undefined),
    crlsOf: () => state.crls,
  });
  return { state, verifier };
}

describe("a client's SVID", () => {
  it("is believed as long as its authority is in the bundle", () => {
    const { state, verifier } = world();
    const verified = verifier.open([client().der]);
    expect(verified.current().spiffeId).toBe("spiffe://example.org/client");
    state.bundle = { ...bundle(), x509Authorities: [] };
    expect(() => verified.current()).toThrowCode("CALLER_NOT_IDENTIFIED");
    state.bundle = undefined;
    expect(() => verified.current()).toThrowCode("CALLER_NOT_IDENTIFIED", /no bundle/);
  });

  it("is not believed by the bundle of another trust domain than its own", () => {
    const { verifier } = world();
    const foreign = client(undefined, "spiffe://other.org/client");
    expect(() => verifier.open([foreign.der])).toThrowCode("CALLER_NOT_IDENTIFIED", /other\.org/);
  });

  it("is refused once its authority has revoked it, on connections that are open too", () => {
    const { state, verifier } = world();
    const one = client();
    const verified = verifier.open([one.der]);
    state.crls = [makeCrl({ issuer, revoked: [Uint8Array.of(9, 9, 9)] })];
    expect(verified.current().spiffeId).toBe("spiffe://example.org/client");
    state.crls = [makeCrl({ issuer, revoked: [one.serial] })];
    expect(() => verified.current()).toThrowCode("CALLER_NOT_IDENTIFIED", /revoked/);
    expect(() => verifier.open([one.der])).toThrowCode("CALLER_NOT_IDENTIFIED", /revoked/);
    expect(verifier.open([client().der]).current()).toBeDefined();
  });

  it("is not revoked by a list that a stranger signed, nor believed where a list cannot be read", () => {
    const { state, verifier } = world();
    const one = client();
    const stranger = makeKey();
    const strangers = makeCertificate({ subject: "root", key: stranger, ca: true });
    state.crls = [makeCrl({ issuer: { certificate: strangers, key: stranger }, revoked: [one.serial] })];
    expect(verifier.open([one.der]).current()).toBeDefined();
    state.crls = [Uint8Array.of(0x30, 0)];
    expect(() => verifier.open([one.der])).toThrowCode("CALLER_NOT_IDENTIFIED");
  });

  it("must be good for clients where it says what it is good for", () => {
    const { verifier } = world();
    expect(verifier.open([client([OIDS.serverAuth, OIDS.clientAuth]).der]).current()).toBeDefined();
    expect(() => verifier.open([client([OIDS.serverAuth]).der])).toThrowCode("CALLER_NOT_IDENTIFIED");
  });
});
