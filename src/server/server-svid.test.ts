import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { IssuanceBench, trustDomain } from "../../test/fakes/issuance-bench.ts";
import { AssayError } from "../errors/assay-error.ts";
import { serverId } from "../spiffe/reserved.ts";
import { ServerSvid } from "./server-svid.ts";

let bench: IssuanceBench;
let shown: string[];
let failures: unknown[];
let broken: boolean;
let held: Promise<void> | undefined;
beforeEach(async () => {
  bench = await IssuanceBench.open();
  [shown, failures, broken, held] = [[], [], false, undefined];
});
afterEach(() => bench[Symbol.asyncDispose]());

describe("the server's own SVID", () => {
  it("names the server, and the names by which others check it", async () => {
    using svid = await open();
    expect(bench.validated(svid.svid.chain).subjectAltName).toMatchObject({
      uris: ["spiffe://example.org/spire/server"],
      dnsNames: ["localhost"],
    });
  });

  it("is replaced with a fresh key at half of its life, again and again", async () => {
    using svid = await open();
    const first = svid.credential;
    await bench.clock.advance(1_790_000);
    expect(shown).toEqual([]);
    await bench.clock.advance(10_000);
    expect(shown).toHaveLength(1);
    expect(svid.credential.privateKey).not.toBe(first.privateKey);
    expect(shown[0]).toBe(svid.credential.certificateChain);
    await bench.clock.advance(3_600_000);
    expect(shown.length).toBeGreaterThanOrEqual(2);
    expect(svid.svid.notAfter).toBeGreaterThan(bench.now);
  });

  it("stays where it cannot be replaced, and is tried again soon", async () => {
    using svid = await open();
    const first = svid.credential;
    broken = true;
    await bench.clock.advance(1_810_000);
    expect(failures.length).toBeGreaterThanOrEqual(2);
    expect(svid.credential).toBe(first);
    broken = false;
    await bench.clock.advance(5_000);
    expect(svid.credential).not.toBe(first);
  });

  it("is replaced at once where the authority that signed it is tainted, and at nothing else", async () => {
    using svid = await open();
    const first = svid.svid.authorityId;
    await bench.signing.prepareAuthority("x509");
    await bench.signing.activateAuthority("x509");
    await bench.clock.advance(0);
    expect(shown).toEqual([]);
    await bench.signing.taintAuthority("x509", first);
    await bench.clock.advance(0);
    expect(shown).toHaveLength(1);
    expect(svid.svid.authorityId).toBe(bench.signing.authorityStates("x509").active?.id);
    await bench.signing.revokeAuthority("x509", first);
    await bench.clock.advance(0);
    expect(shown).toHaveLength(1);
  });

  it("is replaced once where its authority is tainted while the next one is being made, and on schedule from then on", async () => {
    using svid = await open();
    const first = svid.svid.authorityId;
    await bench.signing.prepareAuthority("x509");
    const timers = bench.clock.pending;
    const { promise, resolve } = Promise.withResolvers<void>();
    held = promise;
    await bench.clock.advance(1_800_000);
    // Prepared by the authority that is tainted now: it is to be replaced in turn.
    await bench.signing.activateAuthority("x509");
    await bench.signing.taintAuthority("x509", first);
    await bench.clock.advance(0);
    held = undefined;
    resolve();
    const next = bench.signing.authorityStates("x509").active?.id;
    for (let turn = 0; turn < 100 && svid.svid.authorityId !== next; turn++) await bench.clock.advance(0);
    await bench.clock.advance(0);
    expect(svid.svid.authorityId).toBe(bench.signing.authorityStates("x509").active?.id);
    expect(shown).toHaveLength(2);
    expect(bench.clock.pending).toBe(timers);
    await bench.clock.advance(1_805_000);
    expect(shown).toHaveLength(3);
  });

  it("is left alone when it is disposed while the next one is being made", async () => {
    const svid = await open();
    const pending = bench.clock.pending;
    const { promise, resolve } = Promise.withResolvers<void>();
    held = promise;
    await bench.clock.advance(1_800_000);
    svid[Symbol.dispose]();
    resolve();
    await bench.clock.advance(7_200_000);
    expect(shown).toEqual([]);
    expect(bench.clock.pending).toBe(pending - 1);
  });

  it("is left alone once it is disposed", async () => {
    const svid = await open();
    const pending = bench.clock.pending;
    svid[Symbol.dispose]();
    expect(bench.clock.pending).toBe(pending - 1);
    await bench.clock.advance(7_200_000);
    expect(shown).toEqual([]);
  });
});

async function open(): Promise<ServerSvid> {
  const { signing } = bench;
  const svid = await ServerSvid.open({
    spiffeId: serverId(trustDomain),
    ttl: 3600,
    clock: bench.clock,
    dnsNames: ["localhost"],
    report: () => undefined,
    onFailed: (error) => failures.push(error),
    signing: {
      ...signing,
      async signX509Svid(prepared) {
        await held;
        if (broken) throw new AssayError("KEY_UNAVAILABLE", "away");
        return signing.signX509Svid(prepared);
      },
    },
  });
  svid.onRotated(({ certificateChain }) => shown.push(certificateChain));
  return svid;
}
