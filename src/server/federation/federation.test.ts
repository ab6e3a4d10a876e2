import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { makeCa, makeCredential, RemoteServer } from "../../../test/fakes/remote-server.ts";
import { systemClock } from "../../clock.ts";
import { formatBundleDocument } from "../../crypto/bundle-document.ts";
import { AssayError } from "../../errors/assay-error.ts";
import type { AuditRecord } from "../../observe/audit-record.ts";
import { createLog } from "../../observe/log.ts";
import { createMetrics } from "../../observe/metrics.ts";
import { parseAddressBlock } from "../../outbound/address-rules.ts";
import { openRegistry, type Registry } from "../../registry/registry.ts";
import { emptyBundle, type SpiffeBundle } from "../../spiffe/bundle.ts";
import { parseTrustDomain } from "../../spiffe/trust-domain.ts";
import { openSqliteStore } from "../../store/sqlite/open.ts";
import type { Store } from "../../store/store.ts";
import { type Federation, openFederation } from "./federation.ts";
import { type FederationOptions, NO_FEDERATION } from "./federation-options.ts";

const OWN = parseTrustDomain("example.org");
const B = parseTrustDomain("b.example");
const C = parseTrustDomain("c.example");
const WEB_CA = makeCa("web CA");
const AUTHORITY = makeCa("authority");

