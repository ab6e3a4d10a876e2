import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AssayError } from "../../src/errors/assay-error.ts";
import type { FederationEvent, FederationStatus } from "../../src/federation/bundle-poller.ts";
import type { HttpApp } from "../../src/http/http-app.ts";
import type { Caller } from "../../src/issuance/caller.ts";
import { RateLimiter } from "../../src/issuance/rate-limiter.ts";
import type { AuditRecord, StoredAuditRecord } from "../../src/observe/audit-record.ts";
import { openRegistry, type Registry } from "../../src/registry/registry.ts";
import { createAccess } from "../../src/server/access/access.ts";
import { federationOperations } from "../../src/server/operations/federation-operations.ts";
import { createOperations } from "../../src/server/operations/operations.ts";
import { operatedEntries, operatedNodes } from "../../src/server/registry-port.ts";
import { UNSERVED_TASKS } from "../../src/server/web/server-openapi.ts";
import { buildWebApp, type WebAppOptions } from "../../src/server/web/web-app.ts";
import type { SpiffeBundle } from "../../src/spiffe/bundle.ts";
import { parseSpiffeId } from "../../src/spiffe/id.ts";
import { parseTrustDomain, type TrustDomain } from "../../src/spiffe/trust-domain.ts";
import type { NodeRecord } from "../../src/store/records.ts";
import { openSqliteStore } from "../../src/store/sqlite/open.ts";
import type { Store } from "../../src/store/store.ts";
import { makeCertificate, makeKey, TEST_NOW } from "./certificates.ts";
import { FakeClock } from "./clock.ts";

/** The trust domain of {@link webBench}. */
export const WEB_DOMAIN = parseTrustDomain("example.org");
/** An ID that is an administrator without an entry. */
export const OPERATOR = parseSpiffeId("spiffe://example.org/operator");
/** An agent that {@link webBench} can be told to attest. */
export const AGENT = parseSpiffeId("spiffe://example.org/spire/agent/x509pop/one");

/** The web face over a real store and registry, with its callers, its signing and its audit log in the test's hands. */
export interface WebBench extends AsyncDisposable {
  readonly app: HttpApp;
  readonly clock: FakeClock;
  readonly store: Store;
  readonly registry: Registry;
  /** What was written to the audit log, oldest first. */
  readonly audit: AuditRecord[];
  /** While set, the audit log cannot be written. */
  auditBroken: boolean;
  /** Who sends the next request. */
  caller: Caller | AssayError;
  bundle: SpiffeBundle;
  /** How relationships fare. */
  federations: readonly FederationStatus[];
  /** What comes of fetching a foreign bundle out of turn. */
  readonly refreshed: Map<TrustDomain, FederationEvent>;
  health: ReturnType<WebAppOptions["health"]>;
  readonly decisions: Map<string, StoredAuditRecord>;
  attest(change?: Partial<NodeRecord>): Promise<NodeRecord>;
  /** Sends a request and gives what came back. */
  send(
    method: "GET" | "POST" | "PATCH" | "PUT" | "DELETE",
    url: string,
    body?: unknown,
    headers?: Record<string, string>,
  ): Promise<WebAnswer>;
}

/** What came back. */
export interface WebAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, unknown>>;
  /** The body as parsed, or as text where it is no JSON. */
  readonly body: WebBody;
}

/** Members that tests read out of bodies; which of them are there depends on the request. */
export interface WebBody {
  readonly id: string;
  readonly token: string;
  readonly detail: string;
  readonly expires_at: string | null;
  readonly federates_with: readonly string[];
  readonly checks: readonly unknown[];
  readonly entries: readonly { readonly id: string }[];
  readonly agents: readonly { readonly id: string }[];
  readonly keys: readonly { readonly kid: string; readonly kty: string }[];
  readonly next_page_token: string;
}

/** A caller with an SVID that is good for another hour. */
export function withSvid(spiffeId = OPERATOR, notAfter = TEST_NOW + 3600): Caller {
  return { address: "192.0.2.7", svid: { spiffeId, serial: "01", notAfter } };
}

