import { z } from "zod";
import { AssayError } from "../../../errors/assay-error.ts";
import { defineWorkloadAttestor, type WorkloadProcess } from "../../../plugin/workload-attestor.ts";
import type { PluginHost } from "../../../plugin/host.ts";
import { type Selector, selectorOf } from "../../../spiffe/selector.ts";
import { ExecutableReader } from "./executable.ts";
import { type IdNames, namesFromFile } from "./id-names.ts";
import { readProcessStatus } from "./process-status.ts";

/** Selects on the kernel's view of a process: its user, its groups and, if asked for, the program it runs. */
export const unix = defineWorkloadAttestor({
  kind: "workloadAttestor",
  apiVersion: 1,
  name: "unix",
  config: z.strictObject({
    discover_workload_path: z
      .boolean()
      .default(false)
      .describe(
        "Also give unix:path and unix:sha256; the agent must be allowed to read the workload's program",
      ),
    workload_size_limit: z
      .int()
      .min(-1)
      .default(0)
      .describe("Bytes of a program that is hashed at most: 0 for any size, -1 to hash none"),
  }),
  create: (
    { discover_workload_path: discoverWorkloadPath, workload_size_limit: workloadSizeLimit },
    host,
  ) => {
    const users = namesFromFile("/etc/passwd");
    const groups = namesFromFile("/etc/group");
    const programs = new ExecutableReader(host.clock, workloadSizeLimit);
    return {
      async attest(workload, signal) {
        signal.throwIfAborted();
        const selectors = idSelectors(workload, users, groups);
        if (!discoverWorkloadPath) return selectors;
        const program = await programSelectors(workload.pid, programs, host);
        signal.throwIfAborted();
        return [...selectors, ...program];
      },
      async [Symbol.asyncDispose]() {
        programs[Symbol.dispose]();
      },
    };
  },
});

function idSelectors(workload: WorkloadProcess, users: IdNames, groups: IdNames): readonly Selector[] {
  const status = readProcessStatus(workload.pid);
  const { uid, gid } = status;
  // A process that has changed its user since it connected is in between two identities and gets neither.
  if (uid !== workload.uid || gid !== workload.gid) {
    throw new AssayError(
      "WORKLOAD_ATTESTATION_FAILED",
      `process ${workload.pid} connected as ${workload.uid}:${workload.gid} and runs as ${uid}:${gid}`,
    );
  }
  const groupNames = groups();
  return [
    of("uid", String(uid)),
    ...named("user", users().get(uid)),
    of("gid", String(gid)),
    ...named("group", groupNames.get(gid)),
    ...status.groups
      .slice(0, MAX_GROUPS)
      .flatMap((group) => [
        of("supplementary_gid", String(group)),
        ...named("supplementary_group", groupNames.get(group)),
      ]),
  ];
}

/** Fewer selectors can only earn less, so a program that cannot be read does not cost the others. */
async function programSelectors(
  pid: number,
  programs: ExecutableReader,
  host: PluginHost,
): Promise<readonly Selector[]> {
  try {
    const { path, sha256, size } = await programs.read(pid);
    if (sha256 === undefined && size !== undefined) {
      host.log.warn("Program is larger than workload_size_limit and was not hashed", { pid, path, size });
    }
    return [of("path", path), ...named("sha256", sha256)];
  } catch (error) {
    host.log.warn("Program of the workload cannot be read, its path and sha256 are left out", { pid, error });
    return [];
  }
}

function named(field: string, value: string | undefined): readonly Selector[] {
  return value === undefined ? [] : [of(field, value)];
}

function of(field: string, value: string): Selector {
  return selectorOf("unix", `${field}:${value}`);
}

// A process may have 65,536 groups; two selectors for each of these stay inside what one attestor may say.
const MAX_GROUPS = 400;
