import { describe, expect, it } from "vitest";
import { FakeClock } from "../../test/fakes/clock.ts";
import { AssayError } from "../errors/assay-error.ts";
import { emptyBundle, type SpiffeBundle } from "../spiffe/bundle.ts";
import { parseSpiffeId } from "../spiffe/id.ts";
import { parseTrustDomain, type TrustDomain } from "../spiffe/trust-domain.ts";
import type { FederationRelationshipRecord } from "../store/records.ts";
import { BundleClient } from "./bundle-client.ts";
import type { FederationEvent } from "./bundle-poller.ts";

const B = parseTrustDomain("b.example");
const C = parseTrustDomain("c.example");

describe("the bundle client", () => {
  it("asks at once, and then each time the bundle's hint has passed", async () => {
    const bench = new Bench();
    bench.served.set(B, bundle(B, 1n, 60));
    bench.client.setRelationships([web(B)]);
    await bench.settle();
    expect(bench.asked).toEqual([[B, 0]]);
    expect(bench.stored.get(B)?.sequence).toBe(1n);
    await bench.advance(59_999);
    expect(bench.asked).toHaveLength(1);
    await bench.advance(60_001);
    expect(bench.asked.map(([, at]) => at)).toEqual([0, 60_000, 120_000]);
  });

  it("spreads its questions by up to a tenth of the hint, and never comes later", async () => {
    const bench = new Bench({ random: () => 0.5 });
    bench.served.set(B, bundle(B, 1n, 100));
    bench.client.setRelationships([web(B)]);
    await bench.advance(95_000);
    expect(bench.asked.map(([, at]) => at)).toEqual([0, 95_000]);
  });

  it("follows a hint that changes", async () => {
    const bench = new Bench();
    bench.served.set(B, bundle(B, 1n, 100));
    bench.client.setRelationships([web(B)]);
    await bench.settle();
    bench.served.set(B, bundle(B, 2n, 10));
    await bench.advance(120_000);
    expect(bench.asked.map(([, at]) => at)).toEqual([0, 100_000, 110_000, 120_000]);
  });

  it("writes what is newer, once, and keeps what it has when an older one is served", async () => {
    const bench = new Bench();
    bench.served.set(B, bundle(B, 5n, 10));
    bench.client.setRelationships([web(B)]);
    await bench.advance(20_000);
    expect(bench.saved.map(({ sequence }) => sequence)).toEqual([5n]);
    bench.served.set(B, bundle(B, 4n, 10));
    await bench.advance(10_000);
    expect(bench.stored.get(B)?.sequence).toBe(5n);
    expect(bench.events.at(-1)).toMatchObject({ outcome: "older", lastSuccessAt: 20_000 });
    bench.served.set(B, bundle(B, 6n, 10));
    await bench.advance(10_000);
    expect(bench.saved.map(({ sequence }) => sequence)).toEqual([5n, 6n]);
    expect(bench.events.map(({ outcome }) => outcome)).toEqual([
      "changed",
      "unchanged",
      "unchanged",
      "older",
      "changed",
    ]);
  });

  it("takes a bundle without keys for what it is: nothing of the trust domain is trusted any longer", async () => {
    const bench = new Bench();
    bench.stored.set(B, bundle(B, 5n));
    bench.served.set(B, { ...emptyBundle(B), sequence: 6n });
    bench.client.setRelationships([web(B)]);
    await bench.settle();
    expect(bench.stored.get(B)?.x509Authorities).toEqual([]);
  });

  it("waits after a failure as long as after a success, keeps the bundle, and says how old it is", async () => {
    const bench = new Bench();
    bench.served.set(B, bundle(B, 1n, 30));
    bench.client.setRelationships([web(B)]);
    await bench.settle();
    bench.served.set(B, new AssayError("BUNDLE_NOT_FETCHED", "nobody listens"));
    await bench.advance(100_000);
    expect(bench.asked.map(([, at]) => at)).toEqual([0, 30_000, 60_000, 90_000]);
    expect(bench.stored.get(B)?.sequence).toBe(1n);
    expect(bench.events.at(-1)).toMatchObject({
      outcome: "failed",
      lastSuccessAt: 0,
      nextAttemptAt: 120_000,
    });
    expect(bench.client.statuses()[0]).toMatchObject({
      lastAttemptAt: 90_000,
      lastSuccessAt: 0,
      lastError: { detail: "nobody listens" },
    });
    bench.served.set(B, bundle(B, 1n, 30));
    await bench.advance(30_000);
    expect(bench.client.statuses()[0]).not.toHaveProperty("lastError");
  });

  it("asks each minute, and not more often, as long as it has no bundle", async () => {
    const bench = new Bench();
    bench.client.setRelationships([web(B)]);
    await bench.advance(180_000);
    expect(bench.asked.map(([, at]) => at)).toEqual([0, 60_000, 120_000, 180_000]);
  });

  it("does not lose a relationship when the store cannot be written", async () => {
    const bench = new Bench();
    bench.served.set(B, bundle(B, 1n, 30));
    bench.saveFault = new AssayError("STORE_UNAVAILABLE", "full");
    bench.client.setRelationships([web(B)]);
    await bench.settle();
    expect(bench.events.at(-1)).toMatchObject({ outcome: "failed", error: { code: "STORE_UNAVAILABLE" } });
    bench.saveFault = undefined;
    await bench.advance(60_000);
    expect(bench.stored.get(B)?.sequence).toBe(1n);
  });

  it("lets one endpoint that hangs hold up no other", async () => {
    const bench = new Bench();
    bench.hangs.add(B);
    bench.served.set(C, bundle(C, 1n));
    bench.client.setRelationships([web(B), web(C)]);
    await bench.settle();
    expect(bench.stored.has(C)).toBe(true);
  });

  it("asks no more than sixteen endpoints at once", async () => {
    const bench = new Bench();
    const names = Array.from({ length: 40 }, (_, n) => parseTrustDomain(`d${n}.example`));
    for (const name of names) bench.hangs.add(name);
    bench.client.setRelationships(names.map(web));
    await bench.settle();
    expect(bench.asked).toHaveLength(16);
  });

  it("stops with a relationship that ends, and does not bring its bundle back", async () => {
    const bench = new Bench();
    bench.hangs.add(B);
    bench.client.setRelationships([web(B)]);
    await bench.settle();
    bench.client.setRelationships([]);
    bench.release(B, bundle(B, 1n));
    await bench.advance(600_000);
    expect(bench.saved).toEqual([]);
    expect(bench.events).toEqual([]);
    expect(bench.asked).toHaveLength(1);
    expect(bench.clock.pending).toBe(0);
  });

  it("goes on with a relationship that stays, and asks one that changed at once, at its new place", async () => {
    const bench = new Bench();
    bench.served.set(B, bundle(B, 1n, 60)).set(C, bundle(C, 1n, 60));
    bench.client.setRelationships([web(B), web(C)]);
    await bench.advance(10_000);
    const moved = { ...web(C), bundleEndpointUrl: "https://new.example/" };
    bench.client.setRelationships([web(B), moved]);
    await bench.settle();
    expect(bench.asked.slice(2)).toEqual([[C, 10_000]]);
    expect(bench.urls.at(-1)).toBe("https://new.example/");
  });

  it("asks now when it is told to, twice at once only once, and begins its time anew", async () => {
    const bench = new Bench();
    bench.served.set(B, bundle(B, 1n, 60));
    bench.client.setRelationships([web(B)]);
    await bench.advance(10_000);
    bench.served.set(B, bundle(B, 2n, 60));
    const [first, second] = await Promise.all([bench.client.refresh(B), bench.client.refresh(B)]);
    expect(first).toMatchObject({ outcome: "changed" });
    expect(second).toBe(first);
    expect(await bench.client.refresh(C)).toBeUndefined();
    await bench.advance(60_000);
    expect(bench.asked.map(([, at]) => at)).toEqual([0, 10_000, 70_000]);
  });

  it("asks at once when the bundle comes that it lacked to know the endpoint by, and only then", async () => {
    const bench = new Bench();
    bench.client.setRelationships([spiffe(B, C)]);
    await bench.advance(1_000);
    bench.client.bundleChanged(B);
    await bench.settle();
    expect(bench.asked).toHaveLength(1);
    bench.served.set(B, bundle(B, 1n));
    bench.client.bundleChanged(C);
    await bench.settle();
    expect(bench.asked).toEqual([
      [B, 0],
      [B, 1_000],
    ]);
    bench.client.bundleChanged(C);
    await bench.settle();
    expect(bench.asked).toHaveLength(2);
  });

  it("waits for nothing after its end", async () => {
    const bench = new Bench();
    bench.served.set(B, bundle(B, 1n));
    bench.client.setRelationships([web(B)]);
    await bench.settle();
    await bench.client[Symbol.asyncDispose]();
    expect(bench.clock.pending).toBe(0);
    bench.client.setRelationships([web(C)]);
    await bench.settle();
    expect(bench.asked).toHaveLength(1);
  });
});