/** Makes a bench; its caller is the operator. */
export async function webBench(options: Partial<WebAppOptions> = {}): Promise<WebBench> {
  const folder = mkdtempSync(join(tmpdir(), "assay-web-"));
  const clock = new FakeClock(TEST_NOW * 1000);
  const store = await openSqliteStore({ folder, trustDomain: WEB_DOMAIN, clock });
  const registry = await openRegistry({ store, trustDomain: WEB_DOMAIN, clock });
  const audit: AuditRecord[] = [];
  const decisions = new Map<string, StoredAuditRecord>();
  const auditLog = {
    append(records: readonly AuditRecord[]) {
      if (bench.auditBroken) throw new AssayError("AUDIT_UNAVAILABLE", "disk /dev/sda1 is full");
      audit.push(...records);
    },
  };
  const signing = {
    bundle: () => bench.bundle,
    appendToBundle: () => Promise.resolve(bench.bundle),
    prepareAuthority: () => Promise.reject(new Error("no authority is moved over HTTP")),
    activateAuthority: () => Promise.reject(new Error("no authority is moved over HTTP")),
    taintAuthority: () => Promise.reject(new Error("no authority is moved over HTTP")),
    revokeAuthority: () => Promise.reject(new Error("no authority is moved over HTTP")),
    taintUpstreamAuthority: () => Promise.reject(new Error("no authority is moved over HTTP")),
    publishJwtAuthority: () => Promise.reject(new Error("no authority is moved over HTTP")),
    publishWitAuthority: () => Promise.reject(new Error("no authority is moved over HTTP")),
    revokeUpstreamAuthority: () => Promise.reject(new Error("no authority is moved over HTTP")),
  };
  const app = await buildWebApp({
    face: "web",
    clock,
    trustDomain: WEB_DOMAIN,
    log: { debug() {}, error() {} },
    requestId: () => REQUEST_ID,
    callerOf() {
      if (bench.caller instanceof AssayError) throw bench.caller;
      return bench.caller;
    },
    access: createAccess({
      trustDomain: WEB_DOMAIN,
      clock,
      adminIds: new Set([OPERATOR]),
      facts: {
        node: (id) => registry.nodes.get(id),
        hasFlag: (id, flag) => registry.entries.hasFlag(id, flag),
        activatePending: (id, serial) => registry.nodes.activatePending(id, serial),
      },
    }),
    audit: auditLog,
    refusals: new RateLimiter({ perSecond: 1, burst: 3 }, clock),
    health: () => bench.health,
    metrics: { render: () => Promise.resolve("assay_up 1\n"), contentType: "text/plain; version=0.0.4" },
    metricsReaders: new Set(),
    signing,
    bundles: store.bundles,
    registry,
    decisions: { find: (id) => Promise.resolve(decisions.get(id)) },
    taskRecords: store.tasks,
    credentials: store.credentials,
    ...UNSERVED_TASKS,
    federation: { configured: [], statuses: () => bench.federations },
    bundleOf: (name) => registry.bundle(name),
    federationOperations: federationOperations({
      relationships: store.federation,
      federation: {
        reload: async () => {
          const stored = await store.federation.list("", 1000);
          bench.federations = stored.map((relationship) => ({ relationship }));
        },
        refresh: async (trustDomain) => bench.refreshed.get(trustDomain),
      },
      catchUp: () => registry.catchUp(),
      audit: auditLog,
    }),
    operations: createOperations({
      trustDomain: WEB_DOMAIN,
      entries: operatedEntries(registry),
      nodes: operatedNodes(registry),
      bundles: store.bundles,
      signing,
      crls: store.crls,
      ownAuthorities: () => Promise.resolve(new Set()),
      bundleOf: (name) => registry.bundle(name),
      clock,
      audit: auditLog,
    }),
    ...options,
  });
  const bench: WebBench = {
    app,
    clock,
    store,
    registry,
    audit,
    auditBroken: false,
    caller: withSvid(),
    bundle: sampleBundle(),
    federations: [],
    refreshed: new Map(),
    health: { live: true, ready: true, checks: [{ name: "store", ok: true }] },
    decisions,
    attest: (change = {}) =>
      registry.nodes.attested({
        id: AGENT,
        attestationType: "x509pop",
        selectors: [{ type: "x509pop", value: "subject:cn:one" }],
        canReattest: true,
        serial: "0a",
        expiresAt: TEST_NOW + 600,
        pendingSerial: "",
        pendingExpiresAt: 0,
        attestedAt: TEST_NOW,
        agentVersion: "1.0.0",
        ...change,
      }),
    async send(method, url, body, headers = {}) {
      const payload = typeof body === "string" ? body : JSON.stringify(body);
      const answer = await app.routes.inject({
        method,
        url,
        headers: {
          host: "localhost",
          ...(body === undefined ? {} : { "content-type": "application/json" }),
          ...headers,
        },
        ...(body === undefined ? {} : { payload }),
      });
      const isJson = String(answer.headers["content-type"]).includes("json");
      return {
        status: answer.statusCode,
        headers: answer.headers,
        body: (isJson ? JSON.parse(answer.body) : answer.body) as WebBody,
      };
    },
    async [Symbol.asyncDispose]() {
      const closed = app[Symbol.asyncDispose]();
      await clock.advance(5000);
      await closed;
      registry[Symbol.dispose]();
      await store[Symbol.asyncDispose]();
      rmSync(folder, { recursive: true });
    },
  };
  return bench;
}

/** A bundle of one X.509 and one JWT authority. */
export function sampleBundle(trustDomain = WEB_DOMAIN): SpiffeBundle {
  const key = makeKey();
  const { der } = makeCertificate({ subject: trustDomain, key, ca: true, uris: [`spiffe://${trustDomain}`] });
  return {
    trustDomain,
    sequence: 7n,
    refreshHint: 300,
    x509Authorities: [{ certificate: der, tainted: false }],
    jwtAuthorities: [{ keyId: "k1", publicKey: key.spki, expiresAt: TEST_NOW + 3600, tainted: false }],
    witAuthorities: [],
  };
}

/** The id of every request of a bench. */
export const REQUEST_ID = "6f6bc4a5-0c0e-4d62-9f0a-3f8b0a1c2d3e";
