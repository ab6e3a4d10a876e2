import { expect, it } from "vitest";
import { readFoundKeys } from "./found-keys.ts";

const remote = (id: string) => ({ id, type: "ec-p256", publicKey: Buffer.of(1), handle: id }) as const;

async function* listed(count: number): AsyncIterable<string> {
  for (let number = 0; number < count; number++) yield `key-${number}`;
}

it("keys are read in the order in which they were listed, a few at once, but for those that are none", async () => {
  let atWork = 0;
  let most = 0;
  const keys = await readFoundKeys(listed(64), async (id) => {
    most = Math.max(most, ++atWork);
    await new Promise(setImmediate);
    atWork--;
    return id === "key-7" ? undefined : remote(id);
  });
  const expected = Array.from({ length: 64 }, (_, number) => `key-${number}`);
  expect(keys.map(({ id }) => id)).toEqual(expected.filter((id) => id !== "key-7"));
  expect(most).toBe(8);
});

it("more keys than a server can have are refused before any is read", async () => {
  const read: string[] = [];
  const reading = readFoundKeys(listed(65), async (id) => {
    read.push(id);
    return remote(id);
  });
  await expect(reading).rejects.toThrowCode("KEY_UNAVAILABLE", "more than 64 keys of this server");
  expect(read).toEqual([]);
});
