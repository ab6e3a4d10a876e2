import { beforeEach, describe, expect, it, onTestFinished } from "vitest";
import { FakeClock } from "../../../test/fakes/clock.ts";
import { makeCa, type TestCa } from "../../../test/fakes/remote-server.ts";
import { FakeServerAbove } from "../../../test/fakes/server-above.ts";
import { AssayError } from "../../errors/assay-error.ts";
import type { ErrorCode } from "../../errors/codes.ts";
import type { UpstreamAuthority, UpstreamTrust } from "../../plugin/upstream-authority.ts";
import { parseTrustDomain } from "../../spiffe/trust-domain.ts";
import { spireUpstream } from "./spire.ts";

const csr = Uint8Array.of(0x30, 0x00);
const patience = () => AbortSignal.timeout(20_000);

let above: FakeServerAbove;
let clock: FakeClock;
let upstream: UpstreamAuthority;
let warnings: string[];
beforeEach(async () => {
  warnings = [];
  above = await FakeServerAbove.open();
  onTestFinished(() => above[Symbol.asyncDispose]());
  clock = new FakeClock(Date.now());
  const ignore = () => undefined;
  upstream = await spireUpstream.create(
    {
      server_address: "127.0.0.1",
      server_port: above.port,
      workload_api_socket: above.endpoint.address,
    },
    {
      trustDomain: parseTrustDomain("example.org"),
      clock,
      log: { debug: ignore, info: ignore, warn: (text) => void warnings.push(text), error: ignore },
    },
  );
  onTestFinished(() => upstream[Symbol.asyncDispose]());
});

describe("the X509-SVID by which a server above is asked", () => {
  const streams = () => above.endpoint.streams("fetchX509SVID");

  it("is followed by one stream again where several ask after the Workload API had refused for good", async () => {
    const order = () => upstream.mintX509Ca({ csr, ttl: 600, signal: patience() });
    await order();
    above.endpoint.end("fetchX509SVID", new AssayError("INVALID_CSR", "go away"));
    await expect.poll(() => warnings).toEqual([expect.stringContaining("in trouble")]);
    await Promise.all([order(), order(), order()]);
    expect(streams()).toBe(1);
    const calls = above.endpoint.calls.filter(({ method }) => method === "fetchX509SVID");
    expect(calls).toHaveLength(2);
    await upstream[Symbol.asyncDispose]();
    await expect.poll(streams).toBe(0);
    await expect(order()).rejects.toThrowCode("UPSTREAM_UNAVAILABLE", /closed/);
    expect(streams()).toBe(0);
  });
});

describe("a CA that is asked of a server above", () => {
  it("is asked for with the request as it is and the wanted life, and comes with its chain in order", async () => {
    const [own, intermediate] = [makeCa("own"), makeCa("intermediate")];
    above.mint = () => ({ caCertChain: [own.certificate.der, intermediate.certificate.der] });
    const { chain } = await upstream.mintX509Ca({ csr, ttl: 600.9, signal: patience() });
    expect(above.orders.map(({ csr: sent, preferredTtl }) => [Buffer.from(sent), preferredTtl])).toEqual([
      [Buffer.from(csr), 600],
    ]);
    expect(chain).toEqual([own, intermediate].map(({ certificate }) => Uint8Array.from(certificate.der)));
  });

  it("is asked for with the longest life that the wire can say at most", async () => {
    await upstream.mintX509Ca({ csr, ttl: 3e9, signal: patience() });
    expect(above.orders[0]?.preferredTtl).toBe(2 ** 31 - 1);
  });

  it("comes with the roots of the bundle, which says which are tainted", async () => {
    const [old, next] = [makeCa("old"), makeCa("next")];
    above.mint = () => ({ caCertChain: [], x509Authorities: [makeCa("another").certificate.der] });
    above.bundle = () => bundleOf([old, true], [next, false]);
    const { roots } = await upstream.mintX509Ca({ csr, ttl: 600, signal: patience() });
    expect(roots).toEqual([
      { certificate: Uint8Array.from(old.certificate.der), tainted: true },
      { certificate: Uint8Array.from(next.certificate.der), tainted: false },
    ]);
  });

  it.each<[ErrorCode, "UPSTREAM_REFUSED" | "UPSTREAM_UNAVAILABLE"]>([
    ["INVALID_CSR", "UPSTREAM_REFUSED"],
    ["PRECONDITION_FAILED", "UPSTREAM_REFUSED"],
    ["UNIMPLEMENTED", "UPSTREAM_REFUSED"],
    ["STORE_UNAVAILABLE", "UPSTREAM_UNAVAILABLE"],
    ["INTERNAL", "UPSTREAM_UNAVAILABLE"],
  ])("that is answered with %s is %s", async (code, expected) => {
    above.mint = () => {
      throw new AssayError(code, "so it is");
    };
    await expect(upstream.mintX509Ca({ csr, ttl: 600, signal: patience() })).rejects.toThrowCode(
      expected,
      /NewDownstreamX509CA/,
    );
  });

  it("is not given without its roots", async () => {
    above.bundle = () => {
      throw new AssayError("STORE_UNAVAILABLE", "no space left");
    };
    await expect(upstream.mintX509Ca({ csr, ttl: 600, signal: patience() })).rejects.toThrowCode(
      "UPSTREAM_UNAVAILABLE",
      /GetBundle/,
    );
  });

  it("is waited for no longer than the signal says", async () => {
    above.mint = () => new Promise(() => undefined);
    await expect(
      upstream.mintX509Ca({ csr, ttl: 600, signal: AbortSignal.timeout(300) }),
    ).rejects.toThrowCode("UPSTREAM_UNAVAILABLE");
  });

  it("brings news of roots that no look from before takes back", async () => {
    const [old, next] = [makeCa("old"), makeCa("next")];
    const { promise: asked, resolve: hasAsked } = Promise.withResolvers<void>();
    const { promise: first, resolve: answerFirst } = Promise.withResolvers<ReturnType<typeof bundleOf>>();
    above.bundle = () => {
      hasAsked();
      above.bundle = () => bundleOf([old, false], [next, false]);
      return first;
    };
    const heard: UpstreamTrust[] = [];
    using _ = upstream.watch?.((trust) => void heard.push(trust));
    await asked;
    const { roots } = await upstream.mintX509Ca({ csr, ttl: 600, signal: patience() });
    expect(roots).toHaveLength(2);
    answerFirst(bundleOf([old, false]));
    await expect
      .poll(async () => {
        await clock.advance(5000);
        return heard.length;
      })
      .toBeGreaterThan(0);
    expect(heard[0]?.roots).toHaveLength(2);
  });
});

function bundleOf(...roots: readonly (readonly [TestCa, boolean])[]) {
  return {
    trustDomain: "example.org",
    x509Authorities: roots.map(([{ certificate }, tainted]) => ({ asn1: certificate.der, tainted })),
  };
}
