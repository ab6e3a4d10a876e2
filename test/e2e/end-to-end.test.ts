import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Entry as EntryService } from "../../src/proto/gen/spire/api/server/entry/v1/entry_pb.ts";
import { SpiffeWorkloadAPI } from "../../src/proto/gen/spiffe/workload/workload_pb.ts";
import { adminClient, entryInit, tlsClient } from "./admin-rpc.ts";
import {
  assay,
  type AssayAgent,
  assayJson,
  type AssayServer,
  placeAgent,
  placeServer,
  startAgent,
  startServer,
} from "./harness.ts";
import { run } from "./program.ts";
import { makeScratch, type Scratch } from "./scratch.ts";
import {
  curl,
  fetchX509,
  NOBODY,
  OWN_SELECTORS,
  SECURITY_HEADER,
  workloadClient,
  X509Stream,
} from "./workload.ts";

const NODE = "spiffe://example.org/node";
const SELF = "spiffe://example.org/self";

let scratch: Scratch;
let server: AssayServer;
let agent: AssayAgent;
let canBecomeNobody: boolean;

beforeAll(async () => {
  scratch = await makeScratch();
  server = await startServer(await placeServer(scratch));
  await server.createEntry({ parentId: NODE, spiffeId: SELF, selectors: OWN_SELECTORS });
  agent = await startAgent(placeAgent(scratch), {
    server: server.place.address,
    trustBundleFile: await server.trustBundleFile(),
    joinTokenFile: await server.joinTokenFile(NODE),
  });
  canBecomeNobody = process.getuid?.() === 0 && (await run("true", [], NOBODY)).code === 0;
});

afterAll(async () => {
  await agent?.[Symbol.asyncDispose]();
  await server?.[Symbol.asyncDispose]();
  await scratch?.[Symbol.asyncDispose]();
});

describe("a workload with an entry", () => {
  it("fetches X509-SVID, JWT-SVID and bundles by the command", async () => {
    const [x509, ...more] = await fetchX509(agent.endpoint);
    expect(more).toEqual([]);
    expect(x509).toMatchObject({ spiffe_id: SELF });

    const jwt = await assayJson<readonly { spiffe_id: string; svid: string }[]>([
      "fetch",
      "jwt",
      "--audience=api",
      `--socket=${agent.endpoint}`,
    ]);
    expect(jwt.map(({ spiffe_id }) => spiffe_id)).toEqual([SELF]);
    const claims = JSON.parse(
      Buffer.from(jwt[0]?.svid.split(".")[1] ?? "", "base64url").toString(),
    ) as unknown;
    expect(claims).toMatchObject({ sub: SELF, aud: ["api"] });

    const bundles = await assayJson<
      readonly { trust_domain: string; x509_authorities: readonly { subject_key_id: string }[] }[]
    >(["fetch", "bundles", `--socket=${agent.endpoint}`]);
    expect(bundles).toHaveLength(1);
    expect(bundles[0]?.x509_authorities.map(({ subject_key_id: id }) => id)).toContain(x509?.authority);
  });

  it("fetches the same by curl on the same socket", async () => {
    const x509 = await curl(agent.place.socket, "/v1/x509-svids");
    expect(x509.status).toBe(200);
    const { svids } = JSON.parse(x509.body) as {
      svids: { spiffe_id: string; private_key_pem: string; certificate_chain_pem: string }[];
    };
    expect(svids.map(({ spiffe_id }) => spiffe_id)).toEqual([SELF]);
    expect(svids[0]?.private_key_pem).toContain("BEGIN PRIVATE KEY");

    const jwt = await curl(agent.place.socket, "/v1/jwt-svids", [
      "--header=workload.spiffe.io: true",
      "--header=content-type: application/json",
      '--data={"audience":["api"]}',
    ]);
    expect(jwt).toMatchObject({ status: 200, body: expect.stringContaining(SELF) as string });
    expect(await curl(agent.place.socket, "/v1/jwt-bundles")).toMatchObject({ status: 200 });
    expect(await curl(agent.place.socket, "/v1/x509-bundles")).toMatchObject({ status: 200 });
  });

  it("hears of an entry that is created, then of one that is deleted, and of its last one by the end", async () => {
    using client = workloadClient(agent.place.socket);
    using stream = new X509Stream(client);
    expect(await stream.next()).toEqual([SELF]);

    const extra = `${SELF}/extra`;
    const id = await server.createEntry({ parentId: NODE, spiffeId: extra, selectors: OWN_SELECTORS });
    // What was first stays first.
    expect(await stream.next()).toEqual([SELF, extra]);
    await server.ask("entry", "delete", `--id=${id}`);
    expect(await stream.next()).toEqual([SELF]);

    const [own] = await server.ask<readonly { id: string }[]>("entry", "list", `--spiffe-id=${SELF}`);
    await server.ask("entry", "delete", `--id=${own?.id ?? ""}`);
    await expect(stream.next()).rejects.toMatchObject({ status: "PERMISSION_DENIED" });
    await server.createEntry({ parentId: NODE, spiffeId: SELF, selectors: OWN_SELECTORS });
    expect(await eventually(async () => (await fetchX509(agent.endpoint)).length)).toBe(1);
  });
});

