import { describe, expect, it } from "vitest";
import { fuzz } from "./fuzzer.ts";
import { TARGETS } from "./targets/all.ts";

// The same inputs each time: a finding here is a change's doing. `npm run fuzz` looks for new ones.
const SEED = 20_261_122;
const INPUTS = 10_000;

describe("whatever strangers send", () => {
  it.each(TARGETS.map((target) => [target.name, target] as const))(
    "is read or refused in an orderly way and in bounded time: %s",
    async (_, target) => {
      const report = await fuzz(target, INPUTS, SEED);
      expect(report.inputs).toBe(INPUTS);
    },
  );
});