class Bench {
  readonly clock = new FakeClock(0);
  readonly served = new Map<TrustDomain, SpiffeBundle | AssayError>();
  readonly stored = new Map<TrustDomain, SpiffeBundle>();
  readonly saved: SpiffeBundle[] = [];
  readonly events: FederationEvent[] = [];
  /** Whom it asked, and when. */
  readonly asked: [TrustDomain, number][] = [];
  readonly urls: string[] = [];
  readonly hangs = new Set<TrustDomain>();
  saveFault: AssayError | undefined;
  readonly #waiting = new Map<TrustDomain, (bundle: SpiffeBundle) => void>();
  readonly client: BundleClient;

  constructor(options: { random?: () => number } = {}) {
    this.client = new BundleClient({
      clock: this.clock,
      random: options.random ?? (() => 0),
      fetch: async ({ trustDomain, bundleEndpointUrl }) => {
        this.asked.push([trustDomain, this.clock.now()]);
        this.urls.push(bundleEndpointUrl);
        const bundle = this.hangs.has(trustDomain)
          ? await new Promise<SpiffeBundle>((resolve) => this.#waiting.set(trustDomain, resolve))
          : (this.served.get(trustDomain) ?? new AssayError("BUNDLE_NOT_FETCHED", "nothing served"));
        if (bundle instanceof AssayError) throw bundle;
        return { bundle, address: "192.0.2.1", redirects: 0 };
      },
      bundleOf: (trustDomain) => this.stored.get(trustDomain),
      save: async (bundle) => {
        if (this.saveFault !== undefined) throw this.saveFault;
        this.saved.push(bundle);
        this.stored.set(bundle.trustDomain, bundle);
      },
      report: (event) => void this.events.push(event),
    });
  }

  release(trustDomain: TrustDomain, bundle: SpiffeBundle): void {
    this.#waiting.get(trustDomain)?.(bundle);
  }

  /** Lets everything happen that waits for nothing. */
  async settle(): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve));
  }

  async advance(milliseconds: number): Promise<void> {
    await this.settle();
    await this.clock.advance(milliseconds);
    await this.settle();
  }
}

function web(trustDomain: TrustDomain): FederationRelationshipRecord {
  return { trustDomain, bundleEndpointUrl: `https://${trustDomain}/`, profile: { type: "https_web" } };
}

function spiffe(trustDomain: TrustDomain, endpoint: TrustDomain): FederationRelationshipRecord {
  const endpointSpiffeId = parseSpiffeId(`spiffe://${endpoint}/spire/server`);
  return { ...web(trustDomain), profile: { type: "https_spiffe", endpointSpiffeId } };
}

function bundle(trustDomain: TrustDomain, sequence: bigint, refreshHint = 0): SpiffeBundle {
  return {
    ...emptyBundle(trustDomain),
    sequence,
    refreshHint,
    x509Authorities: [{ certificate: Uint8Array.of(0x30), tainted: false }],
  };
}
