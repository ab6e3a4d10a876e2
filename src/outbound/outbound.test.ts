import { X509Certificate } from "node:crypto";
import { afterEach, describe, expect, it, vi } from "vitest";
import { makeCa, makeCredential, RemoteServer } from "../../test/fakes/remote-server.ts";
import { type Clock, systemClock } from "../clock.ts";
import { addressRules, parseAddressBlock } from "./address-rules.ts";
import { parseHttpsUrl } from "./https-url.ts";
import { createOutbound, type OutboundRequest } from "./outbound.ts";
import type { ServerProof } from "./server-proof.ts";

const CA = makeCa("the web's");
const CREDENTIAL = makeCredential(CA, { dnsNames: ["b.example", "c.example"] });
const WEB: ServerProof = { kind: "web", authorities: [CA.pem] };
const servers: RemoteServer[] = [];

afterEach(async () => {
  vi.unstubAllEnvs();
  await Promise.all(servers.splice(0).map((server) => server[Symbol.asyncDispose]()));
});

describe("asking a server", () => {
  it("gives the body of a 200 and says whom it asked, whatever the media type", async () => {
    const server = await remote((_request, response) => {
      response.setHeader("content-type", "text/html");
      response.end("the bundle");
    });
    const answer = await ask(server, "/bundle?x=1");
    expect(Buffer.from(answer.body).toString()).toBe("the bundle");
    expect(answer).toMatchObject({
      address: "127.0.0.1",
      redirects: 0,
      url: `https://b.example:${server.port}/bundle?x=1`,
    });
    expect(server.requests).toEqual(["GET /bundle?x=1"]);
  });

  it("sends nothing that identifies or authorises it, and heeds no proxy of the environment", async () => {
    for (const name of ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "ALL_PROXY"]) {
      vi.stubEnv(name, "http://u:secret@127.0.0.1:1/");
    }
    vi.stubEnv("NODE_USE_ENV_PROXY", "1");
    const server = await remote("ok");
    await ask(server);
    expect(Object.keys(server.headers).toSorted()).toEqual([
      "accept",
      "accept-encoding",
      "connection",
      "host",
      "user-agent",
    ]);
  });

  it.each([201, 204, 301, 304, 400, 404, 500, 503])("refuses status %i", async (status) => {
    const server = await remote((_request, response) => void response.writeHead(status).end());
    await expect(ask(server)).rejects.toThrowCode("REMOTE_UNAVAILABLE", new RegExp(`status ${status}`));
  });

  it("refuses an answer that was packed though nobody asked for it", async () => {
    const server = await remote((_request, response) => {
      response.writeHead(200, { "content-encoding": "gzip" }).end(Buffer.alloc(10));
    });
    await expect(ask(server)).rejects.toThrowCode("REMOTE_UNAVAILABLE", /encoding/);
  });

  it("says that nobody listens", async () => {
    const server = await remote("gone");
    const { port } = server;
    await server[Symbol.asyncDispose]();
    servers.length = 0;
    await expect(get(`https://b.example:${port}/`)).rejects.toThrowCode(
      "REMOTE_UNAVAILABLE",
      /b\.example at 127\.0\.0\.1:\d+ cannot be connected to.*ECONNREFUSED/,
    );
  });
});

