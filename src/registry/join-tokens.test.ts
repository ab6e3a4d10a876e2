import { readdir, readFile } from "node:fs/promises";
import { afterEach, beforeEach, expect, it } from "vitest";
import { type OpenedRegistry, openTestRegistry } from "../../test/contract/registry-samples.ts";
import { id } from "../../test/contract/store-samples.ts";

let opened: OpenedRegistry;
beforeEach(async () => {
  opened = await openTestRegistry();
});
afterEach(() => opened[Symbol.asyncDispose]());

it("makes tokens of 128 random bits, each another one", async () => {
  const { joinTokens } = opened.registry;
  const tokens = new Set<string>();
  for (let n = 0; n < 20; n++) {
    const { token, expiresAt } = await joinTokens.create({ ttl: 600 });
    expect(token).toMatch(/^[0-9a-f]{32}$/);
    expect(expiresAt).toBe(Math.floor(opened.clock.now() / 1000) + 600);
    tokens.add(token);
  }
  expect(tokens.size).toBe(20);
});

it("uses a token up once, with its alias, and not after its end", async () => {
  const { joinTokens } = opened.registry;
  const { token } = await joinTokens.create({ ttl: 600, aliasId: id("/alias") });
  expect(await joinTokens.consume(token)).toEqual({ outcome: "consumed", aliasId: id("/alias") });
  expect(await joinTokens.consume(token)).toEqual({ outcome: "used" });
  expect(await joinTokens.consume("other")).toEqual({ outcome: "unknown" });
  const late = await joinTokens.create({ token: "", ttl: 600, aliasId: "" });
  opened.clock.step(600_000);
  expect(await joinTokens.consume(late.token)).toEqual({ outcome: "expired" });
  opened.clock.step(1000);
  expect(await joinTokens.prune()).toBe(2);
});

it("takes a token that was chosen, once", async () => {
  const { joinTokens } = opened.registry;
  expect(await joinTokens.create({ token: "my.own-token_1", ttl: 1 })).toMatchObject({
    token: "my.own-token_1",
  });
  await expect(joinTokens.create({ token: "my.own-token_1", ttl: 1 })).rejects.toThrowCode("ALREADY_EXISTS");
});

it.each(["a/b", "..", "a b", "\u00e4", "a%62", "x".repeat(2048)])(
  "refuses the chosen token %.20j",
  async (token) => {
    const made = opened.registry.joinTokens.create({ token, ttl: 1 });
    await expect(made).rejects.toThrowCode("INVALID_REQUEST", /^token: /);
  },
);

it("demands a life of at least a second", async () => {
  const { joinTokens } = opened.registry;
  await expect(joinTokens.create({ ttl: 0 })).rejects.toThrowCode(
    "INVALID_REQUEST",
    "ttl is required, you must provide one",
  );
  for (const ttl of [-1, 0.5, 2 ** 31, Number.NaN]) {
    await expect(joinTokens.create({ ttl })).rejects.toThrowCode("INVALID_REQUEST", /^ttl: /);
  }
});

it("refuses an alias that no entry could give", async () => {
  const { joinTokens } = opened.registry;
  await expect(joinTokens.create({ ttl: 1, aliasId: "x" })).rejects.toThrowCode("INVALID_SPIFFE_ID");
  for (const aliasId of [
    "spiffe://other.org/a",
    "spiffe://example.org",
    "spiffe://example.org/spire/agent/a/b",
  ]) {
    await expect(joinTokens.create({ ttl: 1, aliasId })).rejects.toThrowCode("INVALID_ENTRY");
  }
});

it("leaves no token in clear in any file of the store", async () => {
  const { token } = await opened.registry.joinTokens.create({ ttl: 600 });
  for (const file of await readdir(opened.folder)) {
    const bytes = await readFile(`${opened.folder}/${file}`);
    expect([file, bytes.includes(token)]).toEqual([file, false]);
  }
});
