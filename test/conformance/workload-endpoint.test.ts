import { readdir, readFile, readlink, stat } from "node:fs/promises";
import type { OutgoingHttpHeaders } from "node:http2";
import { join } from "node:path";
import { fromBinary } from "@bufbuild/protobuf";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  SpiffeWorkloadAPI,
  X509SVIDResponseSchema,
} from "../../src/proto/gen/spiffe/workload/workload_pb.ts";
import { assay } from "../e2e/harness.ts";
import { Program } from "../e2e/program.ts";
import { workloadClient } from "../e2e/workload.ts";
import { FRAME, RawFrames } from "./raw-frames.ts";
import { grpcFrame, SECURITY } from "./raw-grpc.ts";
import { eventually, firstOf, makeWorld, SECURED, type World } from "./world.ts";

const SELF = "spiffe://example.org/self";
const INVALID_ARGUMENT = 3;
const PERMISSION_DENIED = 7;
const UNIMPLEMENTED = 12;
const UNAVAILABLE = 14;
/** Path of each method of the Workload API. */
const METHODS = SpiffeWorkloadAPI.methods.map(({ name }) => `/SpiffeWorkloadAPI/${name}`);

let world: World;

beforeAll(async () => {
  world = await makeWorld({ agentFlags: ["--rate-limit=off"] });
  await world.createEntry({ path: "/self" });
  await eventually(() => firstOf(world.api.fetchX509SVID({}, SECURED)));
});

afterAll(() => world?.[Symbol.asyncDispose]());

describe("where it listens", () => {
  it.each(["WE-01", "WE-05"])("%s is a Unix socket that every local user may connect to", async () => {
    const { mode, isSocket } = await stat(world.agentPlace.socket).then((stats) => ({
      mode: stats.mode & 0o777,
      isSocket: stats.isSocket(),
    }));
    expect(isSocket).toBe(true);
    expect(mode & 0o222).toBe(0o222);
  });

  it("WE-06 is never TCP: an agent takes no such address", async () => {
    for (const address of ["tcp://0.0.0.0:8099", "tcp://127.0.0.1:8099", "http://127.0.0.1:8099"]) {
      const outcome = await assay([
        "agent",
        "--trust-domain=example.org",
        "--server=127.0.0.1:1",
        `--data-dir=${world.scratch.at("never")}`,
        `--socket=${address}`,
      ]);
      expect(outcome.code, address).toBe(2);
      expect(outcome.stderr).toMatch(/socket/);
    }
  });

  it.each(["WE-06", "WE-01"])("%s opens no TCP port at all", async () => {
    expect(await listeningPorts(world.agent.program)).toEqual([]);
    expect(await listeningPorts(world.server.program)).toHaveLength(2);
  });
});

describe("what it speaks", () => {
  it.each(["WE-03", "WE-28"])("%s is gRPC, with every method of the Workload API", async () => {
    using client = world.raw();
    const mandatory = METHODS.filter((path) => !path.includes("WIT"));
    expect(mandatory).toHaveLength(5);
    for (const path of mandatory) {
      const answer = await client.call({ path, leaveAfter: 1 });
      expect(answer.httpStatus, path).toBe(200);
      expect(answer.grpcStatus, path).not.toBe(UNIMPLEMENTED);
    }
  });

  it("WE-11 is plaintext HTTP/2, begun without asking", async () => {
    using frames = new RawFrames(world.agentPlace.socket);
    frames.request(
      1,
      [
        [":method", "POST"],
        [":scheme", "http"],
        [":path", "/SpiffeWorkloadAPI/FetchX509Bundles"],
        [":authority", "localhost"],
        ["content-type", "application/grpc"],
        ["te", "trailers"],
        ["workload.spiffe.io", "true"],
      ],
      grpcFrame(Buffer.of()),
    );
    const { payload } = await frames.until(({ type, stream }) => type === FRAME.data && stream === 1);
    expect(payload.includes("spiffe://example.org")).toBe(true);
  });
});

describe("the security header", () => {
  const BAD: readonly (readonly [string, OutgoingHttpHeaders])[] = [
    ["is missing", {}],
    ["has a capital letter", { "workload.spiffe.io": "True" }],
    ["is in capitals", { "workload.spiffe.io": "TRUE" }],
    ["is 1", { "workload.spiffe.io": "1" }],
    ["is empty", { "workload.spiffe.io": "" }],
    ["is false", { "workload.spiffe.io": "false" }],
    ["is a list", { "workload.spiffe.io": "true,true" }],
    ["is there twice", { "workload.spiffe.io": ["true", "true"] }],
    ["is there twice, once wrong", { "workload.spiffe.io": ["true", "false"] }],
    ["has another name", { "workload.spiffe.io-bin": Buffer.from("true").toString("base64") }],
    ["is the broker's", { "broker.spiffe.io": "true" }],
  ];

  it.each(BAD)("WE-08 refuses every method when it %s", async (_what, headers) => {
    using client = world.raw();
    for (const path of METHODS) {
      const answer = await client.call({ path, headers });
      expect(answer, path).toMatchObject({ grpcStatus: INVALID_ARGUMENT, messages: [] });
      expect(answer.grpcMessage).toMatch(/security header missing from request/);
    }
  });

  it("WE-09 is asked for before anything else, also of a caller who may have nothing and of bad requests", async () => {
    using client = world.raw();
    const garbage = Buffer.from("ff", "hex");
    for (const path of METHODS) {
      const answer = await client.call({ path, headers: {}, message: garbage });
      expect(answer, path).toMatchObject({ grpcStatus: INVALID_ARGUMENT, messages: [] });
      expect(answer.grpcMessage, path).toMatch(/security header/);
    }
    // No data precedes the refusal: it is the one header block of the answer.
    const first = await client.call({ path: METHODS[0] ?? "", headers: {} });
    expect(first.trailersOnly).toBe(true);
  });

  it("WE-08 is enough when it is just right", async () => {
    using client = world.raw();
    const answer = await client.call({
      path: "/SpiffeWorkloadAPI/FetchX509SVID",
      headers: SECURITY,
      leaveAfter: 1,
    });
    expect(answer.messages).toHaveLength(1);
  });
});