describe("bounds on an answer", () => {
  it.each(["announced", "streamed"])("refuses a body larger than allowed, %s", async (how) => {
    let sent = 0;
    const server = await remote((_request, response) => {
      if (how === "announced") response.setHeader("content-length", String(10 ** 9));
      const pour = () => {
        while (!response.destroyed && response.write(Buffer.alloc(65_536))) sent += 65_536;
        if (!response.destroyed) response.once("drain", pour);
      };
      pour();
    });
    await expect(ask(server, "/", { maxBytes: 100_000 })).rejects.toThrowCode(
      "REMOTE_UNAVAILABLE",
      /more than 100000 bytes/,
    );
    expect(sent).toBeLessThan(32 * 1024 * 1024);
  });

  it("takes a body of just the size allowed", async () => {
    const server = await remote("x".repeat(1000));
    expect((await ask(server, "/", { maxBytes: 1000 })).body).toHaveLength(1000);
  });

  it("refuses headers without end", async () => {
    const server = await remote((_request, response) => {
      response.writeHead(200, { "x-long": "a".repeat(20_000) }).end("ok");
    });
    await expect(ask(server)).rejects.toThrowCode("REMOTE_UNAVAILABLE", /did not answer/);
  });

  it("refuses an answer that breaks off", async () => {
    const server = await remote((_request, response) => {
      response.writeHead(200, { "content-length": "100" });
      response.write("half");
      setImmediate(() => response.destroy());
    });
    await expect(ask(server)).rejects.toThrowCode("REMOTE_UNAVAILABLE");
  });

  it.each([
    ["switches protocols", "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\nx"],
    ["speaks another protocol", "220 mail.example ESMTP\r\n"],
    ["says nothing but early words", "HTTP/1.1 103 Early Hints\r\n\r\n"],
  ])("refuses a server that %s, or gives up on it in time", async (_, bytes) => {
    const server = await remote((_request, { socket }) => void socket?.write(bytes));
    const asked = ask(server, "/", { timeout: 500 });
    const late = new Promise((_resolve, reject) => {
      setTimeout(() => reject(new Error("still waiting")), 3000).unref();
    });
    await expect(Promise.race([asked, late])).rejects.toThrowCode("REMOTE_UNAVAILABLE");
  });

  it.each(["silent", "dripping"])("gives up on a %s server when the time is over", async (how) => {
    const deadline = manualClock();
    const arrived = Promise.withResolvers<void>();
    const server = await remote((_request, response) => {
      if (how === "dripping") response.writeHead(200).write("a");
      arrived.resolve();
    });
    const asking = ask(server, "/", { timeout: 5000 }, deadline);
    await arrived.promise;
    deadline.strike();
    await expect(asking).rejects.toThrowCode("REMOTE_UNAVAILABLE", /within 5000 ms/);
  });

  it("gives up on a resolver that never answers, and when it is told to", async () => {
    const deadline = manualClock();
    const silent = createOutbound({
      clock: deadline,
      addresses: addressRules([]),
      resolve: () => new Promise(() => {}),
    });
    const asking = silent.get(requestOf("https://b.example/"));
    deadline.strike();
    await expect(asking).rejects.toThrowCode("REMOTE_UNAVAILABLE", /within/);
    const cancelled = silent.get({ ...requestOf("https://b.example/"), signal: AbortSignal.abort() });
    await expect(cancelled).rejects.toThrowCode("REMOTE_UNAVAILABLE", /cancelled/);
  });
});

describe("addresses", () => {
  it.each([
    ["https://b.example/", ["10.0.0.1"], /b\.example resolves to 10\.0\.0\.1/],
    ["https://metadata.example/", ["169.254.169.254", "fe80::1"], /169\.254\.169\.254/],
    ["https://127.0.0.1/", [], /127\.0\.0\.1, which is not a public address/],
    ["https://0x7f000001/", [], /127\.0\.0\.1/],
    ["https://2130706433/", [], /127\.0\.0\.1/],
    ["https://[::1]/", [], /::1/],
    ["https://[::ffff:127.0.0.1]/", [], /7f00/],
  ])("%s is not connected to", async (url, resolved, reason) => {
    const outbound = createOutbound({
      clock: systemClock,
      addresses: addressRules([]),
      resolve: async () => resolved,
    });
    await expect(outbound.get(requestOf(url))).rejects.toThrowCode("REMOTE_UNAVAILABLE", reason);
  });

  it("takes those that are permitted of a name that has others, too", async () => {
    const server = await remote("ok");
    const answer = await get(
      `https://b.example:${server.port}/`,
      {},
      { resolve: async () => ["10.9.9.9", "127.0.0.1"] },
    );
    expect(answer.address).toBe("127.0.0.1");
  });

  it("asks a name's next address where nobody listens at the first", async () => {
    const server = await remote("ok");
    const answer = await get(
      `https://b.example:${server.port}/`,
      {},
      { resolve: async () => ["127.0.0.9", "127.0.0.1"] },
    );
    expect(answer.address).toBe("127.0.0.1");
  });

  it("resolves once, so that a name that changes its answer gains nothing", async () => {
    const server = await remote("ok");
    const answers = [["127.0.0.1"], ["169.254.169.254"]];
    let asked = 0;
    const answer = await get(
      `https://b.example:${server.port}/`,
      {},
      { resolve: async () => answers[asked++] ?? [] },
    );
    expect(answer.address).toBe("127.0.0.1");
    expect(asked).toBe(1);
  });

  it("says that a name cannot be resolved or has no address", async () => {
    const missing = async () => {
      throw Object.assign(new Error("no"), { code: "ENOTFOUND" });
    };
    await expect(get("https://b.example/", {}, { resolve: missing })).rejects.toThrowCode(
      "REMOTE_UNAVAILABLE",
      /cannot be resolved \(ENOTFOUND\)/,
    );
    await expect(get("https://b.example/", {}, { resolve: async () => [] })).rejects.toThrowCode(
      "REMOTE_UNAVAILABLE",
      /no address/,
    );
  });
});

