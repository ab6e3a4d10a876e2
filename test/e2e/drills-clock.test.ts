import { writeFile } from "node:fs/promises";
import { afterEach, describe, expect, it } from "vitest";
import { canShiftClocks, makeShiftedClock } from "./clock/shifted-clock.ts";
import { DrillWorld, idsAt, NODE, SELF, sequenceOf } from "./drills-world.ts";
import { assay } from "./harness.ts";
import { OWN_SELECTORS } from "./workload.ts";

const YEAR = 365 * 86_400;
const BACK = { timeout: 90_000, interval: 500 };
const UNKNOWN = /proves itself by no authority that the agent knows/;

let world: DrillWorld | undefined;

afterEach(async () => {
  await world?.[Symbol.asyncDispose]();
  world = undefined;
});

describe.runIf(await canShiftClocks())("a server's clock", () => {
  it.each([
    ["ahead", YEAR],
    ["back", -YEAR],
  ])(
    "that is set a year %s and right again brings nothing to life, and everybody back",
    {
      timeout: 400_000,
    },
    async (_, shift) => {
      world = await DrillWorld.start({ ca: "1h", agent: "30m", svid: "5m" });
      const clock = await makeShiftedClock(world.scratch);
      const { machine, steady, place } = world;
      const endpoint = `unix://${steady.socket}`;
      const [used, ended] = [machine.at("/etc/assay/join-token"), world.scratch.at("ended-token")];
      await world.stopServer();
      world.environment = clock.environment;
      await world.startServer();
      const short = (await world.ask<{ token: string }>("token", "generate", "--ttl=1s")).token;
      const seen = await sequenceOf(world);
      // Expired and tidied up while the clock is right.
      await new Promise((resolve) => setTimeout(resolve, 8000));

      await clock.set(shift);
      // It goes on, whatever it makes of the day, when it has looked after its authorities.
      const health = async () => (await assay(["healthcheck", `--admin-socket=${place.adminSocket}`])).code;
      await expect.poll(health, BACK).toBe(0);
      expect(await attests(world, used)).toBe(false);
      await writeFile(ended, short, { mode: 0o600 });
      expect(await attests(world, ended)).toBe(false);
      // Workloads keep what is good by their own node's clock.
      expect(await idsAt(endpoint)).toEqual([SELF]);
      await world.stopServer();
      await world.startServer();
      expect(await idsAt(endpoint)).toEqual([SELF]);

      await clock.set(0);
      await machine.run("systemctl restart assay-server");
      const active = (
        await world.ask<readonly { state: string; expires_at: string }[]>("authority", "x509", "show")
      ).find(({ state }) => state === "active");
      // What was begun in another year signs no more.
      const left = (Date.parse(active?.expires_at ?? "") - Date.now()) / 1000;
      expect(left).toBeGreaterThan(0);
      expect(left).toBeLessThanOrEqual(3600);
      expect(await sequenceOf(world)).toBeGreaterThanOrEqual(seen);
      for (const token of [used, ended]) expect(await attests(world, token)).toBe(false);
      await world.ask(
        "entry",
        "create",
        `--parent-id=${NODE}-steady`,
        `--spiffe-id=${SELF}/later`,
        ...SELECTORS,
      );
      await world.steadyAgent?.program.line((line) => UNKNOWN.test(line), { patience: 90_000 });
      await machine.run("assay bundle show > bundle.pem\ninstall -m 0644 bundle.pem /etc/assay/bundle.pem");
      await expect.poll(() => idsAt(endpoint), BACK).toEqual([SELF, `${SELF}/later`]);
    },
  );
});

/** Whether a new agent that has nothing but a token gets an SVID. */
async function attests(of: DrillWorld, tokenFile: string): Promise<boolean> {
  const { stdout } = await assay(
    [
      "agent",
      "--trust-domain=example.org",
      `--server=${of.place.address}`,
      `--trust-bundle=${of.machine.at("/etc/assay/bundle.pem")}`,
      `--join-token-file=${tokenFile}`,
      `--data-dir=${of.scratch.at("another")}`,
      `--socket=${of.scratch.at("another.sock")}`,
      `--admin-socket=${of.scratch.at("another-admin.sock")}`,
    ],
    // One that neither ends nor attests has been told nothing that it could believe.
    { patience: 8000 },
  );
  return /node attested/.test(stdout);
}

const SELECTORS = OWN_SELECTORS.map((selector) => `--selector=${selector}`);
