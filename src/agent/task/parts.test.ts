import { ChildProcess } from "node:child_process";
import { createServer, type Server } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { once } from "node:events";
import { createPrivateKey, createPublicKey, X509Certificate } from "node:crypto";
import { chmod, mkdtemp, readdir, readFile, readlink, rm, stat, writeFile } from "node:fs/promises";
import { type AddressInfo, connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { FakeAuthority } from "../../../test/fakes/agent-authority.ts";
import { makeAgentCache } from "../../../test/fakes/agent-cache.ts";
import { FakeClock } from "../../../test/fakes/clock.ts";
import { systemClock } from "../../clock.ts";
import { toPem } from "../../crypto/pem.ts";
import { silentLog } from "../../observe/log.ts";
import { parseAudiences } from "../../spiffe/audience.ts";
import { parseSpiffeId } from "../../spiffe/id.ts";
import { parseTrustDomain } from "../../spiffe/trust-domain.ts";
import { startCommand } from "./child.ts";
import { serverProof } from "./server-trust.ts";
import { jobSurroundings } from "./surroundings.ts";
import { keepSvidFiles } from "./svid-files.ts";
import { makeTaskFolder } from "./task-folder.ts";
import { TaskState } from "./task-state.ts";
import { createWebClient, type WebClient } from "./web-client.ts";

const signal = new AbortController().signal;
const trustDomain = parseTrustDomain("example.org");
let folder: string;
let stack: AsyncDisposableStack;

beforeEach(async () => {
  stack = new AsyncDisposableStack();
  folder = await mkdtemp(join(tmpdir(), "task-"));
  stack.defer(() => rm(folder, { recursive: true }));
});
afterEach(() => stack.disposeAsync());

async function listening(server: Server): Promise<number> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  stack.defer(() => {
    server.closeAllConnections();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

function clientFor(proof: Parameters<typeof createWebClient>[0]["proof"], maxBytes = 1000): WebClient {
  return stack.use(createWebClient({ clock: systemClock, proof, timeout: 2000, maxBytes }));
}

const none = { kind: "web", authorities: [] } as const;

describe("the web client", () => {
  it("follows no redirect, reads no more than it wants, and asks http on this machine alone", async () => {
    const port = await listening(
      createServer((request, response) => {
        if (request.url === "/away") response.writeHead(302, { location: "https://elsewhere.test/" }).end();
        else response.end("x".repeat(2000));
      }),
    );
    const web = clientFor(none);
    const get = (url: string) => web.send({ method: "GET", url, headers: {}, signal });
    expect((await get(`http://127.0.0.1:${port}/away`)).status).toBe(302);
    await expect(get(`http://127.0.0.1:${port}/`)).rejects.toThrowCode(
      "SERVER_UNAVAILABLE",
      /more than 1000/,
    );
    await expect(get("http://assay.example.org/")).rejects.toThrowCode("INVALID_URL", /https/);
    await expect(get("ftp://127.0.0.1/")).rejects.toThrowCode("INVALID_URL");
    await expect(get("nonsense")).rejects.toThrowCode("INVALID_URL");
    await expect(get("https://127.0.0.1:1/")).rejects.toThrowCode("SERVER_UNAVAILABLE", /ECONNREFUSED/);
  });

  it("gives up in time, and at once where nobody waits any more", async () => {
    const port = await listening(createServer(() => {}));
    const url = `http://127.0.0.1:${port}/`;
    const clock = new FakeClock();
    using web = createWebClient({ clock, proof: none, timeout: 2000, maxBytes: 10 });
    const sending = web.send({ method: "GET", url, headers: {}, signal });
    sending.catch(() => {});
    await clock.advance(2000);
    await expect(sending).rejects.toThrowCode("SERVER_UNAVAILABLE", /no answer within 2000 ms/);
    const gone = new AbortController();
    const second = web.send({ method: "GET", url, headers: {}, signal: gone.signal });
    gone.abort(new Error("gone"));
    await expect(second).rejects.toThrow("gone");
  });

  it.each([
    ["spiffe://example.org/spire/server", true],
    ["spiffe://example.org/spire/agent/x", false],
    ["spiffe://example.org/web", false],
  ])("believes %s by the bundle: %s", async (id, believed) => {
    const authority = await FakeAuthority.create(trustDomain, systemClock);
    const { certificate, privateKey } = authority.credential(parseSpiffeId(id));
    const port = await listening(
      createTlsServer(
        {
          cert: toPem("CERTIFICATE", certificate),
          key: privateKey.export({ format: "pem", type: "pkcs8" }),
        },
        (_request, response) => response.end("hello"),
      ),
    );
    const file = join(folder, "bundle.pem");
    await writeFile(file, toPem("CERTIFICATE", authority.certificate));
    const web = clientFor(await serverProof({ kind: "bundle", path: file }, systemClock));
    const url = `https://127.0.0.1:${port}/`;
    const sending = web.send({ method: "GET", url, headers: {}, signal });
    if (believed) expect((await sending).body.toString()).toBe("hello");
    else await expect(sending).rejects.toThrowCode("SERVER_UNAVAILABLE", /is not the ID of a server/);
    // The web's authorities know nothing of it.
    const other = clientFor(await serverProof({ kind: "system" }, systemClock));
    await expect(other.send({ method: "GET", url, headers: {}, signal })).rejects.toThrowCode(
      "SERVER_UNAVAILABLE",
    );
  });

  it("goes through the proxy of the environment, and believes no less through it", async () => {
    const authority = await FakeAuthority.create(trustDomain, systemClock);
    const { certificate, privateKey } = authority.credential(
      parseSpiffeId("spiffe://example.org/spire/server"),
    );
    const keyAndChain = {
      cert: toPem("CERTIFICATE", certificate),
      key: privateKey.export({ format: "pem", type: "pkcs8" }),
    };
    const server = await listening(
      createTlsServer(keyAndChain, (_request, response) => response.end("hello")),
    );
    const tunnels: string[] = [];
    const proxy = createServer().on("connect", (request, socket) => {
      tunnels.push(request.url ?? "");
      const onward = connect(server, "127.0.0.1", () => {
        socket.write("HTTP/1.1 200 OK\r\n\r\n");
        onward.pipe(socket).pipe(onward);
      });
      onward.on("error", () => socket.destroy());
      socket.on("error", () => onward.destroy());
    });
    const variables = {
      HTTPS_PROXY: `http://127.0.0.1:${await listening(proxy)}`,
      NO_PROXY: "direct.invalid",
    };
    const send = (proof: Parameters<typeof createWebClient>[0]["proof"], url: string) => {
      const options = { clock: systemClock, proof, timeout: 5000, maxBytes: 10, proxy: variables };
      return stack.use(createWebClient(options)).send({ method: "GET", url, headers: {}, signal });
    };
    const file = join(folder, "bundle.pem");
    await writeFile(file, toPem("CERTIFICATE", authority.certificate));
    const good = await serverProof({ kind: "bundle", path: file }, systemClock);
    expect((await send(good, "https://assay.test/")).body.toString()).toBe("hello");
    expect(tunnels).toEqual(["assay.test:443"]);
    await expect(send(none, "https://assay.test/")).rejects.toThrowCode("SERVER_UNAVAILABLE");
    expect((await send(good, `https://127.0.0.1:${server}/`)).status).toBe(200);
    await expect(send(good, "https://direct.invalid/")).rejects.toThrowCode("SERVER_UNAVAILABLE");
    expect(tunnels).toHaveLength(2);
  });

  it("refuses files that say nothing", async () => {
    const file = join(folder, "empty");
    await writeFile(file, "");
    for (const kind of ["bundle", "caFile"] as const) {
      await expect(serverProof({ kind, path: file }, systemClock)).rejects.toThrowCode(
        "CONFIG_INVALID",
        file,
      );
      await expect(serverProof({ kind, path: `${file}2` }, systemClock)).rejects.toThrowCode(
        "CONFIG_INVALID",
      );
    }
  });
});

describe("what a job can reach", () => {
  const surroundings = (variables: Readonly<Record<string, string>> = {}) =>
    jobSurroundings({ PATH: folder, ...variables }, { send: () => Promise.reject(new Error("unused")) });

  it("is programs, which see the job's variables, and whose words are not repeated where they fail", async () => {
    const program = async (name: string, text: string) => {
      await writeFile(join(folder, name), `#!/bin/sh\n${text}\n`);
      await chmod(join(folder, name), 0o700);
    };
    await program("good", 'echo "$1 $MINE"');
    await program("bad", "echo secret; echo secret >&2; exit 3");
    const job = surroundings({ MINE: "mine" });
    expect(await job.run("good", ["one"], signal)).toBe("one mine\n");
    const failing = job.run("bad", ["--audience", "x"], signal);
    await expect(failing).rejects.toThrowCode("REMOTE_UNAVAILABLE", /^bad gave no token \(exit status 3\)$/);
    await failing.catch((error: unknown) => expect((error as Error).cause).toBeUndefined());
    await expect(job.run("absent", [], signal)).rejects.toThrowCode("CONFIG_INVALID", /not on the PATH/);
  });

  it("is endpoints, where another attempt may help unless they may not be asked at all", async () => {
    const web = createWebClient({ clock: systemClock, proof: none, timeout: 2000, maxBytes: 10 });
    const job = jobSurroundings({}, stack.use(web));
    const ask = (url: string) => job.ask({ method: "GET", url, headers: {} }, signal);
    await expect(ask("http://ghes.internal/token")).rejects.toThrowCode("CONFIG_INVALID", /https scheme/);
    await expect(ask("https://127.0.0.1:1/")).rejects.toThrowCode("REMOTE_UNAVAILABLE");
  });

  it("is files of a sensible size", async () => {
    const file = join(folder, "token");
    await writeFile(file, "a.b.c");
    expect(await surroundings().readFile(file)).toBe("a.b.c");
    await writeFile(file, "x".repeat(70_000));
    await expect(surroundings().readFile(file)).rejects.toThrowCode("CONFIG_INVALID", file);
  });
});

describe("a private folder", () => {
  it("is made in the first place that is there, for this user alone, and removed", async () => {
    const made = await makeTaskFolder([undefined, "relative", join(folder, "absent"), folder, tmpdir()]);
    expect(made.socket.startsWith(`${folder}/assay-task-`)).toBe(true);
    expect((await stat(made.path)).mode & 0o777).toBe(0o700);
    await made[Symbol.asyncDispose]();
    expect(await readdir(folder)).toEqual([]);
  });

  it("is made elsewhere where a socket's path would be too long", async () => {
    await using made = await makeTaskFolder([join(folder, "x".repeat(100)), folder.padEnd(101, "/")]);
    expect(made.socket.length).toBeLessThan(107);
  });

  it("is made in the last place that can be written to, or the first that cannot is named", async () => {
    const file = join(folder, "file");
    await writeFile(file, "");
    // Where even root may not write.
    await using made = await makeTaskFolder(["/proc"], [file, "/sys", folder]);
    expect(made.path.startsWith(`${folder}/assay-task-`)).toBe(true);
    await expect(makeTaskFolder(["/proc"], ["/sys"])).rejects.toThrowCode(
      "FILE_UNAVAILABLE",
      /private folder in \/proc/,
    );
  });
});

describe("a command", () => {
  it("has these variables alone, and its status is that of a shell", async () => {
    const out = join(folder, "env");
    const command = await startCommand(["/bin/sh", "-c", `env > ${out}; exit 5`], { A: "1", B: undefined });
    expect("status" in command && (await command.status)).toBe(5);
    const env = await readFile(out, "utf8");
    expect(env).toContain("A=1\n");
    expect(env).not.toMatch(/^(B|HOME)=/m);
  });

  it("is not started where it is not there or may not be run", async () => {
    expect(await startCommand([join(folder, "absent")], {})).toMatchObject({ status: 127 });
    await writeFile(join(folder, "plain"), "text");
    expect(await startCommand([join(folder, "plain")], {})).toMatchObject({ status: 126 });
  });

  it.each([
    ["an empty name", () => [""], 127],
    ["a file in the place of a folder", () => [join(folder, "plain", "command")], 126],
    ["more arguments than the system takes", () => ["true", "x".repeat(200_000)], 126],
    ["a name that is too long", () => ["x".repeat(5000)], 126],
  ])("is not started with %s, and the status is that of a shell", async (_what, command, status) => {
    await writeFile(join(folder, "plain"), "text");
    expect(await startCommand(command(), { PATH: "/usr/bin:/bin" })).toMatchObject({
      status,
      failure: { code: "USAGE" },
    });
  });

  it("outlives a signal that may not be sent to it", async () => {
    const command = await startCommand(["/bin/sleep", "60"], {});
    if ("failure" in command) throw command.failure;
    // What Node does where kill(2) says EPERM, as for a program of another user.
    const kill = vi.spyOn(ChildProcess.prototype, "kill").mockImplementationOnce(function refuse(
      this: ChildProcess,
    ) {
      return this.emit("error", new Error("kill EPERM"));
    });
    expect(() => command.forward("SIGTERM")).not.toThrow();
    kill.mockRestore();
    command.forward("SIGKILL");
    expect(await command.status).toBe(137);
  });
});

describe("SVIDs as files", () => {
  it("change in one step when they are renewed, and the key stays that of the certificate", async () => {
    const clock = systemClock;
    const authority = await FakeAuthority.create(trustDomain, clock);
    const id = parseSpiffeId("spiffe://example.org/ci/1");
    let ttl = 1;
    const cache = stack.use(
      makeAgentCache({
        signer: {
          signX509: async (requests) => requests.map(({ csr }) => ({ chain: authority.issue(csr, id, ttl) })),
          signJwt: async (_entry, audience) => authority.jwtSvid(id, audience, 300),
          signWit: async () => [],
        },
        clock,
        maxJwtSvids: 10,
      }),
    );
    const bundles = { bundles: new Map([[trustDomain, authority.bundle()]]), crls: new Map() };
    cache.apply(
      new TaskState(trustDomain).update(
        { identities: [{ spiffeId: id, hint: "", svidKeyType: "" }] },
        bundles,
      ),
    );
    const [entry] = cache.table.entries.values();
    const [audience] = parseAudiences(["vault"]);
    if (entry === undefined || audience === undefined) throw new Error("nothing to keep");
    const jwts = new Map([["vault.jwt", audience]]);
    const kept = await keepSvidFiles(
      { folder, cache, entry, x509: true, jwts, clock, spread: () => 0.5, log: silentLog, until: signal },
      signal,
    );
    const read = async () => {
      const leaf = new X509Certificate(await readFile(join(folder, "svid.pem")));
      const key = createPrivateKey(await readFile(join(folder, "key.pem")));
      return { leaf, fits: leaf.publicKey.equals(createPublicKey(key)) };
    };
    const first = await read();
    expect(first.fits).toBe(true);
    expect(await readFile(join(folder, "bundle.pem"), "utf8")).toBe(
      toPem("CERTIFICATE", authority.certificate),
    );
    expect((await readFile(join(folder, "vault.jwt"), "utf8")).split(".")).toHaveLength(3);
    const before = await readlink(join(folder, "..data"));
    ttl = 300;
    let next = first;
    while (next.leaf.serialNumber === first.leaf.serialNumber) {
      await new Promise((resolve) => setTimeout(resolve, 50));
      next = await read();
    }
    // The look that saw the new certificate may have seen the old key: both were read one after the other.
    expect((await read()).fits).toBe(true);
    expect(await readlink(join(folder, "..data"))).not.toBe(before);
    await kept[Symbol.asyncDispose]();
    expect((await readdir(folder)).filter((name) => /^\.\.\d/.test(name))).toHaveLength(1);
  });

  it("are asked for no more once the task is over", async () => {
    const clock = new FakeClock();
    const authority = await FakeAuthority.create(trustDomain, clock);
    const id = parseSpiffeId("spiffe://example.org/ci/1");
    let signed = 0;
    const cache = stack.use(
      makeAgentCache({
        signer: {
          signX509: async () => [],
          async signJwt(_entry, audience) {
            signed++;
            return authority.jwtSvid(id, audience, 150);
          },
          signWit: async () => [],
        },
        clock,
        maxJwtSvids: 10,
      }),
    );
    const bundles = { bundles: new Map([[trustDomain, authority.bundle()]]), crls: new Map() };
    cache.apply(
      new TaskState(trustDomain).update(
        { identities: [{ spiffeId: id, hint: "", svidKeyType: "" }] },
        bundles,
      ),
    );
    const [entry] = cache.table.entries.values();
    const [audience] = parseAudiences(["vault"]);
    if (entry === undefined || audience === undefined) throw new Error("nothing to keep");
    const over = new AbortController();
    const options = { folder, cache, entry, x509: false, jwts: new Map([["vault.jwt", audience]]), clock };
    await using _kept = await keepSvidFiles(
      { ...options, spread: () => 0.5, log: silentLog, until: over.signal },
      signal,
    );
    expect(signed).toBe(1);
    over.abort();
    await clock.advance(200_000);
    expect(signed).toBe(1);
  });
});
