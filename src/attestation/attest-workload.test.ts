import { describe, expect, it } from "vitest";
import { FakeClock } from "../../test/fakes/clock.ts";
import { AssayError } from "../errors/assay-error.ts";
import type { WorkloadAttestor } from "../plugin/workload-attestor.ts";
import type { Selector } from "../spiffe/selector.ts";
import {
  attestWorkload,
  type WorkloadAttestation,
  type WorkloadAttestationRequest,
} from "./attest-workload.ts";

type Attest = NonNullable<WorkloadAttestor["attest"]>;

function attestor(name: string, attest: Attest) {
  return { name, instance: { attest, async [Symbol.asyncDispose]() {} } };
}

function says(name: string, ...values: readonly string[]) {
  return attestor(name, async () => values.map((value): Selector => ({ type: name, value })));
}

function fails(name: string, error: unknown = new Error("boom")) {
  // oxlint-disable-next-line typescript/prefer-promise-reject-errors -- a plugin may reject with anything
  return attestor(name, () => Promise.reject(error));
}

function look(
  attestors: WorkloadAttestationRequest["attestors"],
  overrides: Partial<WorkloadAttestationRequest> = {},
): Promise<WorkloadAttestation> {
  const process = { pid: 1, uid: 2, gid: 3, isAlive: () => true };
  return attestWorkload({ attestors, process, clock: new FakeClock(), timeout: 1000, ...overrides });
}

const texts = ({ selectors }: WorkloadAttestation) => selectors.map(({ type, value }) => `${type}:${value}`);

describe("attestWorkload", () => {
  it("joins what all attestors say, sorted and each once", async () => {
    const found = await look([says("unix", "uid:2", "gid:3", "uid:2"), says("docker", "image:x")]);
    expect(texts(found)).toEqual(["docker:image:x", "unix:gid:3", "unix:uid:2"]);
    expect(found.failures).toEqual([]);
  });

  it("hands the attestors the process and nothing besides", async () => {
    let seen: unknown;
    const curious = attestor("unix", async (workload) => {
      seen = workload;
      return [{ type: "unix", value: "x" }];
    });
    await look([curious]);
    expect(seen).toEqual({ pid: 1, uid: 2, gid: 3 });
  });

  it("runs the attestors at the same time", async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    const waiting = attestor("a", async () => (await promise, [{ type: "a", value: "x" }]));
    const releasing = attestor("b", async () => (resolve(), [{ type: "b", value: "x" }]));
    expect(texts(await look([waiting, releasing]))).toEqual(["a:x", "b:x"]);
  });

  it.each([
    ["fails", fails("bad")],
    ["throws a bare string", fails("bad", "boom")],
    [
      "throws at once",
      attestor("bad", () => {
        throw new Error("boom");
      }),
    ],
    ["speaks for another", attestor("bad", async () => [{ type: "unix", value: "uid:0" }])],
    [
      "speaks for itself and another",
      attestor("bad", async () => [
        { type: "bad", value: "x" },
        { type: "unix", value: "uid:0" },
      ]),
    ],
    ["gives malformed selectors", says("bad", "")],
    ["gives too many selectors", says("bad", ...Array.from({ length: 1001 }, String))],
    ["gives nothing", attestor("bad", async () => undefined as unknown as Selector[])],
  ])("drops all selectors of an attestor that %s, and says so", async (_, bad) => {
    const found = await look([says("unix", "uid:2"), bad]);
    expect(texts(found)).toEqual(["unix:uid:2"]);
    expect(found.failures).toMatchObject([{ plugin: "bad", error: { code: "INTERNAL" } }]);
  });

  it("drops an attestor that is late, and tells it by its signal", async () => {
    const clock = new FakeClock();
    let told: AbortSignal | undefined;
    const late = attestor("late", (_, signal) => {
      told = signal;
      return new Promise(() => undefined);
    });
    const looking = look([says("unix", "uid:2"), late], { clock });
    await clock.advance(999);
    expect(told?.aborted).toBe(false);
    await clock.advance(1);
    const found = await looking;
    expect(told?.aborted).toBe(true);
    expect(texts(found)).toEqual(["unix:uid:2"]);
    expect(found.failures).toMatchObject([{ plugin: "late", error: { detail: "took longer than 1000 ms" } }]);
    expect(clock.pending).toBe(0);
  });

  it("fails where no attestor succeeds, naming each and why", async () => {
    const refused = look([fails("a"), fails("b", new AssayError("WORKLOAD_ATTESTATION_FAILED", "gone"))]);
    await expect(refused).rejects.toThrowCode(
      "WORKLOAD_ATTESTATION_FAILED",
      "a (INTERNAL: boom), b (WORKLOAD_ATTESTATION_FAILED: gone)",
    );
    await expect(look([])).rejects.toThrowCode("WORKLOAD_ATTESTATION_FAILED", "none is configured");
  });

  it("counts an attestor that succeeds with nothing to say as a success", async () => {
    expect(texts(await look([says("a"), fails("b")]))).toEqual([]);
  });

  it("gives nothing to a process that has ended before, or in between", async () => {
    const process = (answers: boolean[]) => ({
      pid: 1,
      uid: 2,
      gid: 3,
      isAlive: () => answers.shift() ?? false,
    });
    const untouched = attestor("a", () => expect.unreachable());
    await expect(look([untouched], { process: process([false]) })).rejects.toThrowCode(
      "CALLER_NOT_IDENTIFIED",
    );
    const ended = look([says("a", "x")], { process: process([true, false]) });
    await expect(ended).rejects.toThrowCode("CALLER_NOT_IDENTIFIED", "process 1 has ended");
    expect(texts(await look([says("a", "x")], { process: process([true, true]) }))).toEqual(["a:x"]);
  });

  it("asks whether the process lives after the last attestor has answered", async () => {
    const order: string[] = [];
    const process = { pid: 1, uid: 2, gid: 3, isAlive: () => order.push("alive") > 0 };
    const slow = attestor("a", async () => {
      await new Promise((resolve) => setImmediate(resolve));
      order.push("attested");
      return [{ type: "a", value: "x" }];
    });
    await look([slow], { process });
    expect(order).toEqual(["alive", "attested", "alive"]);
  });

  it("ends when the caller goes away", async () => {
    const controller = new AbortController();
    const looking = look([attestor("a", () => new Promise(() => undefined))], { signal: controller.signal });
    controller.abort(new AssayError("CANCELLED", "the caller went away"));
    await expect(looking).rejects.toThrowCode("CANCELLED");
  });
});
