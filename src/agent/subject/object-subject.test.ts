import { beforeEach, describe, expect, it } from "vitest";
import { FakeClock } from "../../../test/fakes/clock.ts";
import { AssayError } from "../../errors/assay-error.ts";
import type { KubernetesObject } from "../../plugin/workload-attestor.ts";
import { parseSpiffeId, type SpiffeId } from "../../spiffe/id.ts";
import type { Selector } from "../../spiffe/selector.ts";
import { ObjectSubjects } from "./object-subject.ts";
import type { HeldSubject } from "./process-subject.ts";

const broker = parseSpiffeId("spiffe://example.org/broker");
const object: KubernetesObject = { type: "kubernetes_object", plural: "pods", group: "core", uid: "u" };
const never = new AbortController().signal;
const LOOK = 10_000;

let clock: FakeClock;
let looks: number;
let subjects: ObjectSubjects;
let look: () => Promise<readonly Selector[] | undefined>;
beforeEach(() => {
  clock = new FakeClock();
  looks = 0;
  look = async () => [{ type: "k8s", value: "ns:a" }];
  const instance = {
    attestReference: () => {
      looks += 1;
      return look();
    },
    async [Symbol.asyncDispose]() {},
  };
  subjects = new ObjectSubjects({
    attestors: [{ name: "kubernetes_object", selectorType: "k8s", instance }],
    clock,
    attestationTimeout: 1000,
    spread: () => 0.5,
  });
});

function hold(named: Partial<{ broker: SpiffeId; uid: string }> = {}): HeldSubject {
  const { uid = "u" } = named;
  return subjects.hold({
    object: { ...object, uid },
    reference: `kubernetes pods.core uid ${uid}`,
    broker: named.broker ?? broker,
  });
}

/** Lets time pass, and what it set off end. */
async function pass(milliseconds: number): Promise<void> {
  await clock.advance(milliseconds);
  for (let i = 0; i < 10; i++) await new Promise((resolve) => setImmediate(resolve));
}

const reasonOf = ({ gone }: HeldSubject) => (gone.reason as AssayError | undefined)?.code;

describe("a workload that an object stands for", () => {
  it("is what its attestors say, and is looked at again while it is held", async () => {
    using subject = hold();
    expect(await subject.gather(never)).toEqual({
      selectors: [{ type: "k8s", value: "ns:a" }],
      answered: 1,
      faults: [],
    });
    for (let i = 2; i < 5; i++) {
      await pass(LOOK);
      expect(looks).toBe(i);
    }
    expect(subject.gone.aborted).toBe(false);
    expect(() => subject.requirePresent()).not.toThrow();
    subject[Symbol.dispose]();
    await pass(LOOK * 3);
    expect(looks).toBe(4);
    expect(clock.pending).toBe(0);
  });

  it.each(["WORKLOAD_NOT_FOUND", "WORKLOAD_NOT_ENTITLED", "WORKLOAD_REFERENCE_INVALID"] as const)(
    "is gone with %s",
    async (code) => {
      using subject = hold();
      await subject.gather(never);
      look = () => Promise.reject(new AssayError(code, "no"));
      await pass(LOOK);
      expect(reasonOf(subject)).toBe(code);
      expect(() => subject.requirePresent()).toThrowCode(code);
      await pass(LOOK * 3);
      expect(looks).toBe(2);
    },
  );

  it("is gone, for now, when it is found to be something else", async () => {
    using subject = hold();
    await subject.gather(never);
    look = async () => [{ type: "k8s", value: "ns:b" }];
    await pass(LOOK);
    expect(reasonOf(subject)).toBe("NOT_READY");
  });

  it("is gone when it could not be looked up for two minutes, and not before", async () => {
    using subject = hold();
    await subject.gather(never);
    const trouble = () => Promise.reject(new AssayError("WORKLOAD_ATTESTATION_FAILED", "503"));
    look = trouble;
    await pass(LOOK * 11);
    expect(subject.gone.aborted).toBe(false);
    look = async () => [{ type: "k8s", value: "ns:a" }];
    await pass(LOOK);
    look = trouble;
    for (let i = 0; i < 11; i++) await pass(LOOK);
    expect(subject.gone.aborted).toBe(false);
    await pass(LOOK);
    expect(reasonOf(subject)).toBe("WORKLOAD_ATTESTATION_FAILED");
  });

  it("that cannot be looked up at first is trouble and no denial", async () => {
    using subject = hold();
    look = () => Promise.reject(new AssayError("WORKLOAD_ATTESTATION_FAILED", "503"));
    expect(await subject.gather(never)).toMatchObject({ selectors: [], answered: 0, faults: [{}] });
  });

  it("that no attestor knows is no reference at all", async () => {
    using subject = hold();
    look = async () => undefined;
    await expect(subject.gather(never)).rejects.toThrowCode("WORKLOAD_REFERENCE_INVALID", /no attestor/);
  });

  it("is not looked up for somebody who has left", async () => {
    using subject = hold();
    const reason = new AssayError("CANCELLED", "gone");
    await expect(subject.gather(AbortSignal.abort(reason))).rejects.toBe(reason);
    expect(looks).toBe(0);
  });

  it("is let go of while it is being looked at", async () => {
    const subject = hold();
    await subject.gather(never);
    look = () => new Promise(() => undefined);
    await pass(LOOK);
    subject[Symbol.dispose]();
    await pass(LOOK * 20);
    expect(looks).toBe(2);
    expect(subject.gone.aborted).toBe(false);
  });
});

