import { createLocalJWKSet, decodeProtectedHeader, type JSONWebKeySet, jwtVerify } from "jose";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Bundle } from "../../src/proto/gen/spire/api/server/bundle/v1/bundle_pb.ts";
import { SVID } from "../../src/proto/gen/spire/api/server/svid/v1/svid_pb.ts";
import { adminClient } from "../e2e/admin-rpc.ts";
import { assayJson, placeServer, startServer } from "../e2e/harness.ts";
import { makeFactoryKey } from "../fakes/svid-factory.ts";
import { askWeb } from "./foreign.ts";
import { eventually, firstOf, makeWorld, SECURED, type World } from "./world.ts";

const SELF = "spiffe://example.org/self";
let world: World;

beforeAll(async () => {
  world = await makeWorld();
  await world.createEntry({ path: "/self" });
  await eventually(() => fetchToken(["a"]));
});

afterAll(() => world?.[Symbol.asyncDispose]());

describe("a token", () => {
  it.each(["JS-01", "JS-19"])("%s is in compact serialisation, base64url without padding", async () => {
    expect(await fetchToken(["a"])).toMatch(/^[\w-]+\.[\w-]+\.[\w-]+$/);
  });

  it("JS-02 has alg, kid and typ in its header and nothing else", async () => {
    expect(Object.keys(decodeProtectedHeader(await fetchToken(["a"]))).toSorted()).toEqual([
      "alg",
      "kid",
      "typ",
    ]);
  });

  it("JS-05 names a key that the Workload API has", async () => {
    const { kid } = decodeProtectedHeader(await fetchToken(["a"]));
    expect((await workloadKeys()).keys.map((key) => key.kid)).toContain(kid);
  });

  it("JS-06 is of the type JWT", async () => {
    expect(decodeProtectedHeader(await fetchToken(["a"])).typ).toBe("JWT");
  });

  it("JS-08 is about the workload that asked", async () => {
    const { svids } = await world.api.fetchJWTSVID({ audience: ["a"] }, SECURED);
    expect(svids.map(({ spiffeId }) => spiffeId)).toEqual([SELF]);
    expect(claimsOf(svids[0]?.svid ?? "")["sub"]).toBe(SELF);
  });

  it.each([[["one"]], [["b", "a", "c"]]])(
    "JS-09 is for the audiences %j, in this order",
    async (audience) => {
      expect(claimsOf(await fetchToken(audience))["aud"]).toEqual(audience);
    },
  );

  it("JS-12 is for one audience if one is asked for", async () => {
    const [fetched] = await assayJson<readonly { readonly svid: string }[]>([
      "fetch",
      "jwt",
      "--audience=only",
      `--socket=${world.agent.endpoint}`,
    ]);
    expect(claimsOf(fetched?.svid ?? "")["aud"]).toEqual(["only"]);
  });

  it.each(["JS-14", "JS-17"])("%s has an exp in plain digits", async () => {
    const [, payload = ""] = (await fetchToken(["a"])).split(".");
    const text = Buffer.from(payload, "base64url").toString();
    expect(text).toMatch(/"exp":\d{10}[,}]/);
    expect(text).toMatch(/"iat":\d{10}[,}]/);
  });

  it("JS-28 lives for five minutes unless told otherwise", async () => {
    const { exp = 0, iat = 0 } = claimsOf(await fetchToken(["short-lived"])) as {
      exp?: number;
      iat?: number;
    };
    expect(exp - iat).toBe(300);
  });

  it("JS-07 says when it was issued, and nothing that nobody asked for", async () => {
    expect(Object.keys(claimsOf(await fetchToken(["a"]))).toSorted()).toEqual(["aud", "exp", "iat", "sub"]);
  });

  it("ID-23 verifies with an independent library, until a bit of it is changed", async () => {
    const token = await fetchToken(["a"]);
    const keys = createLocalJWKSet(await workloadKeys());
    const { payload } = await jwtVerify(token, keys, { audience: "a" });
    expect(payload.sub).toBe(SELF);
    const at = token.lastIndexOf(".") - 5;
    const forged = `${token.slice(0, at)}${token[at] === "A" ? "B" : "A"}${token.slice(at + 1)}`;
    await expect(jwtVerify(forged, keys, { audience: "a" })).rejects.toThrow();
  });
});

describe("the algorithm", () => {
  it.each([
    ["ec-p256", "ES256"],
    ["ec-p384", "ES384"],
    ["rsa-2048", "RS256"],
  ])("JS-03 of an authority with a key of %s is %s", async (keyType, alg) => {
    await using server = await startServer(await placeServer(world.scratch, `server-${keyType}`), [
      `--jwt-key-type=${keyType}`,
    ]);
    using admin = adminClient(server.place);
    const { svid } = await admin.service(SVID).mintJWTSVID({
      id: { trustDomain: "example.org", path: "/x" },
      audience: ["a"],
    });
    expect(decodeProtectedHeader(svid?.token ?? "").alg).toBe(alg);
  });
});

describe("the keys in the SPIFFE bundle", () => {
  it.each(["JS-23", "JS-24", "TB-21"])("%s are for the use jwt-svid and have a kid each", async () => {
    const { kid } = decodeProtectedHeader(await fetchToken(["a"]));
    const keys = await bundleKeys();
    expect(keys.filter(({ use }) => use === "jwt-svid").map((key) => key.kid)).toContain(kid);
    const kids = keys.flatMap((key) => (key.use === "jwt-svid" ? [key.kid ?? ""] : []));
    expect(kids).not.toContain("");
    expect(new Set(kids).size).toBe(kids.length);
  });

  it("JS-22 are one for each key that signs", async () => {
    const count = async () => (await bundleKeys()).filter(({ use }) => use === "jwt-svid").length;
    const before = await count();
    await world.admin.service(Bundle).appendBundle({
      jwtAuthorities: [{ keyId: "another", publicKey: makeFactoryKey().spki }],
    });
    expect(await count()).toBe(before + 1);
  });
});

async function fetchToken(audience: readonly string[]): Promise<string> {
  const { svids } = await world.api.fetchJWTSVID({ audience: [...audience] }, SECURED);
  return svids[0]?.svid ?? "";
}

async function workloadKeys(): Promise<JSONWebKeySet> {
  const { bundles } = await firstOf(world.api.fetchJWTBundles({}, SECURED));
  return JSON.parse(Buffer.from(bundles["spiffe://example.org"] ?? []).toString()) as JSONWebKeySet;
}

async function bundleKeys(): Promise<readonly { readonly use?: string; readonly kid?: string }[]> {
  const { body } = await askWeb(world, "GET", "/v1/trust-bundle");
  return (JSON.parse(body.toString()) as { keys: { use?: string; kid?: string }[] }).keys;
}

function claimsOf(token: string): Record<string, unknown> {
  return JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString()) as Record<
    string,
    unknown
  >;
}