describe("redirects", () => {
  it.each([301, 302, 303, 307, 308])("are followed with status %i, and not remembered", async (status) => {
    const target = await remote("there");
    const server = await remote((_request, response) => {
      response.writeHead(status, { location: `https://c.example:${target.port}/x` }).end();
    });
    for (let round = 1; round <= 2; round++) {
      const answer = await ask(server);
      expect(Buffer.from(answer.body).toString()).toBe("there");
      expect(answer).toMatchObject({ redirects: 1, url: `https://c.example:${target.port}/x` });
      expect(server.requests).toHaveLength(round);
    }
  });

  it("are followed so many times and no more, and not at all where they are off", async () => {
    const server = await remote((request, response) => {
      const left = Number((request.url ?? "").slice(1));
      if (left > 0) response.writeHead(302, { location: `/${left - 1}` });
      response.end("ok");
    });
    expect((await ask(server, "/3")).redirects).toBe(3);
    await expect(ask(server, "/4")).rejects.toThrowCode("REMOTE_UNAVAILABLE", /more than 3 times/);
    await expect(ask(server, "/1", { maxRedirects: 0 })).rejects.toThrowCode(
      "REMOTE_UNAVAILABLE",
      /not followed/,
    );
  });

  it.each(["http://c.example/", "https://u:p@c.example/", "file:///etc/passwd", "https://"])(
    "to %s are not followed",
    async (location) => {
      const server = await remote((_request, response) => void response.writeHead(302, { location }).end());
      await expect(ask(server)).rejects.toThrowCode("REMOTE_UNAVAILABLE", /redirects to a URL/);
    },
  );

  it("to an address that is not permitted are not followed", async () => {
    const server = await remote((_request, response) => {
      response.writeHead(302, { location: "https://169.254.169.254/latest/meta-data" }).end();
    });
    await expect(ask(server)).rejects.toThrowCode("REMOTE_UNAVAILABLE", /169\.254\.169\.254/);
  });

  it("to a server whose certificate is not accepted are not followed", async () => {
    const other = makeCa("nobody's");
    const target = await remote("there", makeCredential(other, { dnsNames: ["c.example"] }));
    const server = await remote((_request, response) => {
      response.writeHead(302, { location: `https://c.example:${target.port}/` }).end();
    });
    await expect(ask(server)).rejects.toThrowCode("REMOTE_UNAVAILABLE", /c\.example.*is not accepted/);
    expect(target.received).toBe(0);
  });
});

describe("a server's proof by the web's authorities", () => {
  it.each([
    [
      "of an authority that is not trusted",
      makeCredential(makeCa("other"), { dnsNames: ["b.example"] }),
      /accepted/,
    ],
    ["for another name", makeCredential(CA, { dnsNames: ["x.example"] }), /does not match/],
    ["for a SPIFFE ID alone", makeCredential(CA, { uris: ["spiffe://b.example/spire/server"] }), /not match/],
    [
      "that has expired",
      makeCredential(CA, { dnsNames: ["b.example"], notAfter: 1_700_000_100, notBefore: 1_700_000_000 }),
      /expired/,
    ],
  ])("does not hold with a certificate %s, and nothing is sent", async (_what, credential, reason) => {
    const server = await remote("ok", credential);
    await expect(ask(server)).rejects.toThrowCode("REMOTE_UNAVAILABLE", reason);
    expect(server.requests).toEqual([]);
    expect(server.received).toBe(0);
  });

  it("does not hold over TLS 1.1", async () => {
    const server = await remote("ok", {
      ...CREDENTIAL,
      minVersion: "TLSv1",
      maxVersion: "TLSv1.1",
      ciphers: "ALL@SECLEVEL=0",
    });
    await expect(ask(server)).rejects.toThrowCode("REMOTE_UNAVAILABLE", /not accepted/);
  });
});

