import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { FakeClock } from "../../../test/fakes/clock.ts";
import { SigningWorld } from "../../../test/fakes/signing-world.ts";
import { open, place } from "../../../test/fakes/upstream-world.ts";
import { unixSeconds } from "../../clock.ts";
import { AssayError } from "../../errors/assay-error.ts";
import type { AuditRecord } from "../../observe/audit-record.ts";
import { createLog } from "../../observe/log.ts";
import { emptyBundle } from "../../spiffe/bundle.ts";
import { parseTrustDomain } from "../../spiffe/trust-domain.ts";
import type { AuthorityKind, AuthorityRecord, AuthorityState, RestoreRecord } from "../../store/records.ts";
import { replaceAuthorities, type ReplaceAuthoritiesParts } from "./replace-authorities.ts";

/** A signing of words: records that move as the real ones do. */
class Authorities {
  readonly records: AuthorityRecord[] = [];
  readonly steps: string[] = [];
  readonly #clock: FakeClock;
  fault: AssayError | undefined;
  refreshHint = 300;
  longestRefreshHint = 9600;
  /** Kinds that the fault does not touch. */
  spared: ReadonlySet<AuthorityKind> = new Set();

  constructor(clock: FakeClock) {
    this.#clock = clock;
  }

  add(id: string, kind: AuthorityKind, state: AuthorityState): AuthorityRecord {
    const now = Math.floor(this.#clock.now() / 1000);
    const record = { ...BLANK, id, kind, state, notBefore: now, notAfter: now + 86_400, changedAt: now };
    this.records.push(record);
    return record;
  }

  #move(id: string, state: AuthorityState): AuthorityRecord {
    const { kind } = this.records.find((record) => record.id === id) ?? BLANK;
    if (this.fault !== undefined && !this.spared.has(kind)) throw this.fault;
    const at = this.records.findIndex((record) => record.id === id);
    const moved = { ...(this.records[at] ?? BLANK), state };
    this.records[at] = moved;
    this.steps.push(`${id} ${state}`);
    return moved;
  }

  readonly port: ReplaceAuthoritiesParts["signing"] = {
    authorities: () => this.records,
    authorityStates: (kind) => {
      const of = (state: AuthorityState) =>
        this.records.findLast((record) => record.kind === kind && record.state === state);
      const [active, prepared] = [of("active"), of("prepared")];
      return { ...(active && { active }), ...(prepared && { prepared }) };
    },
    prepareAuthority: async (kind) => {
      if (this.fault !== undefined && !this.spared.has(kind)) throw this.fault;
      const prepared = this.port.authorityStates(kind).prepared;
      if (prepared !== undefined) this.#move(prepared.id, "old");
      const made = this.add(`${kind}-new`, kind, "prepared");
      this.steps.push(`${made.id} prepared`);
      return made;
    },
    activateAuthority: async (kind, id = "") => {
      const { active } = this.port.authorityStates(kind);
      if (active !== undefined) this.#move(active.id, "old");
      return this.#move(id, "active");
    },
    taintAuthority: async (_, id) => this.#move(id, "tainted"),
    upstreamIdOf: () => undefined,
    longestRefreshHint: () => this.longestRefreshHint,
    bundle: () => ({ ...emptyBundle(parseTrustDomain("example.org")), refreshHint: this.refreshHint }),
  };
}

const BLANK: AuthorityRecord = {
  id: "",
  kind: "x509",
  state: "old",
  serverId: "one",
  keyId: "A",
  publicKey: new Uint8Array(),
  chain: [],
  notBefore: 0,
  notAfter: 0,
  changedAt: 0,
};

let clock: FakeClock;
let authorities: Authorities;
let settled: Partial<RestoreRecord>[];
let records: AuditRecord[];
let lines: string[];
const running: AsyncDisposable[] = [];

beforeEach(() => {
  clock = new FakeClock();
  authorities = new Authorities(clock);
  [settled, records, lines] = [[], [], []];
});
afterEach(async () => {
  for (const one of running.splice(0)) await one[Symbol.asyncDispose]();
});

