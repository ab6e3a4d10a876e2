import { chmod, mkdir, writeFile } from "node:fs/promises";
import { createConnection, createServer, type Server } from "node:net";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { adminClient } from "./admin-rpc.ts";
import { AgentSync } from "../../src/proto/gen/assay/api/server/v1/agent_sync_pb.ts";
import {
  assay,
  placeAgent,
  placeServer,
  type ServerPlace,
  startAgent,
  startServer,
  TRUST_DOMAIN,
} from "./harness.ts";
import { output, type Outcome, Program, run } from "./program.ts";
import { freePorts, makeScratch, type Scratch } from "./scratch.ts";

let scratch: Scratch;
let place: ServerPlace;
/** What a test opened for itself. */
const opened: Server[] = [];

beforeAll(async () => {
  scratch = await makeScratch();
  place = await placeServer(scratch);
});

afterEach(async () => {
  await Promise.all(opened.splice(0).map((server) => new Promise((resolve) => server.close(resolve))));
});

afterAll(async () => {
  await scratch?.[Symbol.asyncDispose]();
});

describe("a server that cannot start says in one line what to mend, before anybody can connect", () => {
  it.each([
    [
      "an unknown key",
      "trust_domian: example.org",
      /trust_domian: is not a known key \(did you mean trust_domain\?\)/,
    ],
    [
      "an unknown key inside a table",
      "log: { levle: info }",
      /log\.levle: is not a known key \(did you mean level\?\)/,
    ],
    [
      "a duration without a unit",
      "ca_ttl: 3600",
      /ca_ttl: expected a duration, got 3600 \(write a number with a unit/,
    ],
    [
      "a duration in an unknown unit",
      "ca_ttl: 5 parsecs",
      /ca_ttl: expected a duration, got 5 parsecs \(write/,
    ],
    ["a duration out of bounds", "agent_ttl: 1s", /agent_ttl: expected a duration.* from .* to .*, got 1s /],
    [
      "a size without a unit",
      "audit: { max_size: 100 }",
      /audit\.max_size: expected a size, got 100 \(write a whole number/,
    ],
    ["an enumeration's stranger", "log: { level: loud }", /log\.level: expected trace, debug, .*, got loud/],
    ["a list where a table belongs", "audit: [1]", /audit: expected a table, got a list/],
    ["a key given twice", "ca_ttl: 1h\nca_ttl: 2h", /is not valid YAML: .*unique/],
    ["no table at all", "- 1", /expected a table of settings \(write lines such as/],
    [
      "lifetimes that do not fit together",
      "ca_ttl: 1h\nagent_ttl: 2h",
      /agent_ttl: expected at most ca_ttl.*\(lower it or raise/,
    ],
    ["an unknown plugin", "key_manager: { type: cloud }", /key.manager.*cloud/],
    [
      "a plugin's unknown setting",
      "node_attestors: [{ type: join_token, config: { ttl: 1 } }]",
      /join_token.*ttl/,
    ],
  ])("configuration with %s: exit code 2", async (_, yaml, line) => {
    const config = scratch.at("config.yaml");
    await writeFile(config, `${yaml}\n`);
    const { outcome, connections } = await watchedStart(place, [`--config=${config}`]);
    expectOneLine(outcome, 2, line);
    expect(connections).toBe(0);
  });

  it.each([
    [
      "a file that is not there",
      "absent.yaml",
      /absent\.yaml: cannot be read: ENOENT.*\(name a YAML file that this user can read\)/,
    ],
    ["a folder", ".", /cannot be read: EISDIR.*\(name a YAML file that this user can read\)/],
  ])("a configuration that is %s: exit code 2", async (_, name, line) => {
    const { outcome, connections } = await watchedStart(place, [`--config=${scratch.at(name)}`]);
    expectOneLine(outcome, 2, line);
    expect(connections).toBe(0);
  });

  it.each([
    [
      "--trust-domain=spiffe://example.org",
      /--trust-domain: expected a trust domain name, got .* \(write a name such as/,
    ],
    ["--listen=127.0.0.1", /--listen: expected host:port, got 127\.0\.0\.1 \(write an address and a port/],
    ["--log-level=loud", /--log-level: expected trace, debug, .* got loud/],
    ["--rate-limit=5", /--rate-limit: expected .*got 5/],
    [
      `--admin-socket=/${"x".repeat(200)}`,
      /--admin-socket: expected the path of a Unix socket, got .*107 bytes/,
    ],
    ["--no-such-flag", /unknown option '--no-such-flag'/],
  ])("the flag %s: exit code 2", async (flag, line) => {
    const { outcome, connections } = await watchedStart(place, [flag]);
    expectOneLine(outcome, 2, line);
    expect(connections).toBe(0);
  });

  it("names every wrong key, one line each", async () => {
    const config = scratch.at("config.yaml");
    await writeFile(config, "ca_ttl: 1\nagent_ttl: 2\nnonsense: 3\n");
    const { code, stderr } = await assay(["server", ...flagsOf(place), `--config=${config}`]);
    expect(code).toBe(2);
    expect(linesOf(stderr)).toHaveLength(3);
  });

  it("a file that this user may not read: exit code 2", async (context) => {
    const stranger = { uid: 65_534, gid: 65_534, cwd: "/" };
    const canRun = process.getuid?.() === 0 && (await run(process.execPath, ["-v"], stranger)).code === 0;
    context.skip(!canRun, "only root can become a user who may not read a file");
    const config = scratch.at("secret.yaml");
    await writeFile(config, "ca_ttl: 1h\n", { mode: 0o600 });
    const outcome = await assay(["server", ...flagsOf(place), `--config=${config}`], stranger);
    expectOneLine(
      outcome,
      2,
      /secret\.yaml: cannot be read: EACCES.*\(name a YAML file that this user can read\)/,
    );
  });

  it("a data folder that others may enter: exit code 1, and the folder keeps its mode", async () => {
    const shared = scratch.at("shared");
    await mkdir(shared);
    await writeFile(`${shared}/theirs`, "");
    await chmod(shared, 0o755);
    const { outcome, connections } = await watchedStart({ ...place, dataDir: shared });
    expectOneLine(outcome, 1, /shared has mode 0755, expected 0700: narrow it with chmod 700/);
    expect(connections).toBe(0);
  });

  it("a data folder that is a file: exit code 1", async () => {
    const file = scratch.at("data-file");
    await writeFile(file, "");
    const { outcome, connections } = await watchedStart({ ...place, dataDir: file });
    expectOneLine(outcome, 1, /data-file.*(EEXIST|ENOTDIR|not a directory)/i);
    expect(connections).toBe(0);
  });

  it.each([
    ["the server API", "address", "webAddress"],
    ["the web", "webAddress", "address"],
  ] as const)("a busy port for %s: exit code 1, before the other one opens", async (_, busy, other) => {
    const [, port = ""] = place[busy].split(":");
    await occupy({ host: "127.0.0.1", port: Number(port) });
    const { outcome, connections } = await watchedStart(place, [], [place[other]]);
    expectOneLine(
      outcome,
      1,
      new RegExp(`cannot listen on 127\\.0\\.0\\.1:${port}: the port is taken .* choose`),
    );
    expect(connections).toBe(0);
  });

  it("a busy admin socket: exit code 1, before a port opens", async () => {
    await occupy({ path: place.adminSocket });
    const [, port = ""] = place.address.split(":");
    await occupy({ host: "127.0.0.1", port: Number(port) });
    // Both are busy: which one is named tells which is looked at first.
    const outcome = await assay(["server", ...flagsOf(place)]);
    expectOneLine(outcome, 1, /server\.sock: another process listens there; stop it or choose another path/);
  });

  it("a file where the admin socket shall be: exit code 1, and the file stays", async () => {
    const adminSocket = scratch.at("not-a-socket");
    await writeFile(adminSocket, "mine");
    const { outcome, connections } = await watchedStart({ ...place, adminSocket });
    expectOneLine(
      outcome,
      1,
      /not-a-socket: the path exists and is not a socket; remove it or choose another/,
    );
    expect(connections).toBe(0);
  });
});

describe("a server beside another one", () => {
  it("refuses the data folder that the other one uses, and leaves the other one alone", async () => {
    await using first = await startServer(await placeServer(scratch, "first"));
    const second = { ...(await placeServer(scratch, "second")), dataDir: first.place.dataDir };
    const { outcome, connections } = await watchedStart(second);
    expectOneLine(
      outcome,
      1,
      /store .* is used by another process: stop that one first, or name another data folder/,
    );
    expect(connections).toBe(0);
    expect((await assay(["healthcheck", `--admin-socket=${first.place.adminSocket}`])).code).toBe(0);
  });

  it("refuses a data folder that was made for another trust domain", async () => {
    const used = await placeServer(scratch, "used");
    await (await startServer(used)).program.stop();
    const { outcome, connections } = await watchedStart(used, ["--trust-domain=other.example"]);
    expectOneLine(outcome, 2, /example\.org/);
    expect(connections).toBe(0);
  });
});

describe("an agent that cannot start says in one line what to mend", () => {
  it.each([
    ["no trust bundle", [], /trust_bundle is missing/],
    [
      "a trust bundle that is not there",
      ["--trust-bundle=absent.pem"],
      /--trust-bundle: expected a readable file, got .*absent\.pem: ENOENT \(name a file/,
    ],
    [
      "an unknown key",
      ["--config=agent.yaml"],
      /agent\.yaml: sokcet: is not a known key \(did you mean socket\?\)/,
    ],
    [
      "a trust bundle that is none",
      ["--trust-bundle=garbage.pem"],
      /trust_bundle .*garbage\.pem: PEM holds no certificate/,
    ],
    ["no such server address", ["--server=nowhere"], /--server: expected host:port, got nowhere/],
  ])("%s: exit code 2", async (_, flags, line) => {
    await writeFile(scratch.at("agent.yaml"), "sokcet: /tmp/x\n");
    await writeFile(scratch.at("garbage.pem"), "garbage\n");
    const agent = placeAgent(scratch, "refused");
    const outcome = await assay(["agent", ...agentFlags(agent, place.address), ...flags], {
      cwd: scratch.path,
    });
    expectOneLine(outcome, 2, line);
  });

  it("a busy socket: exit code 1", async () => {
    const agent = placeAgent(scratch, "busy");
    await occupy({ path: agent.socket });
    await writeFile(scratch.at("bundle.json"), "{}");
    const outcome = await assay([
      "agent",
      ...agentFlags(agent, place.address),
      `--trust-bundle=${scratch.at("bundle.json")}`,
    ]);
    expectOneLine(outcome, 1, /busy\.sock: another process listens there; stop it or choose another path/);
  });
});

describe("being told to stop, and asked for health", () => {
  it("stops server and agent within five seconds while clients hold streams open, and tells health by exit codes", async () => {
    const at = await placeServer(scratch, "stopping");
    const agentAt = placeAgent(scratch, "stopping-agent");
    await using server = await startServer(at);
    const trustBundleFile = await server.trustBundleFile();
    await using agent = await startAgent(agentAt, {
      server: at.address,
      trustBundleFile,
      joinTokenFile: await server.joinTokenFile(),
    });
    for (const socket of [at.adminSocket, agentAt.adminSocket, agentAt.socket]) {
      const healthy = await assay(["healthcheck", `--admin-socket=${socket}`]);
      expect(healthy, socket).toMatchObject({ code: 0, stderr: "" });
    }
    // A conversation that its client never ends.
    using client = adminClient(at);
    const stuck = client.service(AgentSync).watchAuthorizedEntries({});
    const ending = stuck.next().catch((error: unknown) => error);

    const agentStopped = await timed(() => agent.program.stop());
    expect(agentStopped).toMatchObject({ result: { code: 0 } });
    expect(agentStopped.milliseconds).toBeLessThan(5000);
    const serverStopped = await timed(() => server.program.stop());
    expect(serverStopped).toMatchObject({ result: { code: 0 } });
    expect(serverStopped.milliseconds).toBeLessThan(5000);
    await ending;

    for (const socket of [at.adminSocket, agentAt.adminSocket]) {
      expectOneLine(
        await assay(["healthcheck", `--admin-socket=${socket}`]),
        1,
        /nothing answers on .*; is the program running, and is --admin-socket the same\?/,
      );
    }
  });

  it("calls a server that does not answer unhealthy in the time given", async () => {
    const at = await placeServer(scratch, "frozen");
    await using server = await startServer(at);
    server.program.signal("SIGSTOP");
    try {
      const check = await timed(() =>
        assay(["healthcheck", `--admin-socket=${at.adminSocket}`, "--timeout=500ms"]),
      );
      expect(check.result.code).toBe(1);
      expect(linesOf(check.result.stderr)).toHaveLength(1);
    } finally {
      server.program.signal("SIGCONT");
    }
    expect((await assay(["healthcheck", `--admin-socket=${at.adminSocket}`])).code).toBe(0);
  });

  it("calls an agent that has never heard its server alive and not ready", async () => {
    const [port = 0] = await freePorts(1);
    const at = placeAgent(scratch, "lonely");
    const bundle = scratch.at("lonely.pem");
    await using helper = await startServer(await placeServer(scratch, "bundle-maker"));
    await writeFile(bundle, await output("cat", [await helper.trustBundleFile()]));
    const token = scratch.at("lonely-token");
    await writeFile(token, "2f6a5cf5-65c8-4a34-8d1b-9d6b3c4a2b11");
    await using agent = Program.start("lonely", process.execPath, [
      "--disable-warning=ExperimentalWarning",
      "src/main.ts",
      "agent",
      ...agentFlags(at, `127.0.0.1:${port}`),
      `--trust-bundle=${bundle}`,
      `--join-token-file=${token}`,
    ]);
    await agent.line((line) => line.includes("attestation failed, trying again"));
    expectOneLine(await assay(["healthcheck", `--admin-socket=${at.adminSocket}`]), 1, /not ready/);
    expect((await timed(() => agent.stop())).milliseconds).toBeLessThan(5000);
  });

  it.each([["--no-such-flag"], ["--timeout=5"], ["--output=xml"]])(
    "calls %s of healthcheck wrong usage: exit code 2",
    async (flag) => {
      const outcome = await assay(["healthcheck", flag]);
      expect(outcome.code).toBe(2);
      expect(linesOf(outcome.stderr)).toHaveLength(1);
    },
  );
});

function flagsOf(at: ServerPlace): readonly string[] {
  return [
    `--trust-domain=${TRUST_DOMAIN}`,
    `--data-dir=${at.dataDir}`,
    `--listen=${at.address}`,
    `--web-listen=${at.webAddress}`,
    `--admin-socket=${at.adminSocket}`,
  ];
}

function agentFlags(at: ReturnType<typeof placeAgent>, server: string): readonly string[] {
  return [
    `--trust-domain=${TRUST_DOMAIN}`,
    `--server=${server}`,
    `--data-dir=${at.dataDir}`,
    `--socket=${at.socket}`,
    `--admin-socket=${at.adminSocket}`,
  ];
}

/** Starts a server that must not start, knocking at its doors all the while. */
async function watchedStart(
  at: ServerPlace,
  flags: readonly string[] = [],
  doors: readonly string[] = [at.address, at.webAddress],
) {
  const ended = new AbortController();
  const knocking = Promise.all(doors.map((address) => knock(address, ended.signal)));
  const outcome = await assay(["server", ...flagsOf(at), ...flags]);
  ended.abort();
  const connections = (await knocking).reduce((sum, count) => sum + count, 0);
  return { outcome, connections };
}

/** Connects again and again; gives how often somebody was there. */
async function knock(address: string, until: AbortSignal): Promise<number> {
  const [host = "", port = ""] = address.split(":");
  let answered = 0;
  while (!until.aborted) {
    answered += await new Promise<number>((resolve) => {
      const socket = createConnection({ host, port: Number(port) });
      socket.once("connect", () => {
        socket.destroy();
        resolve(1);
      });
      // A refusal comes at once; without a pause the knocking would be all that this machine does.
      socket.once("error", () => setTimeout(resolve, 2, 0));
    });
  }
  return answered;
}

async function occupy(where: { host: string; port: number } | { path: string }): Promise<void> {
  const server = createServer((socket) => socket.destroy());
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(where, resolve);
  });
  opened.push(server);
}

function expectOneLine(outcome: Outcome, code: number, line: RegExp): void {
  expect(linesOf(outcome.stderr)).toEqual([expect.stringMatching(line)]);
  expect(outcome.stderr).toMatch(/^assay: /);
  expect(outcome.code).toBe(code);
}

function linesOf(text: string): readonly string[] {
  return text.split("\n").filter((line) => line !== "");
}

async function timed<Result>(action: () => Promise<Result>) {
  const start = performance.now();
  const result = await action();
  return { result, milliseconds: performance.now() - start };
}
