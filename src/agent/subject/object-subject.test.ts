import { beforeEach, describe, expect, it } from "vitest";
import { FakeClock } from "../../../test/fakes/clock.ts";
import { AssayError } from "../../errors/assay-error.ts";
import type { KubernetesObject } from "../../plugin/workload-attestor.ts";
import { parseSpiffeId } from "../../spiffe/id.ts";
import type { Selector } from "../../spiffe/selector.ts";
import { objectSubject } from "./object-subject.ts";
import type { HeldSubject } from "./process-subject.ts";

const broker = parseSpiffeId("spiffe://example.org/broker");
const object: KubernetesObject = { type: "kubernetes_object", plural: "pods", group: "core", uid: "u" };
const never = new AbortController().signal;
const LOOK = 10_000;

let clock: FakeClock;
let looks: number;
let look: () => Promise<readonly Selector[] | undefined>;
beforeEach(() => {
  clock = new FakeClock();
  looks = 0;
  look = async () => [{ type: "k8s", value: "ns:a" }];
});

function hold(): HeldSubject {
  const instance = {
    attestReference: () => {
      looks += 1;
      return look();
    },
    async [Symbol.asyncDispose]() {},
  };
  return objectSubject(
    { object, reference: "kubernetes pods.core uid u", broker },
    {
      attestors: [{ name: "kubernetes_object", selectorType: "k8s", instance }],
      clock,
      attestationTimeout: 1000,
    },
  );
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
