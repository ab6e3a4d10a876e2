import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { SigningWorld } from "../../test/fakes/signing-world.ts";
import { unixSeconds } from "../clock.ts";
import type { Signing } from "./signing.ts";

/** The shortest life that the configuration allows, and longer ones. */
const lives = fc.integer({ min: 60, max: 400 });
const phase = fc.integer({ min: 0, max: 999 });
/** How long the key manager takes for a key, milliseconds. */
const slowness = fc.constantFrom(0, 300, 1000);

describe("an authority that lives for a minute or a little more", () => {
  it("always has a successor long before its end, wherever in a second the server began", async () => {
    await fc.assert(
      fc.asyncProperty(lives, phase, slowness, async (caTtlSeconds, offset, delay) => {
        await using world = slowWorld(delay);
        world.clock.step(offset);
        const signing = await world.open({ caTtlSeconds, wit: true });
        await using _ = closing(world, signing);
        for (let at = 0; at < 3 * caTtlSeconds * 1000; at += STEP) {
          await pass(world);
          expect(shortestLife(world, signing)).toBeGreaterThanOrEqual(Math.floor(caTtlSeconds / 12));
        }
      }),
      { numRuns: 12 },
    );
  }, 60_000);

  it("never ends without a successor, however late in its life a server begins again", async () => {
    await fc.assert(
      fc.asyncProperty(
        lives,
        phase,
        slowness,
        fc.integer({ min: 60, max: 400 }),
        fc.nat({ max: 420_000 }),
        async (caTtlSeconds, offset, delay, laterTtl, downtime) => {
          await using world = slowWorld(delay);
          await (await world.open({ caTtlSeconds, wit: true }))[Symbol.asyncDispose]();
          world.clock.step(downtime + offset);
          const signing = await whileTimePasses(world, world.open({ caTtlSeconds: laterTtl, wit: true }));
          await using _ = closing(world, signing);
          for (let at = 0; at < 1.5 * caTtlSeconds * 1000; at += STEP) {
            expect(shortestLife(world, signing)).toBeGreaterThanOrEqual(1);
            await pass(world);
          }
        },
      ),
      // Lives that were made shorter, so that the successor ends while it waits.
      { numRuns: 25, examples: [[169, 0, 0, 60, 0]] },
    );
  }, 60_000);
});

/** Seconds that the authorities have left of which the first one ends. Throws where one has ended already. */
function shortestLife(world: SigningWorld, signing: Signing): number {
  const ends = [
    signing.x509AuthorityNotAfter(),
    signing.jwtAuthorityNotAfter(),
    signing.witAuthorityNotAfter(),
  ];
  return Math.min(...ends) - unixSeconds(world.clock);
}

/** A world in which a key takes its time, once the first ones are there. */
function slowWorld(delay: number): SigningWorld {
  const world = new SigningWorld();
  const { keyManager, clock } = world;
  const generateKey = keyManager.generateKey.bind(keyManager);
  let made = 0;
  keyManager.generateKey = async (...order) => {
    const key = await generateKey(...order);
    if (delay > 0 && made++ >= 4) {
      await new Promise<void>((resolve) => clock.schedule(delay, resolve));
    }
    return key;
  };
  return world;
}

/** Closes signing at the end of a block, while time goes on: it may wait for a key. */
function closing(world: SigningWorld, signing: Signing): AsyncDisposable {
  return { [Symbol.asyncDispose]: () => whileTimePasses(world, signing[Symbol.asyncDispose]()) };
}

/** Waits for something that waits for time itself. */
async function whileTimePasses<Result>(world: SigningWorld, work: PromiseLike<Result>): Promise<Result> {
  let isDone = false;
  const settled = (async () => {
    try {
      return await work;
    } finally {
      isDone = true;
    }
  })();
  for (let turn = 0; !isDone && turn < 100_000; turn++) {
    await world.clock.advance(turn % 50 === 49 ? STEP : 0);
    await new Promise((resolve) => setImmediate(resolve));
  }
  return settled;
}

/** Lets a moment pass; what falls due in it is done, or waits for time itself, when this resolves. */
async function pass(world: SigningWorld): Promise<void> {
  const { clock } = world;
  const waiting = clock.pending;
  await clock.advance(STEP);
  // Where several keys were waited for, fewer timers are pending afterwards, and nothing says that all is done.
  const turns = () => (clock.pending === 0 ? 100_000 : 2000);
  for (let turn = 0; clock.pending < waiting && turn < turns(); turn++) {
    await new Promise((resolve) => setImmediate(resolve));
  }
}

const STEP = 250;