function start(
  ids: readonly string[],
  signing: ReplaceAuthoritiesParts["signing"] = authorities.port,
  refreshHint?: number,
): void {
  const restored = { at: 1, backupAt: 0, authorities: ids, statusLists: 0, told: true };
  running.push(
    replaceAuthorities({
      restored,
      backups: { settle: async (change) => void settled.push(change) },
      signing,
      refreshHint,
      clock,
      log: createLog({ level: "trace", clock, destination: { write: (line) => void lines.push(line) } }),
      audit: { append: (added) => void records.push(...added) },
    }),
  );
}

async function pass(seconds: number): Promise<void> {
  for (let n = 0; n < seconds; n++) await clock.advance(1000);
}

describe("authorities of before a restore", () => {
  it("are replaced when their successors have been known to everybody, tainted, and then left alone", async () => {
    authorities.add("x-older", "x509", "old");
    authorities.add("x", "x509", "active");
    authorities.add("x-next", "x509", "prepared");
    authorities.add("j", "jwt", "active");
    start(["x-older", "x", "x-next", "j"]);
    await pass(30);
    expect(authorities.steps).toEqual(["x-next old", "x509-new prepared", "jwt-new prepared"]);
    expect(settled).toEqual([]);
    // As long as federated trust domains may keep a bundle, and a minute for the way.
    await pass(325);
    expect(authorities.steps).toHaveLength(3);
    await pass(10);
    expect(authorities.steps.slice(3).toSorted()).toEqual(
      [
        "x old",
        "x509-new active",
        "x tainted",
        "x-older tainted",
        "x-next tainted",
        "j old",
        "jwt-new active",
        "j tainted",
      ].toSorted(),
    );
    expect(settled).toEqual([{ authorities: [] }]);
    expect(records.map(({ event }) => event)).toEqual(
      expect.arrayContaining(["authority.prepared", "authority.activated", "authority.tainted"]),
    );
    expect(lines.at(-1)).toMatch(/"x509 x","x509 x-next","jwt j"|replaced and tainted/);
    const before = authorities.steps.length;
    await pass(100);
    expect(authorities.steps).toHaveLength(before);
  });

  it("are replaced before they end, though not everybody may have heard of their successors", async () => {
    const { id } = authorities.add("x", "x509", "active");
    authorities.records[0] = { ...(authorities.records[0] ?? BLANK), notAfter: unixSeconds(clock) + 120 };
    start([id]);
    await pass(85);
    expect(authorities.steps).toEqual(["x509-new prepared"]);
    await pass(15);
    expect(authorities.steps.slice(1)).toEqual(["x old", "x509-new active", "x tainted"]);
  });

  it.each([
    [0, 360],
    [5, 65],
    [30, 90],
    [3600, 3660],
  ])("wait for a refresh hint of %i s and a minute more", async (hint, lead) => {
    authorities.refreshHint = hint;
    authorities.add("x", "x509", "active");
    start(["x"]);
    await pass(lead - 5);
    expect(authorities.steps).toHaveLength(1);
    await pass(10);
    expect(authorities.steps).toHaveLength(4);
  });

  it("wait for no longer hint than others can have been told", async () => {
    authorities.longestRefreshHint = 400;
    authorities.add("x", "x509", "active");
    start(["x"], authorities.port, 86_400);
    await pass(455);
    expect(authorities.steps).toHaveLength(1);
    await pass(10);
    expect(authorities.steps).toHaveLength(4);
  });

  it("are replaced no second time where a server had to make new ones at its start", async () => {
    authorities.add("x", "x509", "old");
    authorities.add("x-fresh", "x509", "active");
    start(["x"]);
    await pass(2);
    expect(authorities.steps).toEqual(["x tainted"]);
    expect(settled).toEqual([{ authorities: [] }]);
  });

  it("wait while a key manager is in trouble, and go on where they were after a restart", async () => {
    authorities.add("x", "x509", "active");
    authorities.fault = new AssayError("KEY_UNAVAILABLE", "the HSM is away");
    start(["x"]);
    await pass(20);
    expect(lines.filter((line) => line.includes("will be tried again"))).toHaveLength(1);
    authorities.fault = undefined;
    await pass(20);
    expect(authorities.steps).toEqual(["x509-new prepared"]);
    await running.pop()?.[Symbol.asyncDispose]();
    await pass(100);
    expect(authorities.steps).toHaveLength(1);
    await clock.advance(300_000);
    start(["x"]);
    await pass(2);
    expect(authorities.steps).toEqual(["x509-new prepared", "x old", "x509-new active", "x tainted"]);
  });

  it("are replaced by kind, so that trouble with one holds up no other", async () => {
    authorities.add("x", "x509", "active");
    authorities.add("j", "jwt", "active");
    authorities.fault = new AssayError("UPSTREAM_UNAVAILABLE", "nobody signs");
    authorities.spared = new Set(["jwt"]);
    start(["x", "j"]);
    await pass(500);
    expect(authorities.steps).toEqual(["jwt-new prepared", "j old", "jwt-new active", "j tainted"]);
    expect(settled).toEqual([]);
    authorities.fault = undefined;
    await pass(500);
    expect(authorities.records.find(({ id }) => id === "x")?.state).toBe("tainted");
    expect(settled).toEqual([{ authorities: [] }]);
  });

  it("are replaced and not tainted where an upstream authority signed them, and hold up no other", async () => {
    const { world } = await place();
    ({ clock } = world);
    const signing = await open(world);
    const before = signing.authorities();
    start(
      before.map(({ id }) => id),
      signing,
    );
    for (let n = 0; n < 600; n++) {
      await clock.advance(1000);
      await new Promise((resolve) => setImmediate(resolve));
    }
    const now = new Map(signing.authorities().map(({ id, state }) => [id, state]));
    expect(before.map(({ id, kind }) => `${kind} ${now.get(id) ?? "gone"}`).toSorted()).toEqual([
      "jwt tainted",
      "x509 old",
    ]);
    expect(settled).toEqual([{ authorities: [] }]);
    expect(lines.join("\n")).not.toMatch(/cannot be replaced/);
  });

  it("are replaced with RS256 too where a server had to make the other one anew at its start", async () => {
    const world = new SigningWorld();
    running.push(world);
    ({ clock } = world);
    const options = { rs256: true };
    await using first = await world.open(options);
    const before = first.authorities().map(({ id }) => id);
    await first[Symbol.asyncDispose]();
    await world.keyManager.deleteKey("JWT-Signer-A");
    const signing = await world.open(options);
    running.push(signing);
    start(before, signing);
    // Making an RSA key takes what it takes.
    const passed = async () => {
      await clock.advance(1000);
      return settled.length;
    };
    await expect.poll(passed, { timeout: 30_000, interval: 1 }).toBe(1);
    const now = signing.authorities();
    expect(now.filter(({ id }) => before.includes(id)).map(({ state }) => state)).toEqual(
      before.map(() => "tainted"),
    );
    expect(now.filter(({ kind, state }) => kind === "jwt" && state === "active")).toHaveLength(2);
    expect(settled).toEqual([{ authorities: [] }]);
  });

  it("are said to stay where nothing moves for minutes, and are not while they only wait", async () => {
    authorities.add("x", "x509", "active");
    authorities.fault = new AssayError("KEY_UNAVAILABLE", "the HSM is away");
    start(["x"]);
    const said = () => lines.filter((line) => /are still there/.test(line));
    await pass(250);
    expect(said()).toEqual([]);
    await pass(500);
    expect(said()).toHaveLength(2);
    expect(said()[0]).toMatch(/"x509 x"/);
    authorities.fault = undefined;
    await pass(600);
    expect(settled).toEqual([{ authorities: [] }]);
    expect(said()).toHaveLength(2);
  });

  it("are left alone where the operator keeps them", async () => {
    authorities.add("x", "x509", "active");
    start([]);
    await pass(100);
    expect(authorities.steps).toEqual([]);
    expect(settled).toEqual([]);
  });
});
