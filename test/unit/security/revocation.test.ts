import { startBenchAgent } from "../../fakes/bench-agent.ts";
import { once } from "node:events";
import { connect, type TLSSocket } from "node:tls";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { RunningAgent } from "../../../src/agent/agent-options.ts";
import { parseJwtSvidInsecure } from "../../../src/crypto/jose/jwt-svid-verify.ts";
import { tokenIdOf } from "../../../src/crypto/jose/token-id.ts";
import { toPem } from "../../../src/crypto/pem.ts";
import { SpiffeWorkloadAPI } from "../../../src/proto/gen/spiffe/workload/workload_pb.ts";
import { RpcClient } from "../../../src/rpc/client.ts";
import { authorizeId } from "../../../src/workload/authorize.ts";
import { createTlsServer } from "../../../src/workload/tls-server.ts";
import { openX509Source, type X509Source } from "../../../src/workload/x509-source.ts";
import { first, HEADERS, uid, until } from "../../fakes/agent-harness.ts";
import { runCommand } from "../../fakes/cli.ts";
import { ServerBench, trustDomain } from "../../fakes/server-bench.ts";
import { wireEntry } from "../../fakes/server-wire.ts";
import { listen } from "../../fakes/tls-pair.ts";

const CLIENT = "spiffe://example.org/client";
const SECONDS = 5;

let bench: ServerBench;
let agent: RunningAgent;
let client: RpcClient;
let serving: X509Source;
let calling: X509Source;

beforeAll(async () => {
  bench = await ServerBench.start();
  agent = await startBenchAgent(bench);
  const selectors = [{ type: "unix", value: `uid:${uid}` }];
  await bench.entries.batchCreateEntry({
    entries: ["server", "client"].map((name) =>
      wireEntry(name, agent.agentId ?? "", { selectors, hint: name }),
    ),
  });
  client = new RpcClient({ target: { kind: "unix", path: bench.path("w.sock") } });
  const open = (hint: string) => openX509Source({ address: `unix://${bench.path("w.sock")}`, hint });
  [serving, calling] = [await open("server"), await open("client")];
});

afterAll(async () => {
  await serving?.[Symbol.asyncDispose]();
  await calling?.[Symbol.asyncDispose]();
  client?.[Symbol.dispose]();
  await agent?.[Symbol.asyncDispose]();
  await bench?.[Symbol.asyncDispose]();
});

const api = () => client.service(SpiffeWorkloadAPI);
const admin = (args: readonly string[], changes = {}) =>
  runCommand([...args, "--admin-socket", bench.path("admin.sock")], changes);
const revoke = (...args: readonly string[]) => admin(["revoke", ...args]);

/** A connection with an SVID and key that somebody kept, as a thief would. */
function connectWith({ chain, privateKey }: ReturnType<X509Source["x509Svid"]>, port: number): TLSSocket {
  return connect({
    host: "127.0.0.1",
    port,
    rejectUnauthorized: false,
    cert: chain.map((der) => toPem("CERTIFICATE", der)).join(""),
    key: privateKey.export({ format: "pem", type: "pkcs8" }),
  });
}

/** Whether a server of ours lets the SVID in. */
async function isAdmitted(svid: ReturnType<X509Source["x509Svid"]>, port: number): Promise<boolean> {
  const socket = connectWith(svid, port).on("error", () => undefined);
  const [answer] = (await Promise.race([once(socket, "data"), once(socket, "close")])) as [unknown];
  socket.destroy();
  return Buffer.isBuffer(answer);
}

