import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { makeJwtSvid } from "../fakes/jose-factory.ts";
import { makeAuthority, makeFactoryKey } from "../fakes/svid-factory.ts";
import { askWeb, federate, judge, refusalOf } from "./foreign.ts";
import { eventually, firstOf, makeWorld, SECURED, type World } from "./world.ts";

const OWN = "spiffe://example.org";
const key = makeFactoryKey();
let world: World;

beforeAll(async () => {
  world = await makeWorld({ agentFlags: ["--rate-limit=off"] });
  await federate(world, {
    x509: [makeAuthority("factory.test")],
    jwt: { factory: key },
    wit: { wit: makeFactoryKey() },
  });
  await federate(world, { x509: [makeAuthority("x509-only.test")] }, "x509-only.test");
  await world.createEntry({ path: "/first", federatesWith: ["factory.test", "x509-only.test"], hint: "one" });
  await world.createEntry({ path: "/second" });
  await world.createEntry({ path: "/theirs", selectors: world.otherSelectors });
  await eventually(
    () => tokens(),
    (svids) => svids.length === 2,
  );
});

afterAll(() => world?.[Symbol.asyncDispose]());

async function tokens(spiffeId = "", audience = ["audience"]) {
  return (await world.api.fetchJWTSVID({ audience, spiffeId }, SECURED)).svids;
}

describe("an answer with JWT-SVIDs", () => {
  it.each(["WA-39", "WA-41", "WA-42"])("%s has one for each identity, with its ID and token", async () => {
    const svids = await tokens();
    expect(svids.map(({ spiffeId }) => spiffeId)).toEqual([`${OWN}/first`, `${OWN}/second`]);
    for (const { spiffeId, svid } of svids) expect(await judge(world, svid)).toMatchObject({ spiffeId });
  });

  it("WA-40 has the one that was asked for", async () => {
    const svids = await tokens(`${OWN}/second`);
    expect(svids.map(({ spiffeId }) => spiffeId)).toEqual([`${OWN}/second`]);
  });

  it("WA-43 says a hint once", async () => {
    const id = await world.createEntry({ path: "/again", hint: "one" });
    const probe = await world.createEntry({ path: "/probe", hint: "two" });
    const svids = await eventually(
      () => tokens(),
      (found) => found.some(({ hint }) => hint === "two"),
    );
    expect(svids.map(({ hint }) => hint).filter((hint) => hint !== "")).toEqual(["one", "two"]);
    await world.deleteEntry(id, probe);
    await eventually(
      () => tokens(),
      (found) => found.length === 2,
    );
  });

  it("WA-60 has the default identity first", async () => {
    const { svids } = await firstOf(world.api.fetchX509SVID({}, SECURED));
    expect((await tokens()).map(({ spiffeId }) => spiffeId)).toEqual(svids.map(({ spiffeId }) => spiffeId));
  });

  it("WA-38 is for the audiences of the request, in their order", async () => {
    for (const audience of [
      ["b", "a"],
      ["a", "b"],
    ]) {
      const [svid] = await tokens(`${OWN}/first`, audience);
      const claims = JSON.parse(
        Buffer.from(svid?.svid.split(".")[1] ?? "", "base64url").toString(),
      ) as object;
      expect(claims).toMatchObject({ aud: audience });
    }
  });
});

describe("a request for JWT-SVIDs", () => {
  it("WA-45 is denied in the same words for an ID that somebody has and for one that nobody has", async () => {
    const refusals = [];
    for (const path of ["/theirs", "/nobody"]) {
      refusals.push(await tokens(`${OWN}${path}`).catch((error: unknown) => error));
    }
    for (const refusal of refusals) {
      expect(refusal).toMatchObject({
        status: "PERMISSION_DENIED",
        detail: expect.stringMatching(/^no identity issued \(decision [0-9a-f-]+\)$/) as string,
      });
    }
  });

  it.each(["WA-18", "WA-56"])("%s is InvalidArgument without an audience", async () => {
    for (const audience of [[], [""], ["a", ""]]) {
      await expect(tokens("", audience)).rejects.toMatchObject({ status: "INVALID_ARGUMENT" });
    }
  });
});