describe("whoever may have nothing", () => {
  it("is told that no identity is issued, over gRPC and over HTTP", async (context) => {
    context.skip(!canBecomeNobody, "only root can become another user");
    const byHttp = await curl(agent.place.socket, "/v1/x509-svids", undefined, NOBODY);
    expect(byHttp.status).toBe(403);
    expect(byHttp.body).toContain("NO_IDENTITY_ISSUED");
    expect(byHttp.body).not.toContain("PRIVATE KEY");

    const byGrpc = await assay(["fetch", "x509", `--socket=${agent.endpoint}`], NOBODY);
    expect(byGrpc.code).toBe(1);
    expect(byGrpc.stderr).toMatch(/no identity issued/i);
    expect(byGrpc.stdout).toBe("");
  });

  it("gets nothing without the security header, or from a web page, or by another host's name", async () => {
    for (const args of [
      [],
      ["--header=workload.spiffe.io: false"],
      ["--header=workload.spiffe.io: true", "--header=Origin: http://localhost"],
      ["--header=workload.spiffe.io: true", "--header=Sec-Fetch-Site: none"],
      ["--header=workload.spiffe.io: true", "--header=Host: attacker.example"],
    ]) {
      const { status, body } = await curl(agent.place.socket, "/v1/x509-svids", args);
      expect(status, args.join(" ")).toBe(400);
      expect(body).not.toContain("PRIVATE KEY");
    }
    using client = workloadClient(agent.place.socket);
    const service = client.service(SpiffeWorkloadAPI);
    await expect(service.fetchX509SVID({}).next()).rejects.toMatchObject({ status: "INVALID_ARGUMENT" });
    await expect(service.fetchJWTSVID({ audience: ["api"] })).rejects.toMatchObject({
      status: "INVALID_ARGUMENT",
    });
    await expect(service.fetchJWTSVID({ audience: [] }, { headers: SECURITY_HEADER })).rejects.toMatchObject({
      status: "INVALID_ARGUMENT",
    });
  });

  it("gets nothing over a connection whose owner has died and left it to another process", async () => {
    const control = await run(process.execPath, ["--eval", OWNER, agent.place.socket, "stay"]);
    expect(control.stdout).toContain("PRIVATE KEY");
    const orphan = await run(process.execPath, ["--eval", OWNER, agent.place.socket, "die"]);
    expect(orphan.stdout).toMatch(/^heir was told:/);
    expect(orphan.stdout).not.toMatch(/PRIVATE KEY|svids|200 OK/);
  });
});

describe("a message of 5 MiB", () => {
  it("is refused as too large by server and agent, while others are served", async () => {
    const padding = "x".repeat(5 * 1024 * 1024);
    using admin = adminClient(server.place);
    using remote = await tlsClient(server.place);
    using workload = workloadClient(agent.place.socket);
    for (const client of [admin, remote]) {
      const service = client.service(EntryService);
      await expect(
        service.batchCreateEntry({ entries: [entryInit("/big", { hint: padding })] }),
      ).rejects.toMatchObject({ status: "RESOURCE_EXHAUSTED" });
    }
    await expect(
      workload
        .service(SpiffeWorkloadAPI)
        .validateJWTSVID({ audience: "api", svid: padding }, { headers: SECURITY_HEADER }),
    ).rejects.toMatchObject({ status: "RESOURCE_EXHAUSTED" });
    const post = await curl(agent.place.socket, "/v1/jwt-svids", [
      "--header=workload.spiffe.io: true",
      "--header=content-type: application/json",
      "--header=Expect:",
      `--data=@${await bigFile(padding)}`,
    ]);
    expect(post.status).toBe(413);

    await admin.service(EntryService).countEntries({});
    expect(await fetchX509(agent.endpoint)).toHaveLength(1);
  });
});