describe("an SVID that an operator revokes", () => {
  it(`is refused by a Node server, on open connections too, in less than ${SECONDS} s`, async () => {
    const server = createTlsServer(serving, { authorize: authorizeId(CLIENT) }, (socket: TLSSocket) => {
      socket.on("error", () => undefined).write("hello");
    });
    const port = await listen(server);
    const stolen = calling.x509Svid();
    const open = connectWith(stolen, port).on("error", () => undefined);
    await once(open, "data");
    expect(await isAdmitted(stolen, port)).toBe(true);
    const abort = new AbortController();
    const stream = api().fetchX509SVID({}, { ...HEADERS, signal: abort.signal });
    expect((await stream.next()).value?.crl).toEqual([]);

    const began = performance.now();
    const cut = once(open, "close");
    const { code, stdout } = await revoke("svid", stolen.serial, "--reason", "keyCompromise");
    expect(code).toBe(0);
    expect(stdout).toContain(stolen.serial);
    await cut;
    const elapsed = performance.now() - began;
    expect(await isAdmitted(stolen, port)).toBe(false);
    expect(elapsed).toBeLessThan(SECONDS * 1000);
    process.stdout.write(`revoked to cut: ${Math.round(elapsed)} ms\n`);
    // The stream says what to refuse, and the workload, whose entry stands, has another SVID by now.
    let crls: readonly Uint8Array[] = [];
    while (crls.length === 0) crls = (await stream.next()).value?.crl ?? [];
    abort.abort();
    await until(() => calling.x509Svid().serial !== stolen.serial);
    await until(() => isAdmitted(calling.x509Svid(), port));
    server.close();
    expect(bench.audit().filter(({ event }) => event === "svid.revoked")).toMatchObject([
      { serial: stolen.serial, spiffe_id: CLIENT, reason: "keyCompromise" },
    ]);
  });

  it(`is refused by ValidateJWTSVID in less than ${SECONDS} s, and never served again`, async () => {
    const request = { audience: ["db"], spiffeId: CLIENT };
    const [svid] = (await api().fetchJWTSVID(request, HEADERS)).svids;
    const token = svid?.svid ?? "";
    const validate = () => api().validateJWTSVID({ audience: "db", svid: token }, HEADERS);
    expect((await validate()).spiffeId).toBe(CLIENT);
    const began = performance.now();
    expect((await revoke("svid", tokenIdOf(token, parseJwtSvidInsecure(token).claims))).code).toBe(0);
    await until(async () => {
      try {
        await validate();
        return false;
      } catch (error) {
        expect(error).toMatchObject({ detail: expect.stringMatching(/has been revoked/) as string });
        return true;
      }
    });
    const elapsed = performance.now() - began;
    expect(elapsed).toBeLessThan(SECONDS * 1000);
    process.stdout.write(`revoked to refused: ${Math.round(elapsed)} ms\n`);
    // The clock of tokens has whole seconds.
    await until(async () => {
      const [next] = (await api().fetchJWTSVID(request, HEADERS)).svids;
      return next !== undefined && next.svid !== token;
    });
  });

  it("stays revoked over a restart of the server, whose lists go on", async () => {
    const lists = () => admin(["bundle", "crl", "list", "--output", "json"]);
    const [before] = JSON.parse((await lists()).stdout) as {
      number: string;
      revoked: number;
      authority_id: string;
    }[];
    expect(before?.revoked).toBe(1);
    const { api: listenAt } = bench.addresses;
    await bench.stop();
    await bench.start({ listen: listenAt });
    expect(JSON.parse((await lists()).stdout)).toMatchObject([before]);
    const fetched = await first(api().fetchX509Bundles({}, HEADERS));
    expect(fetched.crl).toHaveLength(1);
    const id = before?.authority_id ?? "";
    const list = ["--trust-domain", trustDomain, "--authority-id", id];
    const refused = await admin(["bundle", "crl", "delete", ...list]);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain("which signs its revocation list itself: use assay revoke");
  });

  it("is named by its certificate where nobody knows its serial number, and by nothing where it is nobody's", async () => {
    const { serial, chain } = calling.x509Svid();
    const pem = chain.map((der) => toPem("CERTIFICATE", der)).join("");
    const named = await admin(["revoke", "svid", "-"], { input: pem });
    expect(named).toMatchObject({ code: 0 });
    const again = await admin(["revoke", "svid", "-"], { input: pem });
    expect(again).toMatchObject({
      code: 0,
      stdout: expect.stringContaining("nothing was good any more") as string,
    });
    const unknown = await revoke("svid", "0badc0de");
    expect(unknown.code).toBe(1);
    expect(unknown.stderr).toContain("neither in the store nor in the audit log");
    expect((await revoke("svid", "0a", "--reason", "spite")).code).toBe(2);
    expect((await revoke("svid", "0a", "--authority-id", "aa")).stderr).toContain("go together");
    expect((await revoke("task", "5c7bcb0e-31d5-44f7-b1a1-3bb0a8a1a7f0")).stderr).toContain(
      "there is no task",
    );
    // Else it would depend on the moment what the agent of the next test has fetched.
    await until(() => calling.x509Svid().serial !== serial);
  });
});

describe("an agent that an operator revokes", () => {
  it("is cut off, with every SVID that came through it on the list", async () => {
    const id = agent.agentId ?? "";
    const { code, stdout } = await revoke("agent", id, "--reason", "keyCompromise", "--output", "json");
    expect(code).toBe(0);
    const outcome = JSON.parse(stdout) as {
      revoked: { spiffe_id: string; kind: string }[];
      published: boolean;
    };
    expect(outcome.published).toBe(true);
    expect(new Set(outcome.revoked.map(({ spiffe_id }) => spiffe_id))).toEqual(
      new Set([id, CLIENT, "spiffe://example.org/server"]),
    );
    expect(await agent.closed).toMatchObject({ code: "AGENT_BANNED" });
    expect((await revoke("agent", `${id}x`)).code).toBe(1);
  });
});
