import fc from "fast-check";
import { expect, it } from "vitest";
import { live, runsWith, type Tally } from "../lifecycle/commands.ts";

// What must hold, and what parties may legitimately hold, is written in test/lifecycle/ledger.ts. The same runs each time: a finding
// here is a change's doing. `npm run lifecycle` looks for new ones.
const SEED = 20_261_122;

it("every unexpired SVID verifies against every bundle that anybody may hold, through years of rotation and trouble", async () => {
  const tally: Tally = { years: 0, verified: 0, activations: { third: 0, lead: 0, forced: 0 } };
  await fc.assert(
    fc.asyncProperty(runsWith(), (run) => live(run, tally)),
    { numRuns: 200, seed: SEED, endOnFailure: false },
  );
  // Or nothing would have been put to the test.
  expect(tally.years).toBeGreaterThan(10);
  expect(tally.verified).toBeGreaterThan(10_000);
  expect(tally.activations.third).toBeGreaterThan(500);
  expect(tally.activations.lead).toBeGreaterThan(20);
  expect(tally.activations.forced).toBeGreaterThan(500);
}, 300_000);
