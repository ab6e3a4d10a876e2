import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { unixSeconds } from "../../src/clock.ts";
import { readCrl, type CertificateRevocationList } from "../../src/crypto/crl.ts";
import { openMemoryKeyManager } from "../../src/keys/memory/memory.ts";
import { openRegistry, type Registry } from "../../src/registry/registry.ts";
import { openRevocation, type Revocation } from "../../src/revocation/revocation.ts";
import { openPublisher, type Publisher, type PublisherEvent } from "../../src/server/revocation/publisher.ts";
import { openSigning } from "../../src/signing/open-signing.ts";
import type { Signing } from "../../src/signing/signing.ts";
import { parseSpiffeId } from "../../src/spiffe/id.ts";
import { parseTrustDomain } from "../../src/spiffe/trust-domain.ts";
import { openSqliteStore } from "../../src/store/sqlite/open.ts";
import type { Store } from "../../src/store/store.ts";
import type { CredentialRecord } from "../../src/store/task-store.ts";
import { FakeClock } from "./clock.ts";

/** A trust domain as far as revocation needs one: store and keys that outlive servers, and servers over them. */
export class RevocationWorld implements AsyncDisposable {
  readonly clock = new FakeClock();
  readonly #folder = mkdtempSync(join(tmpdir(), "assay-revocation-"));
  readonly #keys = new Map<string, ReturnType<typeof openMemoryKeyManager>>();
  readonly #servers: RevocationServer[] = [];
  #store: Store | undefined;

  get store(): Store {
    if (this.#store === undefined) throw new Error("open a server first");
    return this.#store;
  }

  /** Starts a server; a second start of the same name is a restart of that server. */
  async server(name = "one"): Promise<RevocationServer> {
    this.#store ??= await openSqliteStore({ folder: this.#folder, trustDomain: WORLD, clock: this.clock });
    const keyManager = this.#keys.get(name) ?? openMemoryKeyManager();
    this.#keys.set(name, keyManager);
    const { clock, store } = this;
    const signing = await openSigning({
      trustDomain: WORLD,
      store,
      keyManager,
      clock,
      random: randomBytes,
      options: { serverId: name },
    });
    const registry = await openRegistry({ store, trustDomain: WORLD, clock });
    const revocation = await openRevocation({ store, clock });
    const events: PublisherEvent[] = [];
    const report = (event: PublisherEvent) => void events.push(event);
    const { crls } = store;
    const publisher = await openPublisher({
      trustDomain: WORLD,
      revocation,
      crls,
      registry,
      signing,
      clock,
      report,
    });
    const server = new RevocationServer({ signing, registry, revocation, publisher, events, clock });
    this.#servers.push(server);
    return server;
  }

  /** Lets time pass until something is done that waits for it. */
  async passing<Result>(waiting: Promise<Result>): Promise<Result> {
    let isOver = false;
    const over = waiting.finally(() => {
      isOver = true;
    });
    over.catch(() => undefined);
    while (!isOver) await this.clock.advance(100);
    return over;
  }

  /** The stored lists by authority, read. */
  async lists(): Promise<ReadonlyMap<string, CertificateRevocationList>> {
    const lists = await this.store.crls.list();
    return new Map(lists.map(({ authorityKeyId, crl }) => [authorityKeyId, readCrl(crl, "INTERNAL")]));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const server of this.#servers) await server[Symbol.asyncDispose]();
    await this.#store?.[Symbol.asyncDispose]();
    for (const keys of this.#keys.values()) await keys[Symbol.asyncDispose]();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** What of one server has to do with revocation. */
export class RevocationServer implements AsyncDisposable {
  readonly signing: Signing;
  readonly registry: Registry;
  readonly revocation: Revocation;
  readonly publisher: Publisher;
  readonly events: PublisherEvent[];
  readonly #clock: FakeClock;
  #closed = false;

  constructor(
    parts: Pick<RevocationServer, "signing" | "registry" | "revocation" | "publisher" | "events"> & {
      readonly clock: FakeClock;
    },
  ) {
    this.signing = parts.signing;
    this.registry = parts.registry;
    this.revocation = parts.revocation;
    this.publisher = parts.publisher;
    this.events = parts.events;
    this.#clock = parts.clock;
  }

  /** The X.509 authority that signs. */
  get authorityId(): string {
    const { active } = this.signing.authorityStates("x509");
    if (active === undefined) throw new Error("there is no active authority");
    return active.id;
  }

  /** Revokes an SVID of the active authority, without waiting for any list. */
  async revoke(serial: string, change: Partial<RevokedFacts> = {}): Promise<void> {
    const now = unixSeconds(this.#clock);
    await this.revocation.revoke({ kind: "x509", id: serial }, "keyCompromise", {
      authorityId: this.authorityId,
      spiffeId: parseSpiffeId(`spiffe://${WORLD}/ci/1`),
      entryId: "e",
      taskId: "",
      parent: "",
      issuedAt: now,
      expiresAt: now + 3600,
      ...change,
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.publisher[Symbol.asyncDispose]();
    await this.revocation[Symbol.asyncDispose]();
    this.registry[Symbol.dispose]();
    await this.signing[Symbol.asyncDispose]();
  }
}

/** Everything of a credential that a test may choose. */
export type RevokedFacts = Omit<CredentialRecord, "kind" | "id" | "revokedAt" | "reason">;

/** The trust domain of a {@link RevocationWorld}. */
export const WORLD = parseTrustDomain("example.org");