describe("assay explain", () => {
  it("tells what a process is and may have", async () => {
    const found = await assayJson<{
      process: { pid: number; uid: number };
      selectors: string[];
      matched_entries: { spiffe_id: string }[];
      outcome: string;
    }>(["explain", "pid", String(process.pid), `--admin-socket=${agent.place.adminSocket}`]);
    expect(found.process).toMatchObject({ pid: process.pid, uid: process.getuid?.() });
    expect(found.selectors).toEqual(expect.arrayContaining([...OWN_SELECTORS]));
    expect(found.matched_entries.map(({ spiffe_id }) => spiffe_id)).toEqual([SELF]);
    expect(found.outcome).toBe("issued");
  });

  it("tells which selector of the nearest entry a process lacks", async () => {
    const near = `${SELF}/near`;
    const missing = "unix:gid:4242424";
    const id = await server.createEntry({
      parentId: NODE,
      spiffeId: near,
      selectors: [...OWN_SELECTORS, missing],
    });
    const explain = () =>
      assayJson<{ near_misses: { entry: { spiffe_id: string }; missing: string[] }[] }>([
        "explain",
        "pid",
        String(process.pid),
        `--admin-socket=${agent.place.adminSocket}`,
      ]);
    const found = await eventually(async () =>
      (await explain()).near_misses.find(({ entry }) => entry.spiffe_id === near),
    );
    expect(found?.missing).toEqual([missing]);
    await server.ask("entry", "delete", `--id=${id}`);
  });

  it("tells of a decision what the agent's and the server's audit logs say of it", async () => {
    await fetchX509(agent.endpoint);
    const delivered = await lastRecord(agent.place.dataDir, "svid.x509.delivered");
    const atAgent = await assayJson<Record<string, unknown>>([
      "explain",
      "decision",
      delivered.decision_id,
      `--agent-admin-socket=${agent.place.adminSocket}`,
    ]);
    expect(atAgent).toMatchObject({
      outcome: "issued",
      spiffe_id: SELF,
      serial_number: delivered.serial,
    });

    const issued = await lastRecord(server.place.dataDir, "svid.x509.issued");
    const atServer = await server.ask<Record<string, unknown>>("explain", "decision", issued.decision_id);
    expect(atServer).toMatchObject({ outcome: "issued", spiffe_id: issued.spiffe_id });
    const unknown = await assay([
      "explain",
      "decision",
      "00000000-0000-4000-8000-000000000000",
      `--admin-socket=${server.place.adminSocket}`,
    ]);
    expect(unknown.code).toBe(1);
  });

  it("tells why somebody got nothing", async (context) => {
    context.skip(!canBecomeNobody, "only root can become another user");
    await curl(agent.place.socket, "/v1/x509-svids", undefined, NOBODY);
    const denied = await lastRecord(agent.place.dataDir, "svid.denied");
    const found = await assayJson<Record<string, unknown>>([
      "explain",
      "decision",
      denied.decision_id,
      `--agent-admin-socket=${agent.place.adminSocket}`,
    ]);
    expect(found).toMatchObject({
      outcome: "denied",
      code: "NO_IDENTITY_ISSUED",
      caller: { process: { uid: NOBODY.uid } },
    });
    expect(found["selectors"]).toEqual(expect.arrayContaining([`unix:uid:${NOBODY.uid}`]));
  });

  it("tells what the server knows of a node", async () => {
    const [{ id } = { id: "" }] = await server.ask<readonly { id: string }[]>("agents", "list");
    const found = await server.ask<{
      agent: { attestation_type: string };
      aliases: { spiffe_id: string }[];
      authorized_entries: { spiffe_id: string }[];
    }>("explain", "node", id);
    expect(found.aliases.map(({ spiffe_id }) => spiffe_id)).toEqual([NODE]);
    expect(found.authorized_entries.map(({ spiffe_id }) => spiffe_id)).toEqual([SELF]);
  });
});

/** The last record of an event in an audit log. */
async function lastRecord(dataDir: string, event: string) {
  const lines = (await readFile(join(dataDir, "audit.jsonl"), "utf8")).trim().split("\n");
  const line = lines.findLast((text) => text.includes(`"event":"${event}"`));
  return JSON.parse(line ?? "{}") as { decision_id: string; spiffe_id: string; serial: string };
}

/** Asks again until there is an answer that counts; what the asking costs is pause enough. */
async function eventually<Value>(ask: () => Promise<Value | undefined>): Promise<Value | undefined> {
  const deadline = performance.now() + 20_000;
  for (;;) {
    const value = await ask().catch(() => undefined);
    if (value !== undefined || performance.now() > deadline) return value;
  }
}

async function bigFile(text: string): Promise<string> {
  const path = scratch.at("big.json");
  await writeFile(path, JSON.stringify({ audience: [text] }));
  return path;
}

/** Asks for the SVID over a connection that it was left by the process named in its argument, once that one is gone. */
const HEIR = `
  const { Socket } = require("node:net");
  const socket = new Socket({ fd: 0 });
  let text = "";
  socket.on("data", (chunk) => { text += chunk; });
  socket.on("error", () => {});
  socket.on("close", () => { console.log("heir was told: " + text); });
  const wait = () => {
    try { process.kill(Number(process.argv[1]), 0); setTimeout(wait, 10); } catch {
      socket.write("GET /v1/x509-svids HTTP/1.1\\r\\nHost: localhost\\r\\nworkload.spiffe.io: true\\r\\nConnection: close\\r\\n\\r\\n");
    }
  };
  wait();
`;

/** Connects, and then asks for its SVID itself, or leaves the connection to an heir and dies. */
const OWNER = `
  const { connect } = require("node:net");
  const { spawn } = require("node:child_process");
  const [path, what] = process.argv.slice(1);
  const socket = connect(path, () => {
    if (what === "stay") {
      socket.on("data", (chunk) => process.stdout.write(chunk));
      socket.write("GET /v1/x509-svids HTTP/1.1\\r\\nHost: localhost\\r\\nworkload.spiffe.io: true\\r\\nConnection: close\\r\\n\\r\\n");
      return;
    }
    spawn(process.execPath, ["--eval", ${JSON.stringify(HEIR)}, String(process.pid)], {
      stdio: [socket, "inherit", "inherit"],
      detached: true,
    });
    process.exit(0);
  });
`;