describe("a server's proof by a chain", () => {
  it("is judged by the function that is handed the chain, leaf first, before anything is sent", async () => {
    const intermediate = makeCa("intermediate", { issuer: CA });
    const credential = makeCredential(intermediate, { uris: ["spiffe://b.example/x"] }, [intermediate]);
    const server = await remote("ok", credential);
    const seen: string[] = [];
    const proof: ServerProof = {
      kind: "chain",
      authorities: [CA.certificate.der],
      verify: (chain) => seen.push(...chain.map((der) => new X509Certificate(der).subject)),
    };
    expect((await ask(server, "/", { proof })).body).toHaveLength(2);
    expect(seen.slice(0, 2)).toEqual(["CN=server", "CN=intermediate"]);
    const refusing: ServerProof = {
      ...proof,
      verify: () => {
        throw new Error("another SPIFFE ID");
      },
    };
    const before = server.received;
    await expect(ask(server, "/", { proof: refusing })).rejects.toThrowCode(
      "REMOTE_UNAVAILABLE",
      /another SPIFFE ID/,
    );
    expect(server.received).toBe(before);
  });

  it("may end at an intermediate that is an authority itself", async () => {
    const intermediate = makeCa("intermediate", { issuer: CA });
    const server = await remote("ok", makeCredential(intermediate, { uris: ["spiffe://b.example/x"] }));
    const proof: ServerProof = { kind: "chain", authorities: [intermediate.certificate.der], verify() {} };
    expect((await ask(server, "/", { proof })).body).toHaveLength(2);
  });

  it("does not hold where it leads nowhere, whatever the function thinks", async () => {
    const server = await remote("ok");
    const proof: ServerProof = { kind: "chain", authorities: [makeCa("other").certificate.der], verify() {} };
    await expect(ask(server, "/", { proof })).rejects.toThrowCode("REMOTE_UNAVAILABLE", /not accepted/);
    await expect(ask(server, "/", { proof: { ...proof, authorities: [] } })).rejects.toThrowCode(
      "REMOTE_UNAVAILABLE",
    );
    expect(server.received).toBe(0);
  });
});

async function remote(
  answer: Parameters<typeof RemoteServer.start>[1],
  credential: Parameters<typeof RemoteServer.start>[0] = CREDENTIAL,
): Promise<RemoteServer> {
  const server = await RemoteServer.start(credential, answer);
  servers.push(server);
  return server;
}

function ask(
  server: RemoteServer,
  path = "/",
  change: Partial<OutboundRequest> = {},
  clock: Clock = systemClock,
) {
  return get(`https://b.example:${server.port}${path}`, change, { clock });
}

function get(
  url: string,
  change: Partial<OutboundRequest> = {},
  options: { clock?: Clock; resolve?: (host: string) => Promise<readonly string[]> } = {},
) {
  const addresses = addressRules([parseAddressBlock("127.0.0.0/8")]);
  const outbound = createOutbound({
    clock: systemClock,
    addresses,
    resolve: async () => ["127.0.0.1"],
    ...options,
  });
  return outbound.get({ ...requestOf(url), ...change });
}

function requestOf(url: string): OutboundRequest {
  return { url: parseHttpsUrl(url), proof: WEB, maxRedirects: 3, maxBytes: 1024 * 1024, timeout: 20_000 };
}

/** A clock whose one wake-up comes when it is told to. */
function manualClock(): Clock & { strike(): void } {
  let waiting: (() => void) | undefined;
  return {
    now: () => systemClock.now(),
    schedule(_milliseconds, callback) {
      waiting = callback;
      return { [Symbol.dispose]: () => (waiting = undefined) };
    },
    strike: () => waiting?.(),
  };
}
