import { inflateSync } from "node:zlib";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { RevocationWorld, type RevocationServer, WORLD } from "../../../test/fakes/revocation-world.ts";
import { unixSeconds } from "../../clock.ts";
import { AssayError } from "../../errors/assay-error.ts";
import { createHttpApp, type HttpApp } from "../../http/http-app.ts";
import type { StatusPlace } from "../../store/task-store.ts";
import { revocationListRoutes } from "./revocation-list-routes.ts";
import { createStatusLists } from "./status-lists.ts";

let world: RevocationWorld;
let server: RevocationServer;
let app: HttpApp;
let failing: AssayError | undefined;
let signatures: number;

beforeEach(async () => {
  world = new RevocationWorld();
  server = await world.server();
  failing = undefined;
  signatures = 0;
  const status = createStatusLists({
    revocation: server.revocation,
    credentials: world.store.credentials,
    signing: {
      signStatusList(order) {
        signatures++;
        return failing === undefined ? server.signing.signStatusList(order) : Promise.reject(failing);
      },
    },
    uriOf: (list) => `https://issuer.example/a/oauth2/status-lists/${list}`,
    clock: world.clock,
  });
  app = await createHttpApp({
    clock: world.clock,
    log: { debug() {}, error() {} },
    requestId: () => "r",
    transport: { kind: "handed-over" },
    openapi: { title: "t", version: "1" },
  });
  const crls = () => server.registry.crls(WORLD);
  revocationListRoutes(app.routes, { lists: { crls, status, path: "/a" } });
});

afterEach(async () => {
  await app[Symbol.asyncDispose]();
  await world[Symbol.asyncDispose]();
});

const get = (url: string, headers: Record<string, string> = {}) =>
  app.routes.inject({ method: "GET", url, headers });

async function revokeToken(id: string, status: StatusPlace): Promise<void> {
  await server.revocation.revoke({ kind: "jwt", id }, "operator", {
    authorityId: "kid",
    spiffeId: `spiffe://${WORLD}/ci` as never,
    entryId: "",
    taskId: "",
    parent: "",
    issuedAt: 0,
    expiresAt: unixSeconds(world.clock) + 600,
    status,
  });
}

/** By nothing but the draft's text: the payload of the token, and the bit of a place. */
function decoded(token: string) {
  const payload = JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString()) as {
    readonly sub: string;
    readonly exp: number;
    readonly iat: number;
    readonly ttl: number;
    readonly status_list: { readonly bits: number; readonly lst: string };
  };
  const octets = inflateSync(Buffer.from(payload.status_list.lst, "base64url"));
  return {
    ...payload,
    bit: (place: number) => ((octets[Math.floor(place / 8)] ?? 0) >> (place % 8)) & 1,
  };
}

describe("GET /crl/{authority}.crl", () => {
  it("gives the list as it is in the store, to pages of any origin", async () => {
    await server.revoke("0badc0de");
    await server.publisher.settle();
    await server.registry.catchUp();
    const answer = await get(`/crl/${server.authorityId}.crl`);
    expect(answer.statusCode).toBe(200);
    expect(answer.headers).toMatchObject({
      "content-type": "application/pkix-crl",
      "cache-control": "public, max-age=5",
      "access-control-allow-origin": "*",
    });
    const [stored] = await world.store.crls.list();
    expect(answer.rawPayload).toEqual(Buffer.from(stored?.crl ?? []));
  });

  it("says that nothing changed to whoever has the list already", async () => {
    await server.revoke("01");
    await server.publisher.settle();
    await server.registry.catchUp();
    const url = `/crl/${server.authorityId}.crl`;
    const etag = String((await get(url)).headers["etag"]);
    const again = await get(url, { "if-none-match": `"other", W/${etag}` });
    expect([again.statusCode, again.body, again.headers["etag"]]).toEqual([304, "", etag]);
    await server.revoke("02");
    const done = server.publisher.settle();
    await world.clock.advance(200);
    await done;
    await server.registry.catchUp();
    expect((await get(url, { "if-none-match": etag })).statusCode).toBe(200);
  });

  it.each(["/crl/aabb.crl", `/crl/${"a".repeat(40)}.crl`])("has no list at %s", async (url) => {
    expect((await get(url)).json()).toMatchObject({ code: "CRL_NOT_FOUND" });
  });

  it.each(["/crl/AA.crl", "/crl/aa", "/crl/..%2f..%2fx.crl", `/crl/${"a".repeat(129)}.crl`])(
    "refuses %s",
    async (url) => {
      expect((await get(url)).statusCode).toBe(400);
    },
  );
});

describe("GET /oauth2/status-lists", () => {
  it("gives the token of a list in which the bits of what was revoked are set, below the issuer's path too", async () => {
    const place = await world.store.credentials.reserveStatus(unixSeconds(world.clock) + 600);
    const other = await world.store.credentials.reserveStatus(unixSeconds(world.clock) + 600);
    const before = decoded((await get("/oauth2/status-lists/0")).body);
    expect([before.bit(place.index), before.bit(other.index)]).toEqual([0, 0]);
    await revokeToken("j", place);
    const answer = await get("/a/oauth2/status-lists/0");
    expect(answer.headers).toMatchObject({
      "content-type": "application/statuslist+jwt",
      "cache-control": "public, max-age=5",
    });
    const after = decoded(answer.body);
    expect([after.bit(place.index), after.bit(other.index)]).toEqual([1, 0]);
    expect(after).toMatchObject({
      sub: "https://issuer.example/a/oauth2/status-lists/0",
      ttl: 5,
      exp: unixSeconds(world.clock) + 900,
      status_list: { bits: 1 },
    });
  });

  it("signs once for many who ask, and anew when something changed or half a minute has passed", async () => {
    const place = await world.store.credentials.reserveStatus(unixSeconds(world.clock) + 600);
    const first = await Promise.all(Array.from({ length: 20 }, () => get("/oauth2/status-lists/0")));
    expect(new Set(first.map(({ body }) => body)).size).toBe(1);
    expect(signatures).toBe(1);
    await revokeToken("j", place);
    await get("/oauth2/status-lists/0");
    expect(signatures).toBe(2);
    await world.clock.advance(30_000);
    await get("/oauth2/status-lists/0");
    expect(signatures).toBe(3);
  });

  it("lists the addresses of all lists, and has no other", async () => {
    expect((await get("/oauth2/status-lists")).json()).toEqual({ status_lists: [] });
    expect((await get("/oauth2/status-lists/0")).json()).toMatchObject({ code: "NOT_FOUND" });
    await world.clock.advance(100);
    await world.store.credentials.reserveStatus(unixSeconds(world.clock) + 600);
    expect((await get("/oauth2/status-lists")).json()).toEqual({
      status_lists: ["https://issuer.example/a/oauth2/status-lists/0"],
    });
    expect((await get("/oauth2/status-lists/1")).statusCode).toBe(404);
    expect((await get("/oauth2/status-lists/01")).statusCode).toBe(400);
    expect((await get("/oauth2/status-lists/-1")).statusCode).toBe(400);
  });

  it("keeps no failure for the next who asks", async () => {
    await world.store.credentials.reserveStatus(unixSeconds(world.clock) + 600);
    failing = new AssayError("KEY_UNAVAILABLE", "away");
    expect((await get("/oauth2/status-lists/0")).statusCode).toBe(503);
    failing = undefined;
    expect((await get("/oauth2/status-lists/0")).statusCode).toBe(200);
  });
});
