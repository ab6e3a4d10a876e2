import { describe, expect, it } from "vitest";
import { FakeClock } from "../../test/fakes/clock.ts";
import { AssayError } from "../errors/assay-error.ts";
import type { TaskAttestation, TaskAttestor } from "../plugin/task-attestor.ts";
import { attestTask, judgeTask, TASK_ATTESTATION_LIMITS } from "./attest-task.ts";

const good: TaskAttestation = {
  platform: "test",
  issuer: "https://test.example",
  selectors: [
    { type: "test", value: "queue:b" },
    { type: "test", value: "event:pr" },
  ],
  guarded: [{ type: "test", value: "event:pr" }],
  claims: { queue: "b", event: "pr" },
  authoredClaims: ["queue"],
  taskKey: "run-1",
  granularity: "job",
  description: "run 1",
  replayKey: "token-1",
  replayUntil: 1_790_000_300,
};
const accepts = made(async () => good);
const refuses = made(() => Promise.reject(new AssayError("ATTESTATION_FAILED", "allow: queue")));
const away = made(() => Promise.reject(new AssayError("REMOTE_UNAVAILABLE", "no keys")));

describe("attestTask", () => {
  it("gives what the attestor that recognises the token says, in canonical form", async () => {
    const other = { ...made(() => Promise.reject(new Error("asked"))), recognises: () => false };
    const { instance, attestation } = await attest({ other, mine: { ...accepts, recognises: () => true } });
    expect(instance).toBe("mine");
    expect(attestation).toEqual({ ...good, selectors: good.selectors.toReversed() });
  });

  it("finds the one instance of an issuer whose conditions hold", async () => {
    expect((await attest({ one: refuses, two: accepts, three: away })).instance).toBe("two");
  });

  it("refuses evidence that two instances accept, and says which", async () => {
    await expect(attest({ one: accepts, two: accepts })).rejects.toThrowCode(
      "ATTESTATION_FAILED",
      /several task attestors accept the evidence: one, two/,
    );
  });

  it("says what each instance found wrong", async () => {
    await expect(attest({ one: refuses, two: refuses })).rejects.toThrowCode(
      "ATTESTATION_FAILED",
      "one: allow: queue; two: allow: queue",
    );
  });

  it("says that asking again may help where one could not tell", async () => {
    await expect(attest({ one: refuses, two: away })).rejects.toThrowCode(
      "REMOTE_UNAVAILABLE",
      /two: no keys/,
    );
  });

  it("refuses a token of nobody, and one that is too long, before anybody is asked", async () => {
    await expect(attest({})).rejects.toThrowCode("ATTESTATION_FAILED", /no task attestor/);
    const recognises = () => {
      throw new Error("a fault");
    };
    await expect(attest({ one: { ...accepts, recognises } })).rejects.toThrowCode(
      "ATTESTATION_FAILED",
      /no task/,
    );
    const token = "x".repeat(TASK_ATTESTATION_LIMITS.tokenCharacters + 1);
    await expect(attest({ one: accepts }, { token })).rejects.toThrowCode(
      "ATTESTATION_FAILED",
      /longer than/,
    );
  });

  it("says nothing of what an attestor says by accident", async () => {
    const one = made(() => Promise.reject(new Error("token eyJ")));
    await expect(attest({ one })).rejects.toThrowCode(
      "ATTESTATION_FAILED",
      "one: the evidence could not be verified",
    );
  });

  it("waits no longer than its time, and tells the attestor to give up", async () => {
    const clock = new FakeClock();
    let told: unknown;
    const asked = Promise.withResolvers<void>();
    const one = made((_evidence, signal) => {
      signal.addEventListener("abort", () => void (told = signal.reason));
      asked.resolve();
      return new Promise(() => {});
    });
    const waiting = attest({ one, two: accepts }, { clock });
    await asked.promise;
    await Promise.all([
      expect(waiting).rejects.toThrowCode("DEADLINE_EXCEEDED", /10000 ms/),
      clock.advance(TASK_ATTESTATION_LIMITS.timeout),
    ]);
    expect(told).toBeInstanceOf(AssayError);
    expect(clock.pending).toBe(0);
  });

  it("gives up when the caller does", async () => {
    const abort = new AbortController();
    abort.abort(new AssayError("CANCELLED", "gone"));
    await expect(attest({ one: accepts }, { signal: abort.signal })).rejects.toThrowCode("CANCELLED");
    const later = new AbortController();
    const waiting = attest({ one: made(() => new Promise(() => {})) }, { signal: later.signal });
    later.abort();
    await expect(waiting).rejects.toThrowCode("ATTESTATION_FAILED", /aborted/);
  });

  it("keeps nothing that an attestor adds to what the contract has", async () => {
    const { attestation } = await attest({ one: made(async () => ({ ...good, endsBy: 5, admin: true })) });
    expect(attestation).not.toHaveProperty("admin");
    expect(attestation.endsBy).toBe(5);
  });

  it.each<[string, unknown]>([
    ["nothing", undefined],
    ["no selectors", { ...good, selectors: undefined }],
    ["selectors of two types", { ...good, selectors: [...good.selectors, { type: "unix", value: "uid:0" }] }],
    ["an empty selector", { ...good, selectors: [{ type: "test", value: "" }], guarded: [] }],
    ["a guarded selector of none", { ...good, guarded: [{ type: "test", value: "event:x" }] }],
    ["claims that are no texts", { ...good, claims: { queue: 1 } }],
    ["authored claims of none", { ...good, authoredClaims: ["toString"] }],
    ["an empty task key", { ...good, taskKey: "" }],
    ["a task key without bounds", { ...good, taskKey: "x".repeat(8193) }],
    ["another granularity", { ...good, granularity: "step" }],
    ["no replay key", { ...good, replayKey: undefined }],
    ["no end of its replay", { ...good, replayUntil: Number.NaN }],
    ["an end that is no time", { ...good, endsBy: "later" }],
  ])("holds the attestor to its contract: it gave %s", async (_what, given) => {
    await expect(attest({ one: made(async () => given as TaskAttestation) })).rejects.toThrowCode(
      "INTERNAL",
      /attestor/,
    );
  });
});

describe("judgeTask", () => {
  const judge = () => good;
  const judgeNot = () => {
    throw new AssayError("ATTESTATION_FAILED", "iss is not the configured issuer");
  };

  it("gives what the one instance that accepts the claims says", () => {
    const attestors = new Map([
      ["one", { ...accepts, judge: judgeNot }],
      ["two", { ...accepts, judge }],
      ["three", accepts],
    ]);
    expect(judgeTask(attestors, {})).toMatchObject({ instance: "two", attestation: { platform: "test" } });
    expect(() => judgeTask(attestors, {}, "one")).toThrowCode("ATTESTATION_FAILED", /one: iss/);
    expect(() => judgeTask(attestors, {}, "three")).toThrowCode("ATTESTOR_UNKNOWN");
    expect(() => judgeTask(attestors, {}, "four")).toThrowCode("ATTESTOR_UNKNOWN");
  });
});

function made(attest: TaskAttestor["attest"]): TaskAttestor {
  return { attest, async [Symbol.asyncDispose]() {} };
}

function attest(
  attestors: Readonly<Record<string, TaskAttestor>>,
  changes: Partial<Parameters<typeof attestTask>[0]> = {},
) {
  return attestTask({
    attestors: new Map(Object.entries(attestors)),
    token: "token",
    clock: new FakeClock(),
    signal: new AbortController().signal,
    ...changes,
  });
}
