import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { eventually, makeWorld, SECURED, firstOf, type World } from "./world.ts";

let world: World;

beforeAll(async () => {
  world = await makeWorld();
});

afterAll(() => world?.[Symbol.asyncDispose]());

describe("callers", () => {
  it("WE-19 tells callers apart by what the kernel says of them", async () => {
    await world.createEntry({ path: "/self" });
    const mine = await eventually(() => firstOf(world.api.fetchX509SVID({}, SECURED)));
    expect(mine.svids.map(({ spiffeId }) => spiffeId)).toEqual(["spiffe://example.org/self"]);
    expect(await world.asOther("FetchX509SVID")).toMatchObject({ grpcStatus: 7, messages: [] });
    await world.createEntry({ path: "/other", selectors: world.otherSelectors });
    const other = await eventually(
      () => world.asOther("FetchX509SVID"),
      ({ messages }) => messages.length > 0,
    );
    expect(other.messages[0]?.includes("spiffe://example.org/other")).toBe(true);
  });
});
