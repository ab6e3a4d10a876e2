import { describe, expect, it, onTestFinished } from "vitest";
import { unixSeconds } from "../clock.ts";
import { type Certificate, readCertificate } from "../crypto/certificate-reader.ts";
import { verifyChain } from "../crypto/chain.ts";
import type { SigningOptions } from "./open-signing.ts";
import type { Signing } from "./signing.ts";
import { makeCertificate, makeKey, type TestCertificate } from "../../test/fakes/certificates.ts";
import { SigningWorld } from "../../test/fakes/signing-world.ts";
import { FakeUpstream } from "../../test/fakes/upstream.ts";

describe("a CA below", () => {
  it("is not signed where a root upstream leaves no room for it", async () => {
    const { signing } = await below({ root: { pathLength: 1 } });
    expect(() => order(signing)).toThrowCode("PRECONDITION_FAILED", /allows no CA below .*the root/);
  });

  it("is not signed where one between the root and us leaves no room for it", async () => {
    const { signing } = await below({ root: {}, middle: { pathLength: 1 } });
    expect(() => order(signing)).toThrowCode("PRECONDITION_FAILED", /allows no CA below .*chain\/1/);
  });

  it.each<[string, Place, number | undefined]>([
    ["nobody says anything", { root: {} }, undefined],
    ["the operator says something", { root: {}, options: { caPathLength: 2 } }, 2],
    ["the root says something", { root: { pathLength: 3 } }, 1],
    ["the root counts one more", { root: { pathLength: 3 }, middle: {} }, 0],
    ["one in the middle says less", { root: { pathLength: 9 }, middle: { pathLength: 2 } }, 0],
    ["the operator says least", { root: { pathLength: 9 }, options: { caPathLength: 1 } }, 1],
  ])("has a path length that leaves the room that there is, where %s", async (_, where, pathLength) => {
    const { signing, world, root } = await below(where);
    const key = makeKey();
    const { chain } = await signing.signDownstreamCa(order(signing, key.spki));
    const [own, ...others] = chain.map((der) => readCertificate(der)) as [Certificate, ...Certificate[]];
    expect(own.basicConstraints).toEqual({ ca: true, ...(pathLength !== undefined && { pathLength }) });
    // What it signs verifies.
    const now = unixSeconds(world.clock);
    const leaf = makeCertificate({
      subject: "leaf",
      key: makeKey(),
      issuer: { certificate: own, key },
      uris: ["spiffe://example.org/x"],
      notBefore: now - 5,
      notAfter: now + 60,
    });
    verifyChain({ leaf, intermediates: [own, ...others], roots: [root], at: now });
  });
});

interface Place {
  readonly root: Partial<TestCertificate>;
  /** Between root and us; none where absent. */
  readonly middle?: Partial<TestCertificate>;
  readonly options?: Partial<SigningOptions>;
}

async function below({ root: fields, middle: between, options = {} }: Place) {
  const world = new SigningWorld();
  const upstream = new FakeUpstream(world.clock);
  world.upstream = upstream;
  const now = unixSeconds(world.clock);
  const life = { ca: true, notBefore: now - 60, notAfter: now + 9_000_000 };
  const rootKey = makeKey();
  const root = makeCertificate({ ...life, subject: "root", key: rootKey, ...fields });
  const id = ({ subjectKeyId }: Certificate) => Buffer.from(subjectKeyId ?? []).toString("hex");
  upstream.signer = { certificate: root, key: rootKey, id: id(root) };
  upstream.roots = [{ root: upstream.signer, tainted: false }];
  if (between !== undefined) {
    const key = makeKey();
    const issuer = { certificate: root, key: rootKey };
    const middle = makeCertificate({ ...life, subject: "middle", key, issuer, ...between });
    upstream.signer = { certificate: middle, key, id: id(middle) };
    upstream.bend = (answer) => ({ ...answer, chain: [...answer.chain, middle.der] });
  }
  const signing = await world.open(options);
  onTestFinished(async () => {
    await signing[Symbol.asyncDispose]();
    await world[Symbol.asyncDispose]();
  });
  return { world, signing, root };
}

function order(signing: Signing, publicKey = makeKey().spki) {
  return signing.prepareDownstreamCa({ publicKey, ttl: 600 });
}
