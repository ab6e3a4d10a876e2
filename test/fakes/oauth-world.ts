import { randomBytes, randomUUID } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { unixSeconds } from "../../src/clock.ts";
import { createDpopProof, type DpopRequest } from "../../src/crypto/jose/dpop.ts";
import { spkiThumbprint } from "../../src/crypto/jose/thumbprint.ts";
import { AssayError } from "../../src/errors/assay-error.ts";
import { createHttpApp, type HttpApp } from "../../src/http/http-app.ts";
import type { Caller } from "../../src/issuance/caller.ts";
import { openMemoryKeyManager } from "../../src/keys/memory/memory.ts";
import { DEFAULT_POLICY } from "../../src/policy/policy-options.ts";
import type { TaskAttestor } from "../../src/plugin/task-attestor.ts";
import { openRegistry, type Registry } from "../../src/registry/registry.ts";
import type { EntryDraft } from "../../src/registry/entry-rules.ts";
import { createOAuth } from "../../src/server/oauth/oauth.ts";
import { openServerTasks, type ServerTasks } from "../../src/server/tasks/server-tasks.ts";
import { oidcRoutes } from "../../src/server/web/oidc-routes.ts";
import { operatorGuard } from "../../src/server/web/operator-guard.ts";
import { openSigning } from "../../src/signing/open-signing.ts";
import type { Signing } from "../../src/signing/signing.ts";
import { parseAudiences } from "../../src/spiffe/audience.ts";
import { parseSpiffeId, type SpiffeId } from "../../src/spiffe/id.ts";
import { parseTrustDomain } from "../../src/spiffe/trust-domain.ts";
import type { EntryRecord } from "../../src/store/records.ts";
import { openSqliteStore } from "../../src/store/sqlite/open.ts";
import type { Store } from "../../src/store/store.ts";
import { makeKey, type TestKey } from "./certificates.ts";
import { FakeClock } from "./clock.ts";
import { FakeAudit } from "./issuance-bench.ts";

/** The issuer of an {@link OAuthWorld}. */
export const ISSUER = "https://issuer.example/assay";
/** Its endpoints, as its metadata names them. */
export const TOKEN_URL = `${ISSUER}/oauth2/token`;
export const REVOKE_URL = `${ISSUER}/oauth2/revoke`;
/** The audience that entries of {@link OAuthWorld.entry} list. */
export const API = "https://api.example";
/** An administrator. */
export const OPERATOR = parseSpiffeId("spiffe://example.org/operator");

/** What came back. */
export interface OAuthAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly body: OAuthBody;
}

/** Members that tests read out of bodies; which of them are there depends on the request. */
export interface OAuthBody {
  readonly access_token: string;
  readonly error_description?: string;
  readonly active: boolean;
  readonly task: { readonly id: string };
  readonly token_endpoint_auth_methods_supported: readonly string[];
}

/** A key that a client proves, with the proofs it makes. */
export class Prover {
  readonly key: TestKey;
  readonly jkt: string;
  readonly #world: OAuthWorld;

  constructor(world: OAuthWorld, key = makeKey()) {
    this.key = key;
    this.jkt = spkiThumbprint(key.spki);
    this.#world = world;
  }

  /** A proof for the token endpoint with the server's nonce of now, or as asked. */
  proof(change: Partial<DpopRequest> = {}): string {
    return createDpopProof(this.key.privateKey, {
      method: "POST",
      url: TOKEN_URL,
      jti: randomUUID(),
      now: this.#world.now,
      nonce: this.#world.nonce,
      ...change,
    });
  }
}

/** The OAuth face of a server over real signing, store, registry and tasks; callers, clock and audit are the test's. */
export class OAuthWorld implements AsyncDisposable {
  readonly clock: FakeClock;
  readonly audit: FakeAudit;
  /** Who sends the next request. */
  caller: Caller | AssayError = { address: "192.0.2.9" };
  /** The certificate of its connection. */
  certificate: Uint8Array | undefined;
  /** How many requests are still let in. */
  allowance = Number.POSITIVE_INFINITY;
  /** What the last answer said to use. */
  nonce = "";
  readonly store: Store;
  readonly signing: Signing;
  readonly registry: Registry;
  readonly serverTasks: ServerTasks;
  readonly app: HttpApp;
  readonly #cleanup: AsyncDisposableStack;
  #decisions = 0;

