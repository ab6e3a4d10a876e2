import { createHmac, randomUUID } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, describe, expect, it } from "vitest";
import { fetchKeys } from "../../../src/attestation/task/oidc/load-keys.ts";
import { systemClock } from "../../../src/clock.ts";
import { addressRules, parseAddressBlock } from "../../../src/outbound/address-rules.ts";
import { createOutbound } from "../../../src/outbound/outbound.ts";
import { jwksOf } from "../../fakes/ci-tokens.ts";
import { type JobAnswer, JOB_ISSUER, sendTo } from "../../fakes/job.ts";
import { makeCa, makeCredential, RemoteServer } from "../../fakes/remote-server.ts";
import { INSTANCE, TaskServer, WEBHOOK_SECRET } from "../../fakes/task-server.ts";

// A real server whose platform's issuer is in the hands of an attacker, or whose name's resolution is.

const CA = makeCa("the web's");
const CREDENTIAL = makeCredential(CA, { dnsNames: ["localhost", "issuer.example"] });
const folder = mkdtempSync(join(tmpdir(), "assay-issuers-"));
const caFile = join(folder, "ca.pem");
writeFileSync(caFile, CA.pem);
const cleanup: AsyncDisposable[] = [];

afterEach(async () => {
  for (const one of cleanup.splice(0).toReversed()) await one[Symbol.asyncDispose]();
});
afterAll(() => rmSync(folder, { recursive: true }));

async function remote(answer: RemoteServer["answer"] | string = ""): Promise<RemoteServer> {
  const one = await RemoteServer.start(CREDENTIAL, answer);
  cleanup.push(one);
  return one;
}

const issuerOf = ({ port }: RemoteServer) => `https://localhost:${port}/_services/token`;

/** A server that asks this issuer for its keys. */
async function asking(issuer: RemoteServer, attestor: Record<string, unknown> = {}): Promise<TaskServer> {
  const server = await TaskServer.start({
    keys: {},
    attestor: {
      issuer: issuerOf(issuer),
      ca_file: caFile,
      allowed_addresses: ["127.0.0.0/8"],
      ...attestor,
    },
  });
  cleanup.push(server);
  await server.taskEntry("/ci/app");
  return server;
}

function honest(server: () => TaskServer): RemoteServer["answer"] {
  return (request, response) => {
    const base = `https://${request.headers.host ?? ""}/_services/token`;
    const document = JSON.stringify({ issuer: base, jwks_uri: `${base}/jwks` });
    response.end(request.url?.endsWith("jwks") === true ? jwksOf(server().platform.jwk()) : document);
  };
}

const tokenOf = (server: TaskServer, issuer: RemoteServer, header: object = {}) =>
  server.token({ iss: issuerOf(issuer) }, header);

/** That asking again may help, and nothing about why: an address or a name of the inside is nobody's business. */
function expectUnavailable(answer: JobAnswer): void {
  expect(answer).toMatchObject({ status: 502, json: { error: "temporarily_unavailable" } });
  expect(answer.text).not.toMatch(/localhost|127\.|169\.254|10\.0|::|secret|redirect|private|status/);
}