describe("federation", () => {
  let bench: Bench;
  let endpoint: RemoteServer;

  beforeEach(async () => {
    bench = await Bench.make();
    const credential = makeCredential(WEB_CA, { dnsNames: ["localhost"] });
    endpoint = await RemoteServer.start(credential, formatBundleDocument(bundleOf(3n)));
  });
  afterEach(async () => {
    await bench[Symbol.asyncDispose]();
    await endpoint[Symbol.asyncDispose]();
  });

  it("fetches the bundles of configured and stored relationships, and stores and audits what is new", async () => {
    await bench.store.federation.create(relationship(B));
    await bench.open({ federatesWith: [configured(C)] });
    await vi.waitFor(() => expect(bench.registry.bundle(B)?.sequence).toBe(3n));
    await vi.waitFor(() => expect(bench.registry.bundle(C)?.sequence).toBe(3n));
    expect(bench.audit).toMatchObject([{ event: "bundle.changed" }, { event: "bundle.changed" }]);
    expect(bench.federation.configured.map(({ trustDomain }) => trustDomain)).toEqual([C]);
  });

  it("puts no bundle in force that the audit log cannot say it fetched", async () => {
    bench.auditIsFull = true;
    await bench.open({ federatesWith: [configured(B)] });
    await vi.waitFor(() =>
      expect(bench.federation.statuses()[0]?.lastError).toMatchObject({ code: "AUDIT_UNAVAILABLE" }),
    );
    expect(await bench.store.bundles.get(B)).toBeUndefined();
    expect(bench.registry.bundle(B)).toBeUndefined();
    bench.auditIsFull = false;
    expect(await bench.federation.refresh(B)).toMatchObject({ outcome: "changed" });
    expect(bench.registry.bundle(B)?.sequence).toBe(3n);
    expect(bench.audit).toMatchObject([{ event: "bundle.changed", outcome: "done", trust_domain: B }]);
  });

  it("says in the audit log when a fetched bundle could not be stored after all", async () => {
    await bench.open();
    vi.spyOn(bench.store.bundles, "put").mockRejectedValueOnce(
      new AssayError("STORE_UNAVAILABLE", "the disk is full"),
    );
    await bench.store.federation.create(relationship(B));
    await vi.waitFor(() =>
      expect(bench.audit).toMatchObject([
        { event: "bundle.changed", outcome: "done" },
        { event: "bundle.changed", outcome: "failed", code: "STORE_UNAVAILABLE", trust_domain: B },
      ]),
    );
    expect(bench.registry.bundle(B)).toBeUndefined();
  });

  it("does not begin with the bundle of a file that the audit log cannot say it took", async () => {
    const bundleFile = bench.at("first-bundle");
    await writeFile(bundleFile, AUTHORITY.pem);
    const wanted = { ...configured(B), bundleEndpointUrl: "https://10.0.0.1/", bundleFile };
    bench.auditIsFull = true;
    await expect(bench.open({ federatesWith: [wanted] })).rejects.toThrowCode("AUDIT_UNAVAILABLE");
    expect(await bench.store.bundles.get(B)).toBeUndefined();
    bench.auditIsFull = false;
    await bench.open({ federatesWith: [wanted] });
    expect(bench.audit).toMatchObject([
      {
        event: "bundle.changed",
        outcome: "done",
        trust_domain: B,
        reasons: [expect.stringMatching(/first-bundle/)],
      },
    ]);
  });

  it("takes the configured relationship in place of a stored one with the same trust domain", async () => {
    await bench.store.federation.create({ ...relationship(B), bundleEndpointUrl: "https://stored.example/" });
    await bench.open({ federatesWith: [configured(B)] });
    expect(bench.federation.statuses().map((status) => status.relationship.bundleEndpointUrl)).toEqual([
      `https://localhost:${endpoint.port}/`,
    ]);
  });

  it("follows relationships that others write into the store, and forgets what they delete", async () => {
    await bench.open();
    await bench.store.federation.create(relationship(B));
    await vi.waitFor(() => expect(bench.registry.bundle(B)?.sequence).toBe(3n));
    expect(await bench.metrics.render()).toMatch(
      /federation_refreshed_timestamp_seconds\{trust_domain="b\.example"\} 1\d{9}/,
    );
    await bench.store.federation.delete(B);
    await vi.waitFor(() => expect(bench.federation.statuses()).toEqual([]));
    expect(await bench.metrics.render()).not.toMatch(/federation_refreshed_timestamp_seconds\{/);
    expect(bench.registry.bundle(B)?.sequence).toBe(3n);
  });

  it("does not wait for a partner that is away, and says so loudly", async () => {
    const { port } = endpoint;
    await endpoint[Symbol.asyncDispose]();
    endpoint = await RemoteServer.start({}, "");
    await bench.open({
      federatesWith: [{ ...configured(B), bundleEndpointUrl: `https://localhost:${port}/` }],
    });
    await vi.waitFor(() => expect(bench.lines.join("\n")).toMatch(/"level":"error".*grows stale/));
    const metrics = await bench.metrics.render();
    expect(metrics).toMatch(/federation_refreshed_timestamp_seconds\{trust_domain="b\.example"\} 0/);
    expect(metrics).toMatch(/federation_refreshes_total\{trust_domain="b\.example",outcome="failed"\} 1/);
  });

  it("asks at once again when the bundle comes that an endpoint is known by", async () => {
    const id = "spiffe://b.example/spire/server";
    endpoint.show(makeCredential(AUTHORITY, { uris: [id] }));
    await bench.open({
      federatesWith: [
        { ...configured(B), bundleEndpointProfile: "https_spiffe", endpointSpiffeId: id as never },
      ],
    });
    await vi.waitFor(() =>
      expect(bench.federation.statuses()[0]?.lastError?.detail).toMatch(/set its bundle/),
    );
    await bench.store.bundles.put(bundleOf(1n), "set");
    await vi.waitFor(() => expect(bench.registry.bundle(B)?.sequence).toBe(3n));
  });

  it.each([
    ["JSON", () => formatBundleDocument(bundleOf(1n))],
    ["PEM", () => AUTHORITY.pem],
  ])("begins with the bundle of a file in %s, only where it has none", async (_format, content) => {
    const bundleFile = bench.at("first-bundle");
    await writeFile(bundleFile, content());
    const wanted = { ...configured(B), bundleEndpointUrl: "https://10.0.0.1/", bundleFile };
    await bench.open({ federatesWith: [wanted] });
    expect(bench.registry.bundle(B)?.x509Authorities).toHaveLength(1);
    await bench.close();
    await bench.store.bundles.put({ ...emptyBundle(B), sequence: 9n }, "set");
    await bench.registry.catchUp();
    await bench.open({ federatesWith: [wanted] });
    expect(bench.registry.bundle(B)?.sequence).toBe(9n);
  });

  it("asks no private address that the operator has not allowed", async () => {
    await bench.open({ federatesWith: [configured(B)], allowedAddresses: [] });
    await vi.waitFor(() =>
      expect(bench.federation.statuses()[0]?.lastError?.detail).toMatch(/not a public address/),
    );
    expect(endpoint.connections).toBe(0);
  });

  it.each([
    ["a CA file that is none", { trustedCaFile: "junk" }, /junk.*cannot be used/],
    ["a bundle file that is none", { federatesWith: ["junk"] }, /junk.*cannot be used/],
    ["a CA file that is not there", { trustedCaFile: "missing" }, /missing/],
  ] as const)("does not begin with %s", async (_what, change, reason) => {
    await writeFile(bench.at("junk"), "junk");
    const options = {
      ...("trustedCaFile" in change ? { trustedCaFile: bench.at(change.trustedCaFile) } : {}),
      ...("federatesWith" in change
        ? { federatesWith: [{ ...configured(B), bundleFile: bench.at("junk") }] }
        : {}),
    };
    await expect(bench.open(options)).rejects.toThrowCode("CONFIG_INVALID", reason);
  });

  function configured(trustDomain: typeof B) {
    return {
      trustDomain,
      bundleEndpointUrl: `https://localhost:${endpoint.port}/`,
      bundleEndpointProfile: "https_web" as const,
    };
  }

  function relationship(trustDomain: typeof B) {
    const { bundleEndpointUrl } = configured(trustDomain);
    return { trustDomain, bundleEndpointUrl, profile: { type: "https_web" as const } };
  }
});

class Bench implements AsyncDisposable {
  readonly store: Store;
  readonly registry: Registry;
  metrics = createMetrics({ process: false });
  readonly lines: string[] = [];
  readonly audit: AuditRecord[] = [];
  auditIsFull = false;
  readonly #folder: string;
  #federation: Federation | undefined;

  private constructor(folder: string, store: Store, registry: Registry) {
    this.#folder = folder;
    this.store = store;
    this.registry = registry;
  }

  static async make(): Promise<Bench> {
    const folder = await mkdtemp(join(tmpdir(), "federation-"));
    const store = await openSqliteStore({ folder, trustDomain: OWN, clock: systemClock });
    const registry = await openRegistry({ store, trustDomain: OWN, clock: systemClock });
    await writeFile(join(folder, "web-ca.pem"), WEB_CA.pem);
    return new Bench(folder, store, registry);
  }

  at(name: string): string {
    return join(this.#folder, name);
  }

  get federation(): Federation {
    if (this.#federation === undefined) throw new Error("federation is not open");
    return this.#federation;
  }

  async open(options: Partial<FederationOptions> = {}): Promise<void> {
    this.metrics = createMetrics({ process: false });
    this.#federation = await openFederation({
      options: {
        ...NO_FEDERATION,
        trustedCaFile: this.at("web-ca.pem"),
        allowedAddresses: ["127.0.0.0/8", "::1"].map(parseAddressBlock),
        ...options,
      },
      clock: systemClock,
      log: createLog({
        level: "info",
        clock: systemClock,
        destination: { write: (line) => void this.lines.push(line) },
      }),
      metrics: this.metrics,
      random: () => 0,
      store: this.store,
      registry: this.registry,
      bundleOf: (trustDomain) => this.registry.bundle(trustDomain),
      audit: {
        append: (records) => {
          if (this.auditIsFull) throw new AssayError("AUDIT_UNAVAILABLE", "no space left");
          this.audit.push(...records);
        },
      },
    });
  }

  async close(): Promise<void> {
    await this.#federation?.[Symbol.asyncDispose]();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
    this.registry[Symbol.dispose]();
    await this.store[Symbol.asyncDispose]();
    await rm(this.#folder, { recursive: true });
  }
}

function bundleOf(sequence: bigint): SpiffeBundle {
  return {
    ...emptyBundle(B),
    sequence,
    x509Authorities: [{ certificate: AUTHORITY.certificate.der, tainted: false }],
  };
}
