import Fastify, { type FastifyInstance } from "fastify";
import { get as getPlain } from "node:http";
import { type Agent, get as getSecure } from "node:https";
import type { AddressInfo } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { makeAuthority, makeLeaf } from "../../test/fakes/svid-factory.ts";
import { TestX509Source } from "../../test/fakes/x509-source.ts";
import { authorizeAny, authorizeId, authorizeMemberOf } from "./authorize.ts";
import { spiffePeers } from "./fastify.ts";
import { createHttpsAgent } from "./tls-client.ts";
import { createHttpsServer } from "./tls-server.ts";

const root = makeAuthority("factory.test");
const CLIENT = "spiffe://factory.test/client";
const sourceOf = (id: string) =>
  new TestX509Source({ chain: [makeLeaf(id, root)], trust: { "factory.test": [root] } });

const open: FastifyInstance[] = [];
afterEach(async () => {
  for (const app of open.splice(0)) await app.close();
});

async function start(isSecure: boolean): Promise<{ readonly url: string; readonly refusals: string[] }> {
  const refusals: string[] = [];
  const source = sourceOf("spiffe://factory.test/server");
  const app = (
    isSecure
      ? Fastify({
          serverFactory: (handler) => createHttpsServer(source, { authorize: authorizeAny() }, handler),
        })
      : Fastify()
  ) as FastifyInstance;
  open.push(app);
  await app.register(spiffePeers, {
    authorize: authorizeMemberOf("factory.test"),
    onRefused: ({ detail }) => refusals.push(detail),
  });
  app.get("/", (request) => ({ caller: request.spiffeId }));
  app.get("/health", { config: { spiffe: "anyone" } }, (request) => ({ caller: request.spiffeId }));
  app.get("/admin", { config: { spiffe: authorizeId("spiffe://factory.test/admin") } }, () => ({
    never: true,
  }));
  app.get(
    "/broken",
    {
      config: {
        spiffe: () => {
          throw new Error("no list");
        },
      },
    },
    () => ({ never: true }),
  );
  await app.listen({ port: 0, host: "127.0.0.1" });
  const { port } = app.server.address() as AddressInfo;
  return { url: `${isSecure ? "https" : "http"}://127.0.0.1:${port}`, refusals };
}

describe("the plugin for Fastify", () => {
  it("knows callers by their SPIFFE ID, and answers 403 to whom the route does not authorize", async () => {
    const { url, refusals } = await start(true);
    using agent = createHttpsAgent(sourceOf(CLIENT), { authorize: authorizeAny() });
    expect(await ask(`${url}/`, agent)).toMatchObject({ status: 200, body: { caller: CLIENT } });
    expect(await ask(`${url}/health`, agent)).toMatchObject({ status: 200, body: { caller: CLIENT } });
    expect(await ask(`${url}/admin`, agent)).toEqual({
      status: 403,
      type: "application/problem+json; charset=utf-8",
      body: {
        type: "urn:assay:error:PEER_REFUSED",
        title: "The peer is not authorized",
        status: 403,
        code: "PEER_REFUSED",
      },
    });
    expect(await ask(`${url}/broken`, agent)).toMatchObject({ status: 403 });
    expect(await ask(`${url}/nowhere`, agent)).toMatchObject({ status: 404 });
    expect(refusals).toEqual([
      `peer ${CLIENT} is not authorized`,
      `authorizer failed for ${CLIENT}: no list`,
    ]);
  });

  it("gives no name to a caller on a plaintext listener, whatever the request says", async () => {
    const { url, refusals } = await start(false);
    expect(await ask(`${url}/`)).toMatchObject({ status: 403 });
    expect(await ask(`${url}/admin`)).toMatchObject({ status: 403 });
    expect(await ask(`${url}/health`)).toMatchObject({ status: 200, body: { caller: "" } });
    expect(refusals[0]).toBe("the peer has proved no SPIFFE ID");
  });
});

async function ask(url: string, agent?: Agent) {
  const { promise, resolve, reject } = Promise.withResolvers<import("node:http").IncomingMessage>();
  (agent === undefined ? getPlain(url, resolve) : getSecure(url, { agent }, resolve)).on("error", reject);
  const response = await promise;
  const text = (await response.setEncoding("utf8").toArray()).join("");
  return {
    status: response.statusCode,
    type: response.headers["content-type"],
    body: JSON.parse(text) as Record<string, unknown>,
  };
}