describe("the issuer's server", () => {
  it("is believed where it is honest", async () => {
    const issuer = await remote();
    const server = await asking(issuer);
    issuer.answer = honest(() => server);
    expect((await server.job().open(tokenOf(server, issuer))).status).toBe(200);
    expect(issuer.requests).toHaveLength(2);
    // Nothing of ours goes along.
    expect(Object.keys(issuer.headers)).not.toContain("authorization");
    expect(Object.keys(issuer.headers)).not.toContain("cookie");
  });

  it.each([301, 302, 303, 307, 308])("is not followed where it redirects with %i", async (status) => {
    const inner = await remote("secret");
    const issuer = await remote((_request, response) => {
      response.writeHead(status, { location: `https://localhost:${inner.port}/latest/meta-data` }).end();
    });
    const server = await asking(issuer);
    expectUnavailable(await server.job().open(tokenOf(server, issuer)));
    expect(inner.connections).toBe(0);
  });

  it("is waited for a few seconds where it hangs, and nobody else waits", async () => {
    const arrived = Promise.withResolvers<void>();
    const issuer = await remote(() => arrived.resolve());
    const server = await asking(issuer);
    await server.entry("/ci/gl", "/spire/task/gitlab-acme", {
      selectors: [{ type: "gitlab", value: "project-id:20" }],
    });
    const began = performance.now();
    const waiting = server.job().open(tokenOf(server, issuer));
    await arrived.promise;
    const others = performance.now();
    expect((await sendTo(server.door, "GET", "/keys")).status).toBe(200);
    expect((await server.job().open("x.y.z")).status).toBe(400);
    expect(performance.now() - others).toBeLessThan(3000);
    const answer = await waiting;
    expectUnavailable(answer);
    expect(performance.now() - began).toBeLessThan(9000);
  });

  it.each(["openid-configuration", "jwks"])("is cut off where it sends 10 GB as %s", async (where) => {
    let sent = 0;
    const issuer = await remote((request, response) => {
      if (where === "jwks" && request.url?.endsWith("jwks") !== true) {
        honest(() => server)(request, response);
        return;
      }
      const chunk = Buffer.alloc(65_536, " ");
      const more = () => {
        while (sent < 10 * 2 ** 30 && !response.destroyed) {
          sent += chunk.length;
          if (!response.write(chunk)) return;
        }
      };
      response.writeHead(200, { "content-length": String(10 * 2 ** 30) });
      response.on("drain", more);
      more();
    });
    const server: TaskServer = await asking(issuer);
    const before = process.memoryUsage().rss;
    expectUnavailable(await server.job().open(tokenOf(server, issuer)));
    expect(sent).toBeLessThan(32 * 2 ** 20);
    expect(process.memoryUsage().rss - before).toBeLessThan(256 * 2 ** 20);
  });

  it("is not connected to where its name leads to a private address", async () => {
    const issuer = await remote("secret");
    const server = await asking(issuer, { allowed_addresses: [] });
    expectUnavailable(await server.job().open(tokenOf(server, issuer)));
    expect(issuer.connections).toBe(0);
  });

  it.each([
    "https://169.254.169.254/latest/meta-data",
    "https://[::1]/jwks",
    "https://[::ffff:10.0.0.1]/jwks",
    "https://[fd00::1]/jwks",
    "https://2130706433/jwks",
    "https://0x7f.1/jwks",
    "https://user:secret@localhost/jwks",
    "http://localhost/jwks",
    "file:///etc/passwd",
    "https://localhost/jwks#x",
  ])("cannot send us on to %s for its keys", async (jwks) => {
    const inner = await remote("secret");
    const issuer = await remote((request, response) => {
      const base = `https://${request.headers.host ?? ""}/_services/token`;
      response.end(
        JSON.stringify({ issuer: base, jwks_uri: jwks.replace("localhost", `localhost:${inner.port}`) }),
      );
    });
    const server = await asking(issuer, { allowed_addresses: ["127.0.0.1/32"] });
    expectUnavailable(await server.job().open(tokenOf(server, issuer)));
    expect(issuer.requests).toHaveLength(1);
    if (!/2130706433|0x7f/.test(jwks)) expect(inner.connections).toBe(0);
  });

  it("gains nothing by a name that changes its address between the look-ups", async () => {
    const issuer = await remote((request, response) => {
      const base = `https://${request.headers.host ?? ""}`;
      response.end(JSON.stringify({ issuer: base, jwks_uri: `${base}/jwks` }));
    });
    for (const second of ["169.254.169.254", "10.0.0.1", "127.0.0.2", "::1"]) {
      const answers = [["127.0.0.1"], [second]];
      const outbound = createOutbound({
        clock: systemClock,
        addresses: addressRules([parseAddressBlock("127.0.0.1/32")]),
        resolve: async () => answers.shift() ?? [],
      });
      const before = issuer.connections;
      await expect(
        fetchKeys(
          {
            issuer: `https://issuer.example:${issuer.port}`,
            outbound,
            proof: { kind: "web", authorities: [CA.pem] },
          },
          new AbortController().signal,
        ),
      ).rejects.toThrowCode("REMOTE_UNAVAILABLE", /public address/);
      expect(issuer.connections).toBe(before + 1);
    }
  });

  it("is asked once, however many tokens name keys that nobody has", async () => {
    const issuer = await remote();
    const server = await asking(issuer);
    issuer.answer = honest(() => server);
    expect((await server.job().open(tokenOf(server, issuer))).status).toBe(200);
    const before = issuer.requests.length;
    const job = server.job();
    const statuses = await Promise.all(
      Array.from(
        { length: 60 },
        async () => (await job.open(tokenOf(server, issuer, { kid: randomUUID() }))).status,
      ),
    );
    expect(new Set(statuses)).toEqual(new Set([400]));
    expect(issuer.requests.length - before).toBeLessThanOrEqual(2);
    expect((await server.job().open(tokenOf(server, issuer))).status).toBe(200);
  });
});

describe("what strangers send", () => {
  it("never makes the server ask anybody: not a token's URLs, not a message's", async () => {
    const inner = await remote("secret");
    const issuer = await remote();
    const server = await asking(issuer);
    issuer.answer = honest(() => server);
    const url = `https://localhost:${inner.port}/x`;
    const header = { jku: url, x5u: url, jwk: { kty: "RSA" } };
    await server.job().open(server.token({ iss: url }));
    await server.job().open(tokenOf(server, issuer, header));
    await server.job().open(server.token({ iss: issuerOf(issuer), jwks_uri: url, aud: url }));
    expect(issuer.requests).toEqual([]);
    const body = JSON.stringify({
      action: "completed",
      repository: { id: 2000, url },
      workflow_job: {
        run_id: 1,
        run_attempt: 1,
        status: "completed",
        check_run_url: `${url}/check-runs/1`,
        url,
      },
      callback_url: url,
    });
    const signature = createHmac("sha256", WEBHOOK_SECRET).update(body).digest("hex");
    for (const headers of [{}, { "x-hub-signature-256": `sha256=${signature}` }] as Record<
      string,
      string
    >[]) {
      await sendTo(server.door, "POST", `/v1/webhooks/${INSTANCE}`, { headers, body });
    }
    expect(issuer.requests).toEqual([]);
    expect(inner.connections).toBe(0);
  });

  it("never changes what the server calls itself", async () => {
    const issuer = await remote();
    const server = await asking(issuer);
    const disguises: Record<string, string>[] = [
      { "x-forwarded-host": "attacker.example", "x-forwarded-proto": "http", "x-forwarded-port": "80" },
      { forwarded: "host=attacker.example;proto=http" },
      { "x-forwarded-prefix": "/evil", "x-original-host": "attacker.example" },
    ];
    for (const headers of disguises) {
      for (const path of [
        "/.well-known/openid-configuration",
        "/.well-known/oauth-authorization-server",
        "/.well-known/oauth-protected-resource/v1/task",
      ]) {
        const answer = await sendTo(server.door, "GET", path, { headers });
        expect(answer.status).toBe(200);
        expect(answer.text).toContain(JOB_ISSUER);
        expect(answer.text).not.toMatch(/attacker|evil|http:/);
      }
    }
    const host = { host: "attacker.example" };
    expect(
      (await sendTo(server.door, "GET", "/.well-known/openid-configuration", { headers: host })).text,
    ).not.toContain("attacker");
  });
});
