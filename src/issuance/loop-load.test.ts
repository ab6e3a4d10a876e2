import { setTimeout as after } from "node:timers/promises";
import { expect, it } from "vitest";
import { loopLoad } from "./loop-load.ts";

it("tells a full event loop from one with time to spare", async () => {
  const isFull = loopLoad();
  expect(isFull()).toBe(false);
  for (let turn = 0; turn < 8; turn++) {
    const end = performance.now() + 40;
    while (performance.now() < end);
    await new Promise(setImmediate);
  }
  expect(isFull()).toBe(true);
  await after(300);
  expect(isFull()).toBe(false);
});
