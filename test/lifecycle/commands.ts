import fc from "fast-check";
import type { AuthorityKind } from "../../src/store/records.ts";
import type { LineName } from "./truth.ts";
import { LifecycleWorld, type WorldOptions } from "./world.ts";

const DAY = 86_400;

/** What the commands themselves know of the world; everything else is the ledger's. */
type Model = Record<string, never>;

/** One step of a life: something that happens to the servers, their clock, their operators or their workloads. */
class Step implements fc.AsyncCommand<Model, LifecycleWorld> {
  readonly #text: string;
  readonly #take: (world: LifecycleWorld) => Promise<void>;

  constructor(text: string, take: (world: LifecycleWorld) => Promise<void>) {
    this.#text = text;
    this.#take = take;
  }

  check(): boolean {
    return true;
  }

  run(_: Model, world: LifecycleWorld): Promise<void> {
    return this.#take(world);
  }

  toString(): string {
    return this.#text;
  }
}

/** Worlds of all kinds: authorities that live from a minute to a year, one server or two. */
const worlds: fc.Arbitrary<WorldOptions> = fc.record({
  ttl: fc.oneof(
    fc.constantFrom(60, 120, 3600, DAY, DAY, DAY, 7 * DAY, 30 * DAY, 365 * DAY),
    fc.integer({ min: 60, max: 400 }),
  ),
  rs256: fc.boolean(),
  wit: fc.boolean(),
  servers: fc.constantFrom(1 as const, 2 as const),
  phase: fc.nat({ max: 999 }),
});

/** Lives of up to so many steps in worlds with authorities of such a life. */
function lives(ttl: number, most: number, replayPath: string | undefined) {
  const server = fc.constantFrom("one", "two");
  const kind = fc.constantFrom<AuthorityKind>("x509", "jwt", "wit");
  const line = fc.constantFrom<LineName>("x509", "x509", "jwt", "rs256", "wit");
  const share = fc.double({ min: 0.001, max: 1, noNaN: true });
  const lifetimes = fc.oneof(share, fc.constantFrom(0.2, 0.4, 0.5, 0.7, 1, 2.5));
  const awhile = fc.oneof(
    fc.integer({ min: 1, max: 90 }),
    lifetimes.map((lives) => Math.ceil(lives * ttl)),
  );
  const step = (text: string, take: (world: LifecycleWorld) => Promise<void>) => new Step(text, take);
  return fc.commands<Model, LifecycleWorld, false>(
    [
      awhile.map((seconds) => step(`pass ${seconds} s`, (world) => world.pass(seconds, true))),
      awhile.map((seconds) => step(`pass ${seconds} s`, (world) => world.pass(seconds, true))),
      awhile.map((seconds) => step(`sleep ${seconds} s`, (world) => world.pass(seconds, false))),
      fc.tuple(server, line, share).map(([id, of, part]) => {
        const seconds = Math.max(1, Math.ceil(part * ttl));
        return step(`mint ${of} at ${id} for ${seconds} s`, (world) => world.mint(id, of, seconds));
      }),
      fc.tuple(server, line, share).map(([id, of, part]) => {
        const seconds = Math.max(1, Math.ceil(part * ttl));
        return step(`look and mint ${of} at ${id} for ${seconds} s`, async (world) => {
          await world.pass(1, true);
          await world.mint(id, of, seconds);
        });
      }),
      fc
        .tuple(
          server,
          kind,
          fc.constantFrom("prepare" as const, "activate" as const, "taint" as const, "revoke" as const),
        )
        .map(([id, of, order]) => step(`${order} ${of} at ${id}`, (world) => world.order(id, of, order))),
      fc.tuple(server, kind, fc.nat({ max: 30 })).map(([id, of, pause]) =>
        step(`rotate ${of} at ${id}, with ${pause} s for each step`, async (world) => {
          for (const order of ["prepare", "activate", "taint", "revoke"] as const) {
            await world.order(id, of, order);
            await world.mint(id, of, ttl);
            if (pause > 0) await world.pass(pause, true);
          }
        }),
      ),
      fc.tuple(server, fc.boolean(), fc.oneof(fc.constant(0), awhile)).map(([id, loses, seconds]) =>
        step(`restart ${id} in ${seconds} s${loses ? ", its keys lost" : ""}`, async (world) => {
          await world.stop(id, loses);
          if (seconds > 0) await world.pass(seconds, true);
          await world.start(id);
        }),
      ),
      server.map((id) => step(`stop ${id}`, (world) => world.stop(id, false))),
      server.map((id) => step(`start ${id}`, (world) => world.start(id))),
      fc
        .tuple(
          fc.oneof(fc.integer({ min: 1, max: 3600 }), fc.constantFrom(DAY, 3 * DAY, 365 * DAY)),
          fc.boolean(),
        )
        .map(([seconds, isBack]) =>
          step(`set the clock ${seconds} s ${isBack ? "back" : "ahead"}`, async (world) =>
            world.setAhead(isBack ? -seconds : seconds),
          ),
        ),
      fc.constant(step("set the clock right", async (world) => world.setAhead(0))),
      fc
        .constantFrom("store" as const, "keys" as const)
        .map((what) => step(`the ${what} fail`, async (world) => world.setDown(what, true))),
      fc.constant(
        step("everything works again", async (world) => {
          world.setDown("store", false);
          world.setDown("keys", false);
        }),
      ),
    ],
    { maxCommands: most, size: "max", ...(replayPath === undefined ? {} : { replayPath }) },
  );
}

/** Lives with their worlds: what runs are made of. One that failed is lived again by its replay path. */
export function runsWith(replayPath?: string) {
  return worlds.chain((world) => lives(world.ttl, MOST_STEPS, replayPath).map((steps) => ({ world, steps })));
}

/** What runs have come to so far. */
export interface Tally {
  years: number;
  verified: number;
  readonly activations: { third: number; lead: number; forced: number };
}

/**
 * Lives one run. In the end the clock is right, everything works, and every line of every server must sign again.
 * @throws where something does not hold that must.
 */
export async function live(
  {
    world: options,
    steps,
  }: { readonly world: WorldOptions; readonly steps: Iterable<fc.AsyncCommand<Model, LifecycleWorld>> },
  tally: Tally,
): Promise<void> {
  await using world = await LifecycleWorld.begin(options);
  await fc.asyncModelRun(() => ({ model: {}, real: world }), steps);
  world.setDown("store", false);
  world.setDown("keys", false);
  world.setAhead(0);
  for (const { id } of world.sites) await world.stop(id, false);
  for (const { id } of world.sites) await world.start(id);
  await world.pass(1, true);
  for (const { id } of world.sites) for (const line of world.lines) await world.mint(id, line, options.ttl);
  await world.pass(options.ttl, true);
  for (const { id } of world.sites) for (const line of world.lines) await world.mint(id, line, options.ttl);
  tally.years += world.age / (365 * DAY);
  tally.verified += world.ledger.verified;
  for (const how of ["third", "lead", "forced"] as const)
    tally.activations[how] += world.ledger.activations[how];
}

const MOST_STEPS = 40;
