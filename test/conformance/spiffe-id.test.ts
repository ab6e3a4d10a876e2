import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Bundle } from "../../src/proto/gen/spire/api/server/bundle/v1/bundle_pb.ts";
import { SVID } from "../../src/proto/gen/spire/api/server/svid/v1/svid_pb.ts";
import { adminClient } from "../e2e/admin-rpc.ts";
import { assay, placeServer, startServer } from "../e2e/harness.ts";
import { makeJwtSvid } from "../fakes/jose-factory.ts";
import { makeAuthority, makeFactoryKey, makeLeaf } from "../fakes/svid-factory.ts";
import { viewCertificate, viewCertificates } from "./certificate-view.ts";
import { federate, judge, refusalOf } from "./foreign.ts";
import { DOOR, knock, shown } from "./mtls-door.ts";
import { eventually, firstOf, makeWorld, SECURED, type World } from "./world.ts";

/** Names that somebody might take for an address, a mistake or another name. */
const ODD_NAMES = ["1.2.3.4", "_under_score", "-", "a..b", ".", "localhost", "a.", "0"];
const LONGEST_NAME = "t".repeat(255);
const PREFIX = "spiffe://example.org";
/** A path of single segments that makes an ID of this many bytes. */
const pathFor = (bytes: number) => {
  const length = bytes - PREFIX.length;
  return length % 2 === 0 ? "/a".repeat(length / 2) : `${"/a".repeat((length - 3) / 2)}/aa`;
};

let world: World;

beforeAll(async () => {
  const operators = ODD_NAMES.map((name) => `spiffe://${name}/operator`);
  world = await makeWorld({
    ...DOOR,
    serverConfig: `admin_ids: ${JSON.stringify(operators)}\nrate_limit: off\n`,
    agentFlags: ["--rate-limit=off"],
  });
  await world.createEntry({ path: "/A" });
  await eventually(() => world.api.fetchJWTSVID({ audience: ["a"] }, SECURED));
});

afterAll(() => world?.[Symbol.asyncDispose]());

/** What the Workload API makes of a SPIFFE ID in a request: malformed, or none of ours, or ours. */
async function askFor(spiffeId: string): Promise<"malformed" | "not ours" | "ours"> {
  try {
    await world.api.fetchJWTSVID({ audience: ["a"], spiffeId }, SECURED);
    return "ours";
  } catch (error) {
    const { status } = error as { status?: string };
    if (status === "INVALID_ARGUMENT") return "malformed";
    if (status === "PERMISSION_DENIED") return "not ours";
    throw error;
  }
}

describe("an ID that is malformed", () => {
  it.each([
    ["ID-01", "http://td/x"],
    ["ID-01", "spiffe:/td/x"],
    ["ID-01", "/x"],
    ["ID-01", "td/x"],
    ["ID-01", "spiffe+unix://td/x"],
    ["ID-01", " spiffe://td/x"],
    ["ID-02", "spiffe://"],
    ["ID-02", "spiffe:///x"],
    ["ID-03", "spiffe://td/x?"],
    ["ID-03", "spiffe://td/x?a=b"],
    ["ID-03", "spiffe://td/x#f"],
    ["ID-03", "spiffe://td/x#"],
    ["ID-03", "spiffe://td?a"],
    ["ID-04", "spiffe://u@td/x"],
    ["ID-04", "spiffe://u:p@td/x"],
    ["ID-04", "spiffe://@td/x"],
    ["ID-04", "spiffe://td:80/x"],
    ["ID-04", "spiffe://td:/x"],
    ["ID-05", "spiffe://Example.org/x"],
    ["ID-07", "spiffe://a%62c/x"],
    ["ID-08", "spiffe://[::1]/x"],
    ["ID-09", "spiffe://td/a%20b"],
    ["ID-09", "spiffe://td/%2e"],
    ["ID-10", "spiffe://td//x"],
    ["ID-10", "spiffe://td/a//b"],
    ["ID-10", "spiffe://td/."],
    ["ID-10", "spiffe://td/../a"],
    ["ID-10", "spiffe://td/a/./b"],
    ["ID-10", "spiffe://td/a/.."],
    ["ID-11", "spiffe://td/x/"],
    ["ID-11", "spiffe://td/"],
    ["ID-16", `spiffe://${"t".repeat(256)}/x`],
    ["ID-18", "SPIFFE://example.org/A"],
    ["ID-18", "spiffe://EXAMPLE.org/A"],
  ])("%s is refused: %s", async (_line, text) => {
    expect(await askFor(text)).toBe("malformed");
  });

  it.each([
    ["ID-06", /[a-z0-9._-]/, (character: string) => `spiffe://a${character}b/x`],
    ["ID-12", /[a-zA-Z0-9._/-]/, (character: string) => `spiffe://td/a${character}b`],
  ])("%s is one with any character but the few that are allowed", async (line, allowed, make) => {
    for (let code = 0; code < 256; code++) {
      const character = String.fromCodePoint(code);
      // A slash after a name ends it, which makes another ID and not a name with a slash.
      if (line === "ID-06" && character === "/") continue;
      const expected = code < 128 && allowed.test(character) ? "not ours" : "malformed";
      expect(await askFor(make(character)), `character ${code}`).toBe(expected);
    }
  });

  it.each([
    ["ID-10", "/..."],
    ["ID-10", "/.a"],
    ["ID-10", "/a."],
    ["ID-13", "/a/b/c/d/e/f"],
    ["ID-12", "/A.b-c_9"],
  ])("%s is not one with the path %s", async (_line, path) => {
    expect(await askFor(`spiffe://td${path}`)).toBe("not ours");
    const id = await world.createEntry({ path });
    await world.deleteEntry(id);
  });

  it.each([
    ["ID-03", "/x?"],
    ["ID-09", "/a%20b"],
    ["ID-10", "/a//b"],
    ["ID-10", "/a/../b"],
    ["ID-11", "/x/"],
    ["ID-12", "/a b"],
    ["ID-15", pathFor(2049)],
  ])("%s cannot be registered: %s", async (_line, path) => {
    await expect(world.createEntry({ path })).rejects.toThrow(/path|longer/);
  });

  it.each(["ID-27", "ID-05"])(
    "%s cannot be registered: one of another trust domain, or of the own in capitals",
    async () => {
      await expect(world.createEntry({ path: "/x", trustDomain: "elsewhere.test" })).rejects.toThrow(
        /trust domain/,
      );
      await expect(world.createEntry({ path: "/x", trustDomain: "EXAMPLE.org" })).rejects.toThrow(
        /trust domain/,
      );
    },
  );

  it.each(["ID-05", "ID-06"])("%s is no name for a server's trust domain", async () => {
    for (const name of ["Example.org", "example.org:80", "a b", "https://example.org"]) {
      const flags = [`--trust-domain=${name}`, `--data-dir=${world.scratch.at("never")}`];
      const { code, stderr } = await assay(["server", ...flags]);
      expect(code).toBe(2);
      expect(stderr).toMatch(/trust.domain/);
    }
  });
});

