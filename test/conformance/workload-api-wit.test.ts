import { createPrivateKey, createPublicKey } from "node:crypto";
import { createLocalJWKSet, type JSONWebKeySet, jwtVerify } from "jose";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { eventually, firstOf, makeWorld, SECURED, type World } from "./world.ts";

type Jwk = Readonly<Record<string, string>>;

const OWN = "spiffe://example.org";
const FEATURE = ["--feature=wit-svid"];
let world: World;

beforeAll(async () => {
  world = await makeWorld({ serverFlags: FEATURE, agentFlags: FEATURE });
  for (const [path, hint] of [
    ["/first", "one"],
    ["/second", ""],
    ["/third", "one"],
  ] as const) {
    await world.createEntry({ path, hint });
  }
  await eventually(
    () => svidsNow(),
    (svids) => svids.length === 2,
  );
});
afterAll(() => world?.[Symbol.asyncDispose]());

const svidsNow = async (spiffeId = "") =>
  (await firstOf(world.api.fetchWITSVID({ spiffeId }, SECURED))).svids;
const bundlesNow = async () => (await firstOf(world.api.fetchWITBundles({}, SECURED))).bundles;
const keysNow = async () => JSON.parse((await bundlesNow())[OWN] ?? "{}") as JSONWebKeySet;

describe("FetchWITSVID, where the WIT profile is switched on", () => {
  it("WA-03 answers, as the profile is offered", async () => {
    expect(await svidsNow()).not.toEqual([]);
  });

  // The third entry says the hint of the first, so it is left out (WA-67).
  it.each(["WA-64", "WA-65"])("%s has one for each identity", async () => {
    expect((await svidsNow()).map(({ spiffeId }) => spiffeId)).toEqual([`${OWN}/first`, `${OWN}/second`]);
  });

  it("WA-64 has the one alone that was asked for", async () => {
    expect((await svidsNow(`${OWN}/second`)).map(({ spiffeId }) => spiffeId)).toEqual([`${OWN}/second`]);
  });

  it("WA-66 has ID, token and key in each, and the key is the one that the token names", async () => {
    const set = createLocalJWKSet(await keysNow());
    for (const { spiffeId, witSvid, witSvidKey } of await svidsNow()) {
      const { payload } = await jwtVerify(witSvid, set);
      expect(payload.sub).toBe(spiffeId);
      const key = createPrivateKey({ key: JSON.parse(witSvidKey) as Jwk, format: "jwk" });
      const { jwk } = payload["cnf"] as { readonly jwk: Jwk };
      expect(createPublicKey(key).equals(createPublicKey({ key: jwk, format: "jwk" }))).toBe(true);
    }
  });

  it("WA-67 says a hint once: the older entry keeps it", async () => {
    expect((await svidsNow()).map(({ hint }) => hint)).toEqual(["one", ""]);
  });

  it("WA-69 answers PermissionDenied to a caller without identity", async () => {
    expect(await world.asOther("FetchWITSVID")).toMatchObject({ grpcStatus: 7, messages: [] });
  });
});

describe("the WIT profile", () => {
  it("WA-03 is there where it is switched on", async () => {
    expect((await svidsNow()).length).toBeGreaterThan(0);
    expect(Object.keys(await bundlesNow())).toEqual([OWN]);
  });
});

describe("FetchWITBundles, where the WIT profile is switched on", () => {
  it("WA-73 has the own trust domain's from the first message on", async () => {
    expect(Object.keys(await bundlesNow())).toEqual([OWN]);
  });

  it("WA-74 is a JWK Set whose keys have IDs of their own, those of the tokens", async () => {
    const { keys } = await keysNow();
    const ids = keys.map(({ kid }) => kid);
    expect(ids).not.toContain(undefined);
    expect(new Set(ids).size).toBe(ids.length);
    for (const { witSvid } of await svidsNow()) {
      const [header = ""] = witSvid.split(".");
      const { kid } = JSON.parse(Buffer.from(header, "base64url").toString()) as { kid: string };
      expect(ids).toContain(kid);
    }
  });

  it("WA-75 answers PermissionDenied to a caller without identity", async () => {
    expect(await world.asOther("FetchWITBundles")).toMatchObject({ grpcStatus: 7, messages: [] });
  });

  it("WA-49 has no key of the JWT bundle, nor the JWT bundle one of its keys", async () => {
    const { bundles } = await firstOf(world.api.fetchJWTBundles({}, SECURED));
    const jwt = JSON.parse(Buffer.from(bundles[OWN] ?? Buffer.of()).toString()) as JSONWebKeySet;
    const wit = new Set((await keysNow()).keys.map(({ kid }) => kid));
    expect(jwt.keys.filter(({ kid }) => wit.has(kid))).toEqual([]);
  });
});
