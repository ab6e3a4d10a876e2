import { readdir, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import {
  DRILL,
  DrillWorld,
  idsAt,
  NODE,
  PATIENCE,
  SELF,
  sequenceOf,
  served,
  servedBy,
  servedIds,
} from "./drills-world.ts";
import { assay, type AssayServer, startServer } from "./harness.ts";
import { commandsOf, headings } from "./recovery-page.ts";
import { fetchX509 } from "./workload.ts";

let world: DrillWorld | undefined;

afterEach(async ({ task }) => {
  if (task.result?.state === "fail") console.error(world?.told);
  await world?.[Symbol.asyncDispose]();
  world = undefined;
});

const UNKNOWN = /proves itself by no authority that the agent knows/;
const BACK = { timeout: PATIENCE, interval: 500 };

describe("docs/operations/recovery.md", () => {
  it("has a drill here for each section with commands", async () => {
    expect(await headings()).toEqual([
      "Backups",
      "Every authority has expired",
      "The keys are lost",
      "The store is lost",
      "The machine is lost",
      "The store is older than before",
      "An agent was away for too long",
    ]);
  });
});

describe("every authority has expired", () => {
  it("is over when the agents have the new bundle, and nobody in between is believed meanwhile", {
    timeout: DRILL,
  }, async () => {
    world = await DrillWorld.start({ ca: "1m", agent: "30s", svid: "20s" });
    const { steady, place, machine, scratch } = world;
    const [start = "", install = "", token = "", restart = ""] = await commandsOf(
      "Every authority has expired",
    );
    const endpoint = `unix://${steady.socket}`;
    await servedIds(steady.socket, [SELF]);
    const known = await authorityOf(world);
    await world.stopServer();
    // Whatever it made last.
    await minuteEnds();
    // Trouble, and no loss of entitlement.
    const expired = await assay(["fetch", "x509", `--socket=${endpoint}`]);
    expect(expired.code).toBe(1);
    expect(expired.stderr).not.toMatch(/no identity issued/i);

    // The worst moment: another server of the same name stands where ours was, and agents have nothing left to believe.
    const rogue = await startServer({
      ...place,
      name: "rogue",
      adminSocket: scratch.at("rogue.sock"),
      dataDir: scratch.at("rogue"),
    });
    for (const agent of [world.steadyAgent, world.fleetingAgent]) {
      const from = agent?.program.lines.length ?? 0;
      let times = 0;
      await agent?.program.line((line) => UNKNOWN.test(line) && ++times === 2, { from, patience: PATIENCE });
    }
    expect(await agentsOf(rogue)).toEqual([]);
    await rogue.program.stop();

    await world.configure({ ca: "1h", agent: "10m", svid: "5m" });

    await machine.run(start);
    expect(await authorityOf(world)).not.toEqual(known);
    expect(
      world.server?.program.lines.some((line) => /authority retired/.test(line) && /expired/.test(line)),
    ).toBe(true);
    const from = world.steadyAgent?.program.lines.length ?? 0;
    await world.steadyAgent?.program.line((line) => UNKNOWN.test(line), { from, patience: PATIENCE });
    await machine.run(install);
    await servedIds(steady.socket, [SELF]);
    // The other has nothing that it could show, and says what to do.
    expect((await world.fleetingAgent?.program.ended)?.code).toBe(1);
    expect(world.fleetingAgent?.program.lines.join("\n")).toMatch(/must attest again.*assay token generate/);
    await machine.run(token);
    await machine.run(restart);
    await servedIds(world.fleeting.socket, [SELF]);
  });
});

describe("the keys are lost", () => {
  it("is over when the agents have the new bundle; they need no new evidence, and the old authority can go", {
    timeout: DRILL,
  }, async () => {
    world = await DrillWorld.start({ ca: "1h", agent: "30m", svid: "30m" });
    const { place, machine, steady, fleeting } = world;
    const known = await authorityOf(world);
    await world.stopServer();
    await rm(join(place.dataDir, "keys"), { recursive: true });
    const [start = "", install = "", taint = "", revoke = ""] = await commandsOf("The keys are lost");
    await machine.run(start);
    expect(
      world.server?.program.lines.some((line) => /authority retired/.test(line) && /key-missing/.test(line)),
    ).toBe(true);
    const agents = [world.steadyAgent, world.fleetingAgent];
    for (const agent of agents)
      await agent?.program.line((line) => UNKNOWN.test(line), { patience: PATIENCE });
    // What they hold is served meanwhile.
    const held = await served(steady.socket, () => true);
    expect(held.map(({ authority }) => authority)).toEqual([known.id]);
    await machine.run(install);
    const { id } = await authorityOf(world);
    for (const alias of [NODE, `${NODE}-steady`]) {
      await world.ask("entry", "create", `--parent-id=${alias}`, `--spiffe-id=${SELF}/later`, ...SELECTORS());
    }
    for (const { socket } of [steady, fleeting]) await servedIds(socket, [SELF, `${SELF}/later`]);
    const before = agents.map((agent) => agent?.program.lines.length ?? 0);
    await machine.run(taint);
    for (const { socket } of [steady, fleeting]) await servedBy(socket, id);
    // Their own SVIDs, too; the steady agent shows its evidence again instead of renewing.
    for (const [n, agent] of agents.entries()) {
      await agent?.program.line((line) => /agent SVID renewed|node attested/.test(line), {
        from: before[n] ?? 0,
        patience: PATIENCE,
      });
    }
    await machine.run(revoke);
    expect(await bundleIds(world)).not.toContain(known.id);
    for (const agent of agents)
      expect(agent?.program.lines.filter((line) => /must attest again/.test(line))).toEqual([]);
  });
});

describe("a store restored from yesterday's backup", () => {
  it("goes backwards in nothing that anybody has seen, and is followed by everybody again", {
    timeout: DRILL,
  }, async () => {
    world = await DrillWorld.start({ ca: "10m", agent: "5m", svid: "2m" });
    const { machine, steady, place } = world;
    const [make = ""] = await commandsOf("Backups");
    await world.ask(
      "entry",
      "create",
      `--parent-id=${NODE}-steady`,
      `--spiffe-id=${SELF}/deleted`,
      ...SELECTORS(),
    );
    await served(steady.socket, ({ length }) => length === 2);
    await revokeOne(world);
    const unused = (await world.ask<{ token: string }>("token", "generate", "--ttl=10m")).token;
    await machine.run(make);
    const [file = ""] = await readdir(machine.at("/var/backups/assay"));
    const yesterday = await readFile(machine.at(`/var/backups/assay/${file}`));
    expect(yesterday.includes("PRIVATE KEY")).toBe(false);

    // What the backup does not know: an authority, a deletion, a ban, a revocation, a token that was used.
    const known = await authorityOf(world);
    for (const step of ["prepare", "activate"]) {
      const prepared = await preparedOf(world);
      await world.ask(
        "authority",
        "x509",
        step,
        ...(step === "activate" ? [`--authority-id=${prepared}`] : []),
      );
    }
    const [gone] = await world.ask<readonly { id: string }[]>("entry", "list", `--spiffe-id=${SELF}/deleted`);
    await world.ask("entry", "delete", `--id=${gone?.id ?? ""}`);
    await servedIds(steady.socket, [SELF]);
    await revokeOne(world);
    const seenLists = await listNumbers(world);
    expect(seenLists.size).toBeGreaterThan(0);
    const seen = await sequenceOf(world);
    await world.fleetingAgent?.program.stop();

    const [restore = "", lost = "", show = "", install = "", activate = "", revoke = ""] =
      await commandsOf("The store is lost");
    await machine.run(restore.replace("2026-11-21.assay", file));
    expect(await sequenceOf(world)).toBeGreaterThan(seen);
    const told = world.server?.program.lines.filter((line) =>
      /the store was restored from a backup/.test(line),
    );
    expect(told).toHaveLength(1);
    expect(await readFile(join(place.dataDir, "audit.jsonl"), "utf8")).toMatch(/"event":"store\.restored"/);
    // The audit log was not turned back, and tells what was lost.
    const list = await machine.run(lost.replace("2026-11-21.assay", file));
    for (const event of ["entry.deleted", "svid.revoked"]) expect(list).toContain(event);
    expect(list).not.toMatch(/may be more/);
    // It was not needed here, and does no harm.
    await machine.run(show);
    await machine.run(install);

    // The agent that can attests by itself and hears everything; the deleted entry is back, as the page says.
    await servedIds(steady.socket, [SELF, `${SELF}/deleted`]);
    // The other's SVID may be one that was taken away since.
    for (const start of [() => world?.startFleeting(false), () => world?.startFleetingBy(unused)]) {
      const agent = await start();
      // With nothing to show, and with nothing that is good.
      expect([2, 1]).toContain((await agent?.program.ended)?.code);
      expect(agent?.program.lines.at(-1)).toMatch(/must attest again.*assay token generate/);
    }
    for (const [authority, number] of await listNumbers(world)) {
      expect(number).toBeGreaterThan(seenLists.get(authority) ?? 0n);
    }

    const of = world;
    for (const kind of ["x509", "jwt"]) await expect.poll(() => preparedOf(of, kind), BACK).not.toBe("");
    await machine.run(activate);
    await world.server?.program.line((line) => /of before the restore are replaced and tainted/.test(line), {
      patience: PATIENCE,
    });
    const { id } = await authorityOf(world);
    expect(id).not.toBe(known.id);
    await servedBy(steady.socket, id);
    await machine.run(revoke);
    expect(await bundleIds(world)).not.toContain(known.id);
    await world.ask(
      "entry",
      "create",
      `--parent-id=${NODE}-steady`,
      `--spiffe-id=${SELF}/new`,
      ...SELECTORS(),
    );
    await served(steady.socket, ({ length }) => length === 3);

    // Once more started, it says nothing of it, and goes on.
    await world.stopServer();
    await world.startServer();
    expect(world.server?.program.lines.filter((line) => /restored/.test(line))).toEqual([]);
  });

  it("needs the bundle at the agents where its authorities have ended since", {
    timeout: DRILL,
  }, async () => {
    world = await DrillWorld.start({ ca: "1m", agent: "30s", svid: "20s" });
    const { machine, steady } = world;
    const [make = ""] = await commandsOf("Backups");
    await machine.run(make);
    const [file = ""] = await readdir(machine.at("/var/backups/assay"));
    await minuteEnds();
    await servedIds(steady.socket, [SELF]);
    await world.configure({ ca: "1h", agent: "10m", svid: "5m" });
    const [restore = "", , show = "", install = ""] = await commandsOf("The store is lost");
    const from = world.steadyAgent?.program.lines.length ?? 0;
    await machine.run(restore.replace("2026-11-21.assay", file));
    await world.steadyAgent?.program.line((line) => UNKNOWN.test(line), { from, patience: PATIENCE });
    await machine.run(show);
    await machine.run(install);
    await servedIds(steady.socket, [SELF]);
  });

  it("goes to a new machine, where agents need the bundle", { timeout: DRILL }, async () => {
    world = await DrillWorld.start({ ca: "1h", agent: "10m", svid: "5m" });
    const { machine, steady, place } = world;
    const [make = ""] = await commandsOf("Backups");
    await machine.run(make);
    const [file = ""] = await readdir(machine.at("/var/backups/assay"));
    await world.stopServer();
    await rm(place.dataDir, { recursive: true });
    await rename(machine.at(`/var/backups/assay/${file}`), world.scratch.at("home", file));
    await rm(machine.at("/var/backups/assay"), { recursive: true });
    const [restore = "", install = ""] = await commandsOf("The machine is lost");
    await machine.run(restore.replaceAll("2026-11-21.assay", file));
    await world.steadyAgent?.program.line((line) => UNKNOWN.test(line), { patience: PATIENCE });
    await machine.run(install);
    await world.steadyAgent?.program.line((line) => /node attested/.test(line), {
      from: 5,
      patience: PATIENCE,
    });
    const { id } = await authorityOf(world);
    await servedBy(steady.socket, id);
  });

  it("is refused where somebody copied the old file by hand, until it is restored", {
    timeout: DRILL,
  }, async () => {
    world = await DrillWorld.start({ ca: "1h", agent: "10m", svid: "5m" });
    const { machine, place, steady } = world;
    const store = join(place.dataDir, "store.sqlite");
    await machine.run("install -d -m 0700 -o assay /var/backups/assay");
    await machine.run(`assay backup --to "/var/backups/assay/old.assay"`);
    await world.stopServer();
    await machine.run(`tail -n +3 /var/backups/assay/old.assay > ${store}`);
    await expect(world.startServer()).rejects.toThrow(
      /older than the one that was here before.*assay restore/,
    );
    for (const block of await commandsOf("The store is older than before")) await machine.run(block);
    await servedIds(steady.socket, [SELF]);
    const [aside] = (await readdir(place.dataDir)).filter((name) => name.startsWith("store-before-"));
    expect(await readdir(join(place.dataDir, aside ?? ""))).toContain("store.sqlite");
  });
});

describe("an agent that was off through two rotations", () => {
  it("believes nobody until it has the present bundle, and then goes on with what it has", {
    timeout: DRILL,
  }, async () => {
    world = await DrillWorld.start({ ca: "1h", agent: "30m", svid: "5m" });
    const { machine, fleeting } = world;
    await world.fleetingAgent?.program.stop();
    for (let n = 0; n < 2; n++) {
      await world.ask("authority", "x509", "prepare");
      await world.ask("authority", "x509", "activate", `--authority-id=${await preparedOf(world)}`);
    }
    // The server's own SVID is of its last authority after a restart at the latest.
    await world.stopServer();
    await world.startServer();
    await world.ask("entry", "create", `--parent-id=${NODE}`, `--spiffe-id=${SELF}/later`, ...SELECTORS());
    const agent = await world.startFleeting(false);
    await agent.program.line((line) => UNKNOWN.test(line), { patience: PATIENCE });
    expect(await idsAt(agent.endpoint)).toEqual([SELF]);
    const [show = "", install = ""] = await commandsOf("An agent was away for too long");
    await machine.run(show);
    await machine.run(install);
    await servedIds(fleeting.socket, [SELF, `${SELF}/later`]);
    expect(agent.program.lines.filter((line) => /node attested/.test(line))).toEqual([]);
  });
});

function SELECTORS(): readonly string[] {
  return [`--selector=unix:uid:${process.getuid?.() ?? 0}`];
}

interface AuthorityRow {
  readonly state: string;
  readonly authority_id: string;
  readonly expires_at: string;
}

async function authorityRow(
  of: DrillWorld,
  wanted: string,
  kind = "x509",
): Promise<AuthorityRow | undefined> {
  const rows = await of.ask<readonly AuthorityRow[]>("authority", kind, "show");
  return rows.find(({ state }) => state === wanted);
}

async function authorityOf(of: DrillWorld): Promise<{ readonly id: string; readonly expires_at: string }> {
  const { authority_id: id = "", expires_at = "" } = (await authorityRow(of, "active")) ?? {};
  return { id, expires_at };
}

async function preparedOf(of: DrillWorld, kind = "x509"): Promise<string> {
  return (await authorityRow(of, "prepared", kind))?.authority_id ?? "";
}

async function agentsOf(server: AssayServer): Promise<readonly { id: string }[]> {
  return server.ask<readonly { id: string }[]>("agents", "list");
}

/** Revokes an SVID of this process at the steady agent. */
async function revokeOne(of: DrillWorld): Promise<void> {
  const [svid] = await fetchX509(`unix://${of.steady.socket}`);
  await of.ask("revoke", "svid", svid?.serial ?? "");
}

/** The numbers of the revocation lists, by the authority that signed them. */
async function listNumbers(of: DrillWorld): Promise<ReadonlyMap<string, bigint>> {
  const lists = await of.ask<readonly { authority_id: string; number: string }[]>("bundle", "crl", "list");
  return new Map(lists.map(({ authority_id: id, number }) => [id, BigInt(number)]));
}

/** Subject key ids of the X.509 authorities that the server publishes. */
async function bundleIds(of: DrillWorld): Promise<readonly string[]> {
  const { readCertificate } = await import("../../src/crypto/certificate-reader.ts");
  const { parsePemCertificates } = await import("../../src/crypto/pem.ts");
  const { stdout } = await assay([
    "bundle",
    "show",
    "--format=pem",
    `--admin-socket=${of.place.adminSocket}`,
  ]);
  return parsePemCertificates(stdout).map(({ der }) =>
    Buffer.from(readCertificate(der).subjectKeyId ?? []).toString("hex"),
  );
}

/** Waits until every authority of a minute that there is by now has ended. */
async function minuteEnds(): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 61_500));
}