describe("paths", () => {
  it("ID-17 that differ in case are different", async () => {
    expect(await askFor(`${PREFIX}/A`)).toBe("ours");
    expect(await askFor(`${PREFIX}/a`)).toBe("not ours");
    const id = await world.createEntry({ path: "/a" });
    await eventually(async () => (await askFor(`${PREFIX}/a`)) === "ours");
    const { svids } = await world.api.fetchJWTSVID({ audience: ["a"], spiffeId: `${PREFIX}/a` }, SECURED);
    expect(svids.map(({ spiffeId }) => spiffeId)).toEqual([`${PREFIX}/a`]);
    await world.deleteEntry(id);
  });

  it("ID-14 of 2048 bytes with their trust domain work in every document", async () => {
    const spiffeId = `${PREFIX}${pathFor(2048)}`;
    expect(spiffeId).toHaveLength(2048);
    const id = await world.createEntry({ path: pathFor(2048) });
    const { svids } = await eventually(
      () => firstOf(world.api.fetchX509SVID({}, SECURED)),
      (answer) => answer.svids.length === 2,
    );
    expect(viewCertificates(svids[1]?.x509Svid ?? Buffer.of())[0]?.uris).toEqual([spiffeId]);
    expect(svids[1]?.spiffeId).toBe(spiffeId);
    const jwt = await world.api.fetchJWTSVID({ audience: ["audience"], spiffeId }, SECURED);
    expect(await judge(world, jwt.svids[0]?.svid ?? "")).toMatchObject({ spiffeId });
    await world.deleteEntry(id);
  });
});

describe("trust domains", () => {
  it.each(ODD_NAMES)("ID-08 may be called %s, and its SVIDs are validated like others", async (name) => {
    const authority = makeAuthority(name);
    const key = makeFactoryKey();
    await federate(world, { x509: [authority], jwt: { factory: key } }, name);
    const id = await world.createEntry({ path: "/validator", federatesWith: [name] });
    const token = makeJwtSvid(key, { claims: { sub: `spiffe://${name}/x` } });
    await eventually(
      () => judge(world, token),
      (judged) => "spiffeId" in judged,
    );
    const leaf = makeLeaf(`spiffe://${name}/operator`, authority);
    await eventually(
      () => knock(world, shown(leaf)),
      (seen) => "grpcStatus" in seen,
    );
    expect(await knock(world, shown(leaf))).toEqual({ grpcStatus: 0 });
    expect(await refusalOf(world, makeJwtSvid(key, { claims: { sub: `${PREFIX}/x` } }))).toMatch(
      /no JWT authority/,
    );
    await world.deleteEntry(id);
  });

  it.each(["1.2.3.4", "a..b", LONGEST_NAME])(
    "ID-08 may be called %s, and issue like others",
    async (name) => {
      await using server = await startServer(await placeServer(world.scratch, `odd-${name.slice(0, 8)}`), [
        `--trust-domain=${name}`,
      ]);
      using admin = adminClient(server.place);
      const { svid } = await admin.service(SVID).mintJWTSVID({
        id: { trustDomain: name, path: "/x" },
        audience: ["a"],
      });
      const [, payload = ""] = (svid?.token ?? "").split(".");
      expect(JSON.parse(Buffer.from(payload, "base64url").toString())).toMatchObject({
        sub: `spiffe://${name}/x`,
      });
      const { x509Authorities } = await admin.service(Bundle).getBundle({});
      expect(viewCertificate(x509Authorities[0]?.asn1 ?? Buffer.of()).uris).toEqual([`spiffe://${name}`]);
    },
  );

  it("ID-16 have up to 255 bytes", async () => {
    expect(await askFor(`spiffe://${LONGEST_NAME}/x`)).toBe("not ours");
    await federate(world, { x509: [makeAuthority(LONGEST_NAME)] }, LONGEST_NAME);
    await expect(federate(world, { x509: [] }, `${LONGEST_NAME}t`)).rejects.toThrow(/255/);
  });
});
