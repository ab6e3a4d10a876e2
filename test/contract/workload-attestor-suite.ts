import { afterEach, describe, expect, it } from "vitest";
import { AssayError } from "../../src/errors/assay-error.ts";
import type { PluginHost } from "../../src/plugin/host.ts";
import type {
  WorkloadAttestor,
  WorkloadAttestorPlugin,
  WorkloadProcess,
} from "../../src/plugin/workload-attestor.ts";
import { selectorOf } from "../../src/spiffe/selector.ts";

/** What the suite needs to put a workload attestor through its contract. */
export interface WorkloadAttestorSuite<Config> {
  readonly plugin: WorkloadAttestorPlugin<Config>;
  readonly host: PluginHost;
  /** A configuration as an operator writes it. */
  readonly config: Readonly<Record<string, unknown>>;
  /** A process that the attestor can say something about. */
  readonly process: WorkloadProcess;
}

/** The contract of `WorkloadAttestorPlugin`: every workload attestor must pass it. */
export function workloadAttestorSuite<Config>(suite: WorkloadAttestorSuite<Config>): void {
  const { plugin, host } = suite;
  const made: WorkloadAttestor[] = [];

  async function create(): Promise<WorkloadAttestor & Required<Pick<WorkloadAttestor, "attest">>> {
    const result = await plugin.config["~standard"].validate(suite.config);
    if (result.issues !== undefined) throw new Error(result.issues.map(({ message }) => message).join("; "));
    const attestor = await plugin.create(result.value, host);
    made.push(attestor);
    const { attest } = attestor;
    if (attest === undefined) throw new Error("the suite is for attestors that look at processes");
    return Object.assign(attestor, { attest });
  }

  afterEach(async () => {
    for (const attestor of made.splice(0)) await attestor[Symbol.asyncDispose]();
  });

  describe(`workload attestor ${plugin.name}: contract`, () => {
    it("says what it is", () => {
      expect(plugin).toMatchObject({ kind: "workloadAttestor", apiVersion: 1 });
      expect(plugin.name).toMatch(/^[a-z][a-z0-9_-]{0,63}$/);
    });

    it("rejects unknown configuration keys", async () => {
      const result = await plugin.config["~standard"].validate({ ...suite.config, surelyUnknown: 1 });
      expect(result.issues?.map(({ message }) => message).join()).toContain("surelyUnknown");
    });

    it("gives well-formed selectors of its own type only, the same ones each time", async () => {
      const attestor = await create();
      const first = await attestor.attest(suite.process, new AbortController().signal);
      expect(first.length).toBeGreaterThan(0);
      for (const { type, value } of first) {
        expect(type).toBe(plugin.selectorType ?? plugin.name);
        expect(selectorOf(type, value)).toEqual({ type, value });
      }
      expect(await attestor.attest(suite.process, new AbortController().signal)).toEqual(first);
    });

    it("honours a signal that is aborted already", async () => {
      const attestor = await create();
      const reason = new AssayError("WORKLOAD_ATTESTATION_FAILED", "too late");
      await expect(attestor.attest(suite.process, AbortSignal.abort(reason))).rejects.toBe(reason);
    });

    it("fails with an error, never with a bare value, for a process that is not there", async () => {
      const attestor = await create();
      const gone = { pid: 2 ** 30, uid: suite.process.uid, gid: suite.process.gid };
      const thrown = await attestor
        .attest(gone, new AbortController().signal)
        .catch((error: unknown) => error);
      expect(thrown).toBeInstanceOf(Error);
      expect(thrown).toBeInstanceOf(AssayError);
    });

    it("can be disposed twice", async () => {
      const attestor = await create();
      await attestor[Symbol.asyncDispose]();
      await attestor[Symbol.asyncDispose]();
    });
  });
}
