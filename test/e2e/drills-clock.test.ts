import { readFile } from "node:fs/promises";
import { afterEach, describe, expect, it } from "vitest";
import { newKeyAndCsr } from "../../src/agent/cache/x509-signing.ts";
import { RpcServerApi } from "../../src/agent/link/rpc-server-api.ts";
import { toAssayError } from "../../src/errors/assay-error.ts";
import { silentLog } from "../../src/observe/log.ts";
import { adminClient } from "./admin-rpc.ts";
import { canShiftClocks, makeShiftedClock } from "./clock/shifted-clock.ts";
import { DRILL, DrillWorld, idsAt, NODE, PATIENCE, SELF, sequenceOf, servedIds } from "./drills-world.ts";
import { assay } from "./harness.ts";
import { OWN_SELECTORS } from "./workload.ts";

const YEAR = 365 * 86_400;
const REFUSED = /join token does not exist or has already been used/;
const UNKNOWN = /proves itself by no authority that the agent knows/;

let world: DrillWorld | undefined;

afterEach(async ({ task }) => {
  if (task.result?.state === "fail") console.error(world?.told);
  await world?.[Symbol.asyncDispose]();
  world = undefined;
});

describe.runIf(await canShiftClocks())("a server's clock", () => {
  it.each([
    ["ahead", YEAR],
    ["back", -YEAR],
  ])(
    "that is set a year %s and right again brings nothing to life, and everybody back",
    { timeout: DRILL },
    async (_, shift) => {
      world = await DrillWorld.start({ ca: "1h", agent: "30m", svid: "30m" });
      const clock = await makeShiftedClock(world.scratch);
      const { machine, steady, place } = world;
      const endpoint = `unix://${steady.socket}`;
      const used = (await readFile(machine.at("/etc/assay/join-token"), "utf8")).trim();
      await world.stopServer();
      world.environment = clock.environment;
      await world.startServer();
      const begun = world.server?.program;
      const ended = (await world.ask<{ token: string }>("token", "generate", "--ttl=1s")).token;
      const seen = await sequenceOf(world);
      // Expired and tidied up while the clock is right.
      await begun?.line((line) => /expired join tokens forgotten/.test(line), { patience: PATIENCE });

      const from = begun?.lines.length ?? 0;
      await clock.set(shift);
      // It goes on, whatever it makes of the day, when it has looked after its authorities.
      const isActivated = (line: string) => /authority activated/.test(line) && /x509/.test(line);
      await begun?.line(isActivated, { from, patience: PATIENCE });
      const health = async () => (await assay(["healthcheck", `--admin-socket=${place.adminSocket}`])).code;
      await expect.poll(health, { timeout: PATIENCE, interval: 500 }).toBe(0);
      for (const token of [used, ended]) expect(await attest(world, token)).toMatch(REFUSED);
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
      for (const token of [used, ended]) expect(await attest(world, token)).toMatch(REFUSED);
      const fresh = (await world.ask<{ token: string }>("token", "generate")).token;
      expect(await attest(world, fresh)).toBe("attested");
      await world.ask(
        "entry",
        "create",
        `--parent-id=${NODE}-steady`,
        `--spiffe-id=${SELF}/later`,
        ...SELECTORS,
      );
      await world.steadyAgent?.program.line((line) => UNKNOWN.test(line), { patience: PATIENCE });
      await machine.run("assay bundle show > bundle.pem\ninstall -m 0644 bundle.pem /etc/assay/bundle.pem");
      await servedIds(steady.socket, [SELF, `${SELF}/later`]);
    },
  );
});

/**
 * What the server says to a node that has nothing but a token: `attested`, or why it refuses. Asked over the admin
 * socket, as a node whose clock is right would not believe this server whatever it answered.
 */
async function attest(of: DrillWorld, token: string): Promise<string> {
  using client = adminClient(of.place);
  const evidence = {
    payload: Buffer.from(token),
    answer: () => Promise.reject(new Error("a join token has no challenge")),
  };
  const { csr } = await newKeyAndCsr();
  const server = new RpcServerApi(client, silentLog);
  try {
    await server.attest("join_token", evidence, csr, AbortSignal.timeout(PATIENCE));
    return "attested";
  } catch (error) {
    return toAssayError(error).detail;
  }
}

const SELECTORS = OWN_SELECTORS.map((selector) => `--selector=${selector}`);