  private constructor(
    parts: Pick<OAuthWorld, "clock" | "audit" | "store" | "signing" | "registry" | "serverTasks"> & {
      readonly app: HttpApp;
      readonly cleanup: AsyncDisposableStack;
    },
  ) {
    this.clock = parts.clock;
    this.audit = parts.audit;
    this.store = parts.store;
    this.signing = parts.signing;
    this.registry = parts.registry;
    this.serverTasks = parts.serverTasks;
    this.app = parts.app;
    this.#cleanup = parts.cleanup;
  }

  static async open(options: { readonly tasks?: boolean; readonly wit?: boolean } = {}): Promise<OAuthWorld> {
    const { tasks = true, wit = true } = options;
    const cleanup = new AsyncDisposableStack();
    const clock = new FakeClock();
    const audit = new FakeAudit();
    const trustDomain = parseTrustDomain("example.org");
    const folder = mkdtempSync(join(tmpdir(), "assay-oauth-"));
    cleanup.defer(() => rmSync(folder, { recursive: true, force: true }));
    const store = cleanup.use(await openSqliteStore({ folder, trustDomain, clock }));
    const signing = cleanup.use(
      await openSigning({
        trustDomain,
        store,
        keyManager: cleanup.use(openMemoryKeyManager()),
        clock,
        random: randomBytes,
        options: { serverId: "one", jwtIssuer: ISSUER, wit },
      }),
    );
    const registry = cleanup.use(await openRegistry({ store, trustDomain, clock }));
    const issuing = {
      audit,
      newDecisionId: () => world.newDecisionId(),
      trustDomain,
      clock,
      policy: DEFAULT_POLICY,
      signing,
    };
    const log = { debug() {}, info() {}, warn() {}, error() {} } as never;
    const attestors = new Map([["ci", platform()]]);
    const serverTasks = cleanup.use(
      await openServerTasks({
        restoredAt: undefined,
        ...issuing,
        store,
        registry,
        log,
        attestors,
        issuer: ISSUER,
        settings: undefined,
        witSvids: wit,
        searchAudit: () => Promise.resolve([]),
      }),
    );
    const app = await createHttpApp({
      clock,
      log: { debug() {}, error() {} },
      transport: { kind: "handed-over" },
      openapi: { title: "test", version: "1" },
      requestId: randomUUID,
    });
    const callerOf = () => {
      if (world.caller instanceof AssayError) throw world.caller;
      return world.caller;
    };
    const oauth = createOAuth({
      exchange: serverTasks.exchange ?? unreachable(),
      openTask: tasks ? serverTasks.issuance.open : undefined,
      callerOf,
      certificateOf: () => world.certificate,
      limit: {
        take() {
          if (world.allowance-- < 1) throw new AssayError("RATE_LIMITED", "too fast");
        },
      },
      log: { debug() {}, error() {} },
      random: randomBytes,
    });
    const holds = (role: string, caller: Caller) => role === "admin" && caller.svid?.spiffeId === OPERATOR;
    const guard = operatorGuard({ callerOf, access: { holds }, audit, refusals: { take() {} } });
    oauth.addRoutes(app.routes, guard);
    oidcRoutes(app.routes, {
      oidc: { issuer: ISSUER, domains: [] },
      signing,
      oauthMetadata: oauth.metadata,
    });
    app.routes.get("/v1/task/try", async (request, reply) => {
      const { id } = await oauth.taskGuard.admit(request, reply);
      return { id };
    });
    const world: OAuthWorld = new OAuthWorld({
      clock,
      audit,
      store,
      signing,
      registry,
      serverTasks,
      app,
      cleanup,
    });
    return world;
  }

  get now(): number {
    return unixSeconds(this.clock);
  }

  readonly newDecisionId = (): string => `decision-${++this.#decisions}`;

  /** Adds an entry that may be exchanged for {@link API}, of a workload unless told otherwise. */
  async entry(name: string, change: Partial<EntryDraft> = {}): Promise<EntryRecord> {
    const [result] = await this.registry.entries.create([
      {
        spiffeId: `spiffe://example.org/${name}`,
        parentId: "spiffe://example.org/spire/agent/x509pop/one",
        selectors: [{ type: "unix", value: `user:${name}` }],
        exchangeAudiences: [API],
        ...change,
      },
    ]);
    if (result?.outcome !== "created") throw new Error(`no entry: ${JSON.stringify(result)}`);
    return result.entry;
  }

