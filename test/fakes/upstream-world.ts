import { expect, onTestFinished } from "vitest";
import { unixSeconds } from "../../src/clock.ts";
import { readCertificate } from "../../src/crypto/certificate-reader.ts";
import { validateX509Svid } from "../../src/crypto/x509-svid.ts";
import type { SigningOptions } from "../../src/signing/open-signing.ts";
import type { Signing } from "../../src/signing/signing.ts";
import { parseSpiffeId } from "../../src/spiffe/id.ts";
import { makeKey } from "./certificates.ts";
import { SigningWorld } from "./signing-world.ts";
import { FakeUpstream } from "./upstream.ts";

/** A world whose X.509 authorities are signed by a fake upstream. */
export async function place() {
  const world = new SigningWorld();
  onTestFinished(() => world[Symbol.asyncDispose]());
  const upstream = new FakeUpstream(world.clock);
  world.upstream = upstream;
  return { world, upstream };
}

/** Opens signing, and closes it when the test is over. */
export async function open(world: SigningWorld, options: Partial<SigningOptions> = {}): Promise<Signing> {
  const signing = await openSigning(world, options);
  onTestFinished(() => signing[Symbol.asyncDispose]());
  return signing;
}

/** Opens signing. */
export function openSigning(world: SigningWorld, options: Partial<SigningOptions> = {}): Promise<Signing> {
  return world.open(options);
}

/** Issues an X509-SVID and validates it against the bundle of this moment. */
export async function issue(signing: Signing, world: SigningWorld) {
  const svid = await signing.signX509Svid(
    signing.prepareX509Svid({
      spiffeId: parseSpiffeId("spiffe://example.org/workload"),
      publicKey: makeKey().spki,
      dnsNames: [],
      ttl: 600,
    }),
  );
  const trusted = signing.bundle().x509Authorities.map(({ certificate }) => readCertificate(certificate));
  validateX509Svid(
    svid.chain.map((der) => readCertificate(der)),
    trusted,
    unixSeconds(world.clock),
  );
  return svid;
}

/** Identifiers of the bundle's X.509 authorities. */
export function roots(signing: Signing): readonly string[] {
  return signing.bundle().x509Authorities.map(({ certificate }) => idOf(certificate));
}

/** Those of them that are tainted. */
export function tainted(signing: Signing): readonly string[] {
  return signing
    .bundle()
    .x509Authorities.filter((one) => one.tainted)
    .map(({ certificate }) => idOf(certificate));
}

/** A certificate's subject key identifier in hex. */
export function idOf(certificate: Uint8Array): string {
  return Buffer.from(readCertificate(certificate).subjectKeyId ?? []).toString("hex");
}

/** Waits for what happens without the clock: promises that have to settle. */
export async function until(holds: () => boolean): Promise<void> {
  for (let turn = 0; turn < 2000; turn++) {
    if (holds()) return;
    await new Promise((resolve) => setImmediate(resolve));
  }
  expect(holds()).toBe(true);
}

/** For what must be there. */
export function failed(): never {
  throw new Error("there is none");
}