describe("an object that several hold", () => {
  it("is looked at once for all of them, until the last has let go", async () => {
    const held = Array.from({ length: 50 }, () => hold());
    await Promise.all(held.map((subject) => subject.gather(never)));
    expect(looks).toBe(1);
    for (let i = 2; i < 5; i++) {
      await pass(LOOK);
      expect(looks).toBe(i);
      expect(clock.pending).toBe(1);
    }
    for (const subject of held.splice(1)) subject[Symbol.dispose]();
    await pass(LOOK);
    expect(looks).toBe(5);
    for (const subject of held) subject[Symbol.dispose]();
    expect([clock.pending, subjects.size]).toEqual([0, 0]);
    await pass(LOOK * 3);
    expect(looks).toBe(5);
  });

  it("is looked at anew for one who comes later, which is good for the others too", async () => {
    using first = hold();
    await first.gather(never);
    await pass(LOOK / 2);
    using second = hold();
    await second.gather(never);
    expect(looks).toBe(2);
    await pass(LOOK - 1);
    expect(looks).toBe(2);
    await pass(1);
    expect(looks).toBe(3);
  });

  it("is gone for all of them, whoever found out", async () => {
    using first = hold();
    using second = hold();
    await Promise.all([first.gather(never), second.gather(never)]);
    look = () => Promise.reject(new AssayError("WORKLOAD_NOT_FOUND", "no"));
    using third = hold();
    await expect(third.gather(never)).rejects.toThrowCode("WORKLOAD_NOT_FOUND");
    expect([first, second].map(reasonOf)).toEqual(["WORKLOAD_NOT_FOUND", "WORKLOAD_NOT_FOUND"]);
    expect(clock.pending).toBe(0);
  });

  it("is gone, for now, for those only who knew it as something else", async () => {
    using first = hold();
    await first.gather(never);
    look = async () => [{ type: "k8s", value: "ns:b" }];
    using second = hold();
    await second.gather(never);
    expect([first, second].map(reasonOf)).toEqual(["NOT_READY", undefined]);
    await pass(LOOK);
    expect(looks).toBe(3);
    expect(second.gone.aborted).toBe(false);
  });

  it("is not lost to the others when one leaves in the middle of a look", async () => {
    const answer = Promise.withResolvers<readonly Selector[]>();
    look = () => answer.promise;
    const first = hold();
    using second = hold();
    const leaving = new AbortController();
    const left = first.gather(leaving.signal);
    const kept = second.gather(never);
    leaving.abort(new AssayError("CANCELLED", "gone"));
    await expect(left).rejects.toThrowCode("CANCELLED");
    first[Symbol.dispose]();
    answer.resolve([{ type: "k8s", value: "ns:a" }]);
    expect(await kept).toMatchObject({ answered: 1 });
    expect(looks).toBe(1);
  });

  it("is looked at for each broker, and each object for itself", async () => {
    const other = parseSpiffeId("spiffe://example.org/other");
    const held = [hold(), hold({ broker: other }), hold({ uid: "v" })];
    await Promise.all(held.map((subject) => subject.gather(never)));
    expect([looks, subjects.size]).toEqual([3, 3]);
    for (const subject of held) subject[Symbol.dispose]();
    expect([clock.pending, subjects.size]).toEqual([0, 0]);
  });

  it("is one of at most 4096, and the rest is refused until there is room", async () => {
    const held = Array.from({ length: 4096 }, (_, i) => hold({ uid: `${i}` }));
    expect(() => hold()).toThrowCode("OVERLOADED", /4096/);
    using again = hold({ uid: "7" });
    held[3]?.[Symbol.dispose]();
    using late = hold();
    expect([again.gone.aborted, late.gone.aborted]).toEqual([false, false]);
  });

  it("waits for its turn where many are looked at at once", async () => {
    const held = Array.from({ length: 40 }, (_, i) => hold({ uid: `${i}` }));
    await Promise.all(held.map((subject) => subject.gather(never)));
    const waiting: (() => void)[] = [];
    look = () => new Promise((resolve) => waiting.push(() => resolve([{ type: "k8s", value: "ns:a" }])));
    await pass(LOOK);
    expect(looks).toBe(40 + 32);
    for (const answer of waiting.splice(0)) answer();
    await pass(900);
    await pass(100);
    expect(looks).toBe(80);
    for (const answer of waiting.splice(0)) answer();
    await pass(0);
    for (const subject of held) subject[Symbol.dispose]();
    expect([clock.pending, subjects.size]).toEqual([0, 0]);
  });
});