describe("callers", () => {
  it.each(["WE-18", "WE-20"])("%s show nothing and do nothing, and are known all the same", async () => {
    const { svids } = await firstOf(world.api.fetchX509SVID({}, SECURED));
    expect(svids.map(({ spiffeId }) => spiffeId)).toEqual([SELF]);
    using client = world.raw();
    const claims = { authorization: "Bearer somebody-else", "x-spiffe-id": "spiffe://example.org/other" };
    const answer = await client.call({
      path: "/SpiffeWorkloadAPI/FetchX509SVID",
      headers: { ...SECURITY, ...claims },
      leaveAfter: 1,
    });
    const { svids: same } = fromBinary(X509SVIDResponseSchema, answer.messages[0] ?? Buffer.of());
    expect(same.map(({ spiffeId }) => spiffeId)).toEqual([SELF]);
  });

  it.each(["WE-19", "WE-23"])("%s are told apart by what the kernel says of them", async () => {
    for (const method of ["FetchX509SVID", "FetchX509Bundles", "FetchJWTBundles"]) {
      const answer = await world.asOther(method);
      expect(answer, method).toMatchObject({ grpcStatus: PERMISSION_DENIED, messages: [] });
    }
    const id = await world.createEntry({ path: "/other", selectors: world.otherSelectors });
    const other = await eventually(
      () => world.asOther("FetchX509SVID"),
      ({ messages }) => messages.length > 0,
    );
    const { svids } = fromBinary(X509SVIDResponseSchema, other.messages[0] ?? Buffer.of());
    expect(svids.map(({ spiffeId }) => spiffeId)).toEqual(["spiffe://example.org/other"]);
    await world.deleteEntry(id);
  });
});

describe("statuses", () => {
  it("WE-21 say Unavailable while the agent has not heard from its server", async () => {
    const socket = world.scratch.at("waiting.sock");
    await using waiting = Program.start("waiting", process.execPath, [
      "--disable-warning=ExperimentalWarning",
      join(import.meta.dirname, "..", "..", "src", "main.ts"),
      "agent",
      "--trust-domain=example.org",
      "--server=127.0.0.1:1",
      `--trust-bundle=${await world.server.trustBundleFile()}`,
      `--join-token-file=${await world.server.joinTokenFile()}`,
      `--data-dir=${world.scratch.at("waiting")}`,
      `--socket=${socket}`,
      `--admin-socket=${world.scratch.at("waiting-admin.sock")}`,
    ]);
    await eventually(async () => (await stat(socket)).isSocket());
    using client = workloadClient(socket);
    const api = client.service(SpiffeWorkloadAPI);
    await expect(firstOf(api.fetchX509SVID({}, SECURED))).rejects.toMatchObject({ status: "UNAVAILABLE" });
    await expect(firstOf(api.fetchX509Bundles({}, SECURED))).rejects.toMatchObject({ status: "UNAVAILABLE" });
    await expect(api.fetchJWTSVID({ audience: ["a"] }, SECURED)).rejects.toMatchObject({
      status: "UNAVAILABLE",
    });
    expect(waiting.pid).toBeGreaterThan(0);
  });

  it("WE-21 say Unavailable to a caller who asks too often", async () => {
    await using limited = await makeWorld({
      agentConfig: "rate_limit: { validation: 1 }\n",
    });
    using client = limited.raw();
    const path = "/SpiffeWorkloadAPI/ValidateJWTSVID";
    // audience "a", svid "b".
    const message = Buffer.from("0a0161120162", "hex");
    const statuses = await Promise.all(
      Array.from({ length: 50 }, async () => (await client.call({ path, message })).grpcStatus),
    );
    expect(statuses).toContain(UNAVAILABLE);
    expect(statuses).toContain(INVALID_ARGUMENT);
  });

  it("WE-25 say Unimplemented to what nobody has heard of", async () => {
    using client = world.raw();
    for (const path of ["/SpiffeWorkloadAPI/FetchNothing", "/unknown.Service/Method"]) {
      expect(await client.call({ path }), path).toMatchObject({ grpcStatus: UNIMPLEMENTED, messages: [] });
    }
  });
});

/** TCP ports that a program listens on, as the kernel tells. */
async function listeningPorts({ pid }: Program): Promise<readonly number[]> {
  const own = new Set<string>();
  for (const name of await readdir(`/proc/${pid}/fd`)) {
    const target = await readlink(`/proc/${pid}/fd/${name}`).catch(() => "");
    const inode = /^socket:\[(\d+)\]$/.exec(target)?.[1];
    if (inode !== undefined) own.add(inode);
  }
  const tables = await Promise.all(
    ["tcp", "tcp6"].map((name) => readFile(`/proc/${pid}/net/${name}`, "utf8")),
  );
  return tables.flatMap((table) =>
    table
      .trim()
      .split("\n")
      .slice(1)
      .flatMap((row) => {
        const [, local = "", , state, , , , , , inode = ""] = row.trim().split(/\s+/);
        return state === "0A" && own.has(inode) ? [Number.parseInt(local.split(":")[1] ?? "", 16)] : [];
      }),
  );
}
