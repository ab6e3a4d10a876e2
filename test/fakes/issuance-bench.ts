import { ENTRY_DEFAULTS } from "./entry-defaults.ts";
import { randomBytes } from "node:crypto";
import { unixSeconds } from "../../src/clock.ts";
import { type Certificate, readCertificate } from "../../src/crypto/certificate-reader.ts";
import { validateX509Svid } from "../../src/crypto/x509-svid.ts";
import { AssayError } from "../../src/errors/assay-error.ts";
import type { AgentCaller, Caller } from "../../src/issuance/caller.ts";
import type { WorkloadIssuanceOptions } from "../../src/issuance/x509-svids.ts";
import { openMemoryKeyManager } from "../../src/keys/memory/memory.ts";
import type { AuditRecord } from "../../src/observe/audit-record.ts";
import type { KeyManager } from "../../src/plugin/key-manager.ts";
import { DEFAULT_POLICY, type PolicyOptions } from "../../src/policy/policy-options.ts";
import { openSigning, type SigningOptions } from "../../src/signing/open-signing.ts";
import type { Signing } from "../../src/signing/signing.ts";
import { parseSpiffeId, type SpiffeId } from "../../src/spiffe/id.ts";
import { parseTrustDomain } from "../../src/spiffe/trust-domain.ts";
import type { EntryRecord } from "../../src/store/records.ts";
import { FakeAuthorityStore } from "./authority-store.ts";
import { FakeClock } from "./clock.ts";

/** The trust domain of the bench. */
export const trustDomain = parseTrustDomain("example.org");
/** The agent that holds the bench's entries. */
export const AGENT = parseSpiffeId("spiffe://example.org/spire/agent/x509pop/one");
/** Another agent, that holds none. */
export const OTHER_AGENT = parseSpiffeId("spiffe://example.org/spire/agent/x509pop/two");

/** An audit log in memory that can be told to fail. */
export class FakeAudit {
  readonly records: AuditRecord[] = [];
  /** How often it was asked to write. */
  writes = 0;
  broken = false;

  append(records: readonly AuditRecord[]): void {
    this.writes += 1;
    if (this.broken) throw new AssayError("AUDIT_UNAVAILABLE", "disk is full");
    this.records.push(...records);
  }
}

/** Real signing with keys in memory, entries of one agent, and an audit log in memory. */
export class IssuanceBench implements AsyncDisposable {
  readonly clock: FakeClock;
  readonly audit = new FakeAudit();
  readonly entries = new Map<string, EntryRecord>();
  readonly signing: Signing;
  readonly #cleanup: AsyncDisposableStack;
  #decisions = 0;

  private constructor(clock: FakeClock, signing: Signing, cleanup: AsyncDisposableStack) {
    this.clock = clock;
    this.signing = signing;
    this.#cleanup = cleanup;
  }

  static async open(
    options: Partial<SigningOptions> = {},
    keys: KeyManager = openMemoryKeyManager(),
  ): Promise<IssuanceBench> {
    const clock = new FakeClock();
    await using stack = new AsyncDisposableStack();
    const keyManager = stack.use(keys);
    const signing = stack.use(
      await openSigning({
        trustDomain,
        store: new FakeAuthorityStore(trustDomain),
        keyManager,
        clock,
        random: randomBytes,
        options: { serverId: "one", ...options },
      }),
    );
    return new IssuanceBench(clock, signing, stack.move());
  }

  get now(): number {
    return unixSeconds(this.clock);
  }

  readonly newDecisionId = (): string => `decision-${++this.#decisions}`;

  /** What issuance stands on; entries are the agent `AGENT`'s, and expire by the clock. */
  options(policy: Partial<PolicyOptions> = {}): WorkloadIssuanceOptions {
    return {
      audit: this.audit,
      newDecisionId: this.newDecisionId,
      trustDomain,
      clock: this.clock,
      policy: { ...DEFAULT_POLICY, ...policy },
      signing: this.signing,
      authorizedEntry: (agent, id) => {
        const entry = agent === AGENT ? this.entries.get(id) : undefined;
        return entry === undefined || (entry.expiresAt > 0 && entry.expiresAt <= this.now)
          ? undefined
          : entry;
      },
    };
  }

  /** Adds an entry. */
  entry(id: string, fields: Partial<EntryRecord> = {}): EntryRecord {
    const entry: EntryRecord = {
      id,
      revision: 3,
      createdAt: this.now,
      ordinal: this.entries.size + 1,
      spiffeId: parseSpiffeId(`spiffe://example.org/${id}`),
      parentId: AGENT,
      selectors: [{ type: "unix", value: "uid:1000" }],
      ...ENTRY_DEFAULTS,
      ...fields,
    };
    this.entries.set(id, entry);
    return entry;
  }

  /** Reads a leaf, having validated it against the bundle as a relying party does. */
  validated(chain: readonly Uint8Array[]): Certificate {
    const certificates = chain.map((certificate) => readCertificate(certificate));
    const roots = this.signing
      .bundle()
      .x509Authorities.map(({ certificate }) => readCertificate(certificate));
    validateX509Svid(certificates, roots, this.now);
    const [leaf] = certificates;
    if (leaf === undefined) throw new Error("the chain is empty");
    return leaf;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#cleanup.disposeAsync();
  }
}

/** An agent that calls over the network. */
export function agentCaller(spiffeId: SpiffeId = AGENT): AgentCaller {
  return { address: "192.0.2.7", svid: { spiffeId, serial: "0a", notAfter: 2 ** 31 } };
}

/** A process on the admin socket. */
export const LOCAL: Caller = { address: "", process: { pid: 42, uid: 0, gid: 0, path: "/usr/bin/assay" } };