  /** A JWT-SVID for this server, or for other audiences. */
  async jwtSvid(name: string, audiences: readonly string[] = [ISSUER], ttl = 300): Promise<string> {
    const { token } = await this.signing.signJwtSvid(
      this.signing.prepareJwtSvid({
        spiffeId: parseSpiffeId(`spiffe://example.org/${name}`),
        audiences: parseAudiences(audiences),
        ttl,
        includeJti: true,
      }),
    );
    return token;
  }

  /** A WIT-SVID for a key. */
  async witSvid(name: string, key: TestKey): Promise<string> {
    const { token } = await this.signing.signWitSvid(
      this.signing.prepareWitSvid({
        spiffeId: parseSpiffeId(`spiffe://example.org/${name}`),
        publicKey: key.spki,
        keyAlgorithm: "ES256",
        ttl: 300,
      }),
    );
    return token;
  }

  /** Somebody with a key, and a nonce of the server. */
  async prover(): Promise<Prover> {
    if (this.nonce === "") await this.send("/oauth2/token", {});
    return new Prover(this);
  }

  /** Posts a form; a list is a parameter that is there several times. */
  async send(
    url: string,
    form: Readonly<Record<string, string | readonly string[]>> | string,
    headers: Record<string, string> = {},
  ): Promise<OAuthAnswer> {
    const payload =
      typeof form === "string"
        ? form
        : new URLSearchParams(
            Object.entries(form).flatMap(([name, value]) =>
              [value].flat().map((one): [string, string] => [name, one]),
            ),
          ).toString();
    return this.request("POST", url, payload, {
      "content-type": "application/x-www-form-urlencoded",
      ...headers,
    });
  }

  /** Sends any request. */
  async request(
    method: "GET" | "POST" | "PUT" | "DELETE",
    url: string,
    payload?: string,
    headers: Record<string, string> = {},
  ): Promise<OAuthAnswer> {
    const answer = await this.app.routes.inject({
      method,
      url,
      headers: { host: "issuer.example", ...headers },
      ...(payload === undefined ? {} : { payload }),
    });
    const nonce = answer.headers["dpop-nonce"];
    if (typeof nonce === "string" && url.includes("/oauth2/")) this.nonce = nonce;
    const isJson = String(answer.headers["content-type"]).includes("json");
    return {
      status: answer.statusCode,
      headers: answer.headers,
      body: (isJson ? JSON.parse(answer.body) : answer.body) as OAuthBody,
    };
  }

  /** The connection of a workload that shows its X509-SVID. */
  async svidOf(
    name: string,
  ): Promise<{ readonly spiffeId: SpiffeId; readonly serial: string; readonly notAfter: number }> {
    const spiffeId = parseSpiffeId(`spiffe://example.org/${name}`);
    const issued = await this.signing.signX509Svid(
      this.signing.prepareX509Svid({ spiffeId, publicKey: makeKey().spki, dnsNames: [], ttl: 600 }),
    );
    const svid = { spiffeId, serial: issued.serial, notAfter: issued.notAfter };
    this.caller = { address: "192.0.2.9", svid };
    this.certificate = issued.certificate;
    return svid;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = this.app[Symbol.asyncDispose]();
    await this.clock.advance(5000);
    await closed;
    await this.#cleanup.disposeAsync();
  }
}

function unreachable(): never {
  throw new Error("there is an issuer, so there are access tokens");
}

/** A platform whose tokens are `run:<run>:<number>`; anything else is no token of it. */
function platform(): TaskAttestor {
  return {
    attest({ token }) {
      const [kind, run = "", number = ""] = token.split(":");
      if (kind !== "run" || number === "") {
        return Promise.reject(new AssayError("ATTESTATION_FAILED", "this is no token of a run"));
      }
      return Promise.resolve({
        platform: "fake-ci",
        issuer: "https://ci.example",
        selectors: [{ type: "ci", value: "repository:1" }],
        guarded: [],
        claims: { run },
        authoredClaims: [],
        taskKey: run,
        granularity: "job",
        description: `run ${run}`,
        replayKey: number,
        replayUntil: 2_000_000_000,
      });
    },
    async [Symbol.asyncDispose]() {},
  };
}