describe("an answer with JWT bundles", () => {
  interface Jwks {
    readonly keys: readonly { readonly kid?: string; readonly use?: string; readonly x5c?: unknown }[];
  }
  const bundles = async () => (await firstOf(world.api.fetchJWTBundles({}, SECURED))).bundles;
  const jwks = async (name: string) =>
    JSON.parse(Buffer.from((await bundles())[name] ?? []).toString("utf8")) as Jwks;

  it.each(["WA-47", "WA-48"])("%s has the own trust domain's, under its ID, as a JWK Set", async () => {
    expect((await jwks(OWN)).keys).toHaveLength(1);
    expect((await jwks("spiffe://factory.test")).keys.map(({ kid }) => kid)).toEqual(["factory"]);
  });

  it("WA-48 leaves out a trust domain without JWT keys", async () => {
    expect(Object.keys(await bundles()).toSorted()).toEqual([OWN, "spiffe://factory.test"]);
  });

  it("WA-47 has it before the first token is asked for", async () => {
    await using fresh = await makeWorld();
    await fresh.createEntry({ path: "/x" });
    const first = await eventually(() => firstOf(fresh.api.fetchJWTBundles({}, SECURED)));
    expect(Object.keys(first.bundles)).toEqual([OWN]);
  });

  it("WA-49 has the keys for JWT-SVIDs of the SPIFFE bundle, and none of another use", async () => {
    const { body } = await askWeb(world, "GET", "/v1/trust-bundle");
    const published = (JSON.parse(body.toString()) as Jwks).keys;
    const own = (await jwks(OWN)).keys;
    expect(own.map(({ kid }) => kid)).toEqual(
      published.filter(({ use }) => use === "jwt-svid").map(({ kid }) => kid),
    );
    for (const one of [...own, ...(await jwks("spiffe://factory.test")).keys]) {
      expect(one).not.toHaveProperty("x5c");
      expect(one).not.toHaveProperty("use");
    }
  });
});

describe("validation by the Workload API", () => {
  it.each(["WA-18", "WA-56"])("%s needs an audience and a token", async () => {
    for (const request of [{ audience: "", svid: makeJwtSvid(key) }, { audience: "a", svid: "" }, {}]) {
      await expect(world.api.validateJWTSVID(request, SECURED)).rejects.toMatchObject({
        status: "INVALID_ARGUMENT",
      });
    }
  });

  it.each([
    ["a good token in the wrong place", () => makeJwtSvid(key), "elsewhere"],
    ["an expired one", () => makeJwtSvid(key, { claims: { exp: 1_600_000_000 } }), "audience"],
    ["an unsigned one", () => makeJwtSvid(key, { header: { alg: "none" } }), "audience"],
    ["what is none", () => "token", "audience"],
  ])("WA-53 refuses %s with InvalidArgument", async (_what, make, audience) => {
    expect(await refusalOf(world, make(), audience)).toMatch(/^INVALID_ARGUMENT: /);
  });

  it("WA-53 says nothing of the token in its refusal", async () => {
    const token = makeJwtSvid(key, { claims: { exp: 1_600_000_000, secret: "hush-hush" } });
    const refusal = await refusalOf(world, token);
    for (const part of [...token.split("."), "hush-hush"]) expect(refusal).not.toContain(part);
  });

  it.each(["WA-54", "WA-56"])("%s tells the ID and the claims, aud as a list", async () => {
    const [own] = await tokens(`${OWN}/first`);
    const judged = await judge(world, own?.svid ?? "");
    expect(judged).toMatchObject({ spiffeId: `${OWN}/first` });
    expect((judged as { claims: object }).claims).toEqual({
      sub: `${OWN}/first`,
      aud: ["audience"],
      exp: expect.any(Number) as number,
      iat: expect.any(Number) as number,
    });
  });

  it("WA-55 keeps the claims of foreign trust domains to itself, but for those that count", async () => {
    const judged = await judge(world, makeJwtSvid(key, { claims: { email: "a@b.test" } }));
    expect(Object.keys((judged as { claims: object }).claims).toSorted()).toEqual(["aud", "exp", "sub"]);
  });
});
