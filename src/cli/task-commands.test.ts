import { describe, expect, it } from "vitest";
import { runCommand } from "../../test/fakes/cli.ts";
import type { TaskRunDependencies, TaskRunOptions } from "../agent/task/run-task.ts";
import type { Programs } from "./programs.ts";

const JOB = { GITLAB_CI: "true", ASSAY_ID_TOKEN: "a.b.c" };
const SERVER = "--server=https://assay.test";

/** Runs `assay task run` with a program that runs nothing, and gives what it was told. */
async function taskRun(args: readonly string[], variables: Readonly<Record<string, string>> = JOB) {
  const told: { options?: TaskRunOptions; deps?: TaskRunDependencies; status?: number } = {};
  const programs: Programs = {
    prepare: async () => {},
    startServer: () => Promise.reject(new Error("not asked for")),
    startAgent: () => Promise.reject(new Error("not asked for")),
    runTask: async (options, deps) => {
      Object.assign(told, { options, deps });
      return 42;
    },
  };
  const result = await runCommand(["task", "run", ...args], {
    programs,
    environment: { spiffeEndpointSocket: undefined, notifySocket: undefined, variables },
    leaveWith: (status) => void (told.status = status),
  });
  return { ...result, ...told };
}

describe("assay task run", () => {
  it("runs the command as it is written, and leaves with its status", async () => {
    const { code, status, options, stdout } = await taskRun([SERVER, "--", "sh", "-c", "exit 1", "--server"]);
    expect({ code, status, stdout }).toEqual({ code: 0, status: 42, stdout: "" });
    expect(options).toMatchObject({
      server: "https://assay.test",
      audience: "https://assay.test",
      command: ["sh", "-c", "exit 1", "--server"],
      trust: { kind: "system" },
      platform: { name: "gitlab" },
      hidePlatformToken: false,
      writeFiles: false,
    });
  });

  it("takes what a job's variables say, and flags before them", async () => {
    const variables = { ...JOB, ASSAY_SERVER: "https://job.test", ASSAY_TRUST_BUNDLE: "/job.pem" };
    expect((await taskRun(["--", "true"], variables)).options).toMatchObject({
      server: "https://job.test",
      trust: { kind: "bundle", path: "/job.pem" },
    });
    expect((await taskRun([SERVER, "--ca-file=/ca.pem", "--", "true"], variables)).options).toMatchObject({
      server: "https://assay.test",
      trust: { kind: "caFile", path: "/ca.pem" },
    });
  });

  it("takes audiences with names, and a token from where it is told", async () => {
    const { options } = await taskRun(
      [
        SERVER,
        "--jwt-env=DB=https://db.test/?a=b",
        "--jwt-file=vault.jwt=vault",
        "--token-env=MINE",
        "--audience=own",
        "--",
        "true",
      ],
      {},
    );
    expect([...(options?.jwtVariables ?? [])]).toEqual([["DB", "https://db.test/?a=b"]]);
    expect([...(options?.jwtFiles ?? [])]).toEqual([["vault.jwt", "vault"]]);
    expect(options).toMatchObject({ platform: { name: "generic", secrets: ["MINE"] }, audience: "own" });
  });

  it.each<[readonly string[], RegExp]>([
    [["--", "true"], /--server \(or ASSAY_SERVER\) is missing/],
    [["--server=http://assay.test", "--", "true"], /expected an https URL/],
    [["--server=assay.test:8443", "--", "true"], /expected an https URL/],
    [[SERVER, "--trust-bundle=a", "--ca-file=b", "--", "true"], /at most one says how/],
    [[SERVER, "--token-env=a", "--token-file=b", "--", "true"], /at most one says where/],
    [[SERVER, "--platform=travis", "--", "true"], /"travis" is not known/],
    [[SERVER, "--jwt-env=DB", "--", "true"], /--jwt-env: expected name=audience, got "DB"/],
    [[SERVER, "--jwt-env=A-B=x", "--", "true"], /--jwt-env: expected name=audience/],
    [[SERVER, "--jwt-env=SPIFFE_ENDPOINT_SOCKET=x", "--", "true"], /--jwt-env: expected name=audience/],
    [[SERVER, "--jwt-env=ASSAY_TASK_ID=x", "--", "true"], /--jwt-env: expected name=audience/],
    [[SERVER, "--jwt-file=key.pem=x", "--", "true"], /--jwt-file: expected name=audience/],
    [[SERVER, "--jwt-file=../x=x", "--", "true"], /--jwt-file: expected name=audience/],
    [[SERVER], /missing required argument/],
  ])("refuses %j", async (args, text) => {
    const { code, stderr, options } = await taskRun(args);
    expect(code).toBe(2);
    expect(stderr).toMatch(text);
    expect(options).toBeUndefined();
  });

  it("is refused within a task, before the server takes it for somebody else's", async () => {
    const { code, stderr, options } = await taskRun([SERVER, "--", "true"], { ...JOB, ASSAY_TASK_ID: "7" });
    expect(code).toBe(2);
    expect(stderr).toMatch(/runs in task 7 already, and a run has one task/);
    expect(options).toBeUndefined();
  });

  it("says which platforms there are where none is recognised", async () => {
    const { code, stderr } = await taskRun([SERVER, "--", "true"], {});
    expect(code).toBe(2);
    expect(stderr).toMatch(/no CI platform was recognised .* --token-env or --token-file/);
  });
});
