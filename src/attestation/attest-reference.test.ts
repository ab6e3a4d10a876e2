import { describe, expect, it } from "vitest";
import { FakeClock } from "../../test/fakes/clock.ts";
import { AssayError } from "../errors/assay-error.ts";
import type { KubernetesObject, WorkloadAttestor } from "../plugin/workload-attestor.ts";
import { parseSpiffeId } from "../spiffe/id.ts";
import { attestReference, type ReferenceAttestationRequest } from "./attest-reference.ts";
import type { NamedAttestor } from "./attest-workload.ts";

const broker = parseSpiffeId("spiffe://example.org/broker");
const reference: KubernetesObject = { type: "kubernetes_object", plural: "pods", group: "core", uid: "u" };

function attestor(
  name: string,
  look?: NonNullable<WorkloadAttestor["attestReference"]>,
  selectorType?: string,
): NamedAttestor {
  const instance = {
    ...(look === undefined ? {} : { attestReference: look }),
    async [Symbol.asyncDispose]() {},
  };
  return { name, instance, ...(selectorType === undefined ? {} : { selectorType }) };
}

function ask(attestors: readonly NamedAttestor[], changes: Partial<ReferenceAttestationRequest> = {}) {
  return attestReference({
    attestors,
    reference,
    broker,
    clock: new FakeClock(),
    timeout: 1000,
    ...changes,
  });
}

const says = (name: string, ...values: string[]) =>
  attestor(name, async () => values.map((value) => ({ type: name, value })));
const fails = (name: string, error: Error) => attestor(name, () => Promise.reject(error));
const none = attestor("none", async () => undefined);

describe("a workload that a broker named", () => {
  it("is what all attestors that know the reference say together", async () => {
    const found = await ask([says("b", "2"), attestor("unix"), none, says("a", "1")]);
    expect(found).toEqual({
      selectors: [
        { type: "a", value: "1" },
        { type: "b", value: "2" },
      ],
      failures: [],
      answered: 2,
    });
  });

  it("is told to the attestor with who named it", async () => {
    const seen: unknown[] = [];
    await ask([
      attestor("a", async (...args) => {
        seen.push(...args.slice(0, 2));
        return [];
      }),
    ]);
    expect(seen).toEqual([reference, broker]);
  });

  it("is nobody's where no attestor knows the reference", async () => {
    expect(await ask([attestor("unix"), none])).toBeUndefined();
  });

  it("may have selectors of another type than the attestor's name, and of no other", async () => {
    const named = (type: string) =>
      attestor("kubernetes_object", async () => [{ type, value: "ns:a" }], "k8s");
    expect(await ask([named("k8s")])).toMatchObject({ selectors: [{ type: "k8s", value: "ns:a" }] });
    await expect(ask([named("kubernetes_object")])).rejects.toThrowCode("WORKLOAD_ATTESTATION_FAILED");
  });

  it.each([
    ["WORKLOAD_NOT_FOUND", ["WORKLOAD_NOT_FOUND"]],
    ["WORKLOAD_NOT_ENTITLED", ["WORKLOAD_NOT_FOUND", "WORKLOAD_NOT_ENTITLED"]],
    ["WORKLOAD_REFERENCE_INVALID", ["WORKLOAD_NOT_ENTITLED", "WORKLOAD_REFERENCE_INVALID"]],
  ] as const)("is refused with %s of %j, whatever another attestor found", async (code, codes) => {
    const refusing = codes.map((one, i) => fails(`f${i}`, new AssayError(one, "no")));
    await expect(ask([says("a", "1"), ...refusing])).rejects.toThrowCode(code);
  });

  it("loses only the selectors of an attestor in trouble, unless all are", async () => {
    const trouble = fails("f", new AssayError("WORKLOAD_ATTESTATION_FAILED", "503"));
    expect(await ask([trouble, says("a", "1")])).toMatchObject({ answered: 1, failures: [{ plugin: "f" }] });
    await expect(ask([trouble, none])).rejects.toThrowCode("WORKLOAD_ATTESTATION_FAILED", /f \(/);
  });

  it("is waited for so long and no longer", async () => {
    const clock = new FakeClock();
    const slow = attestor("slow", () => new Promise(() => undefined));
    const refused = expect(ask([slow], { clock })).rejects.toThrowCode(
      "WORKLOAD_ATTESTATION_FAILED",
      /took longer than 1000 ms/,
    );
    await clock.advance(1000);
    await refused;
  });

  it("is not waited for once nobody wants to know", async () => {
    const reason = new AssayError("CANCELLED", "gone");
    await expect(ask([says("a", "1")], { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    const stop = new AbortController();
    const asked = ask([attestor("slow", () => new Promise(() => undefined))], { signal: stop.signal });
    stop.abort(reason);
    await expect(asked).rejects.toBe(reason);
  });
});
