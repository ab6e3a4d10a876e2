import type { Transaction } from "kysely";
import { expect, it } from "vitest";
import type { Schema } from "./schema.ts";
import type { Work } from "./work.ts";
import { WriteGroups } from "./write-groups.ts";

/** Counts transactions instead of running them; each ends when it is let go. */
function world(commit: () => Promise<void> = async () => {}) {
  const statements: string[] = [];
  const notes: string[] = [];
  let transactions = 0;
  const tx = {
    getExecutor: () => ({
      transformQuery: (node: unknown) => node,
      compileQuery: (node: { sqlFragments: string[] }) => node,
      executeQuery: async (node: { sqlFragments: string[] }) => {
        statements.push(node.sqlFragments.join(""));
        return { rows: [] };
      },
    }),
  } as unknown as Transaction<Schema>;
  const groups = new WriteGroups(async <T>(work: Work<T>) => {
    transactions++;
    const noted: string[] = [];
    const value = await work(tx, (kind, key) => void noted.push(`${kind} ${key}`));
    await commit();
    notes.push(...noted);
    return value;
  });
  return {
    groups,
    statements,
    notes,
    get transactions() {
      return transactions;
    },
  };
}

it("does one write at once and alone, without a savepoint", async () => {
  const subject = world();
  expect(await subject.groups.write(async () => 1)).toBe(1);
  expect(subject.transactions).toBe(1);
  expect(subject.statements).toEqual([]);
});

it("puts what comes while one is under way into few transactions, answers in order", async () => {
  const subject = world();
  const order: number[] = [];
  const writes = Array.from({ length: 65 }, (_, n) =>
    subject.groups.write(async () => n).then((value) => order.push(value)),
  );
  await Promise.all(writes);
  expect(subject.transactions).toBe(3);
  expect(order).toEqual(Array.from({ length: 65 }, (_, n) => n));
});

it("takes back the changes of one that rejects, and its notes, and no others", async () => {
  const subject = world();
  const answers = await Promise.allSettled(
    [0, 1, 2, 3].map((n) =>
      subject.groups.write(async (_, note) => {
        note("task", String(n), "put");
        if (n === 2) throw new Error("two");
        return n;
      }),
    ),
  );
  expect(
    answers.map((answer) => (answer.status === "fulfilled" ? answer.value : String(answer.reason))),
  ).toEqual([0, 1, "Error: two", 3]);
  expect(subject.notes).toEqual(["task 0", "task 1", "task 3"]);
  expect(subject.statements.filter((statement) => statement.startsWith("rollback"))).toHaveLength(1);
});

it("rejects all of a group whose commit fails, and goes on with the next", async () => {
  let isFull = true;
  const subject = world(async () => {
    if (isFull) throw new Error("full");
  });
  const first = await Promise.allSettled([0, 1, 2].map((n) => subject.groups.write(async () => n)));
  expect(first.map(({ status }) => status)).toEqual(["rejected", "rejected", "rejected"]);
  expect(subject.notes).toEqual([]);
  isFull = false;
  expect(await subject.groups.write(async () => 9)).toBe(9);
});

it("lets the event loop turn between groups", async () => {
  const subject = world();
  let turns = 0;
  const turn = () => {
    turns++;
    if (turns < 100) setImmediate(turn);
  };
  setImmediate(turn);
  await Promise.all(Array.from({ length: 32 * 10 }, (_, n) => subject.groups.write(async () => n)));
  expect(turns).toBeGreaterThanOrEqual(9);
});
