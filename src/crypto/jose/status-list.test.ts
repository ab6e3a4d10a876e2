import { sign } from "node:crypto";
import { deflateRawSync, deflateSync, gzipSync } from "node:zlib";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { makeToken } from "../../../test/fakes/jose-factory.ts";
import { makeFactoryKey } from "../../../test/fakes/svid-factory.ts";
import { AssayError } from "../../errors/assay-error.ts";
import { assembleJwtSvid } from "./jwt-svid.ts";
import {
  lintStatusListInput,
  type StatusListClaims,
  type StatusListExpectations,
  type StatusListOrdered,
  statusListSigningInput,
  verifyStatusList,
} from "./status-list-token.ts";
import {
  compressStatusList,
  expandStatusList,
  statusAt,
  type StatusBits,
  statusBitsOf,
} from "./status-list.ts";

const NOW = 1_790_000_000;
const URI = "https://assay.example/oauth2/status-lists/0";
const key = makeFactoryKey("ec-p256");
const keys = new Map([["k", { publicKey: key.publicKey }]]);
// Token Status List §4.1: sixteen statuses of one bit.
const example = Uint8Array.of(0xb9, 0xa3);
const STATUSES = [1, 0, 0, 1, 1, 1, 0, 1, 1, 1, 0, 0, 0, 1, 0, 1];
const claims: StatusListClaims = { uri: URI, list: example, iat: NOW, exp: NOW + 600, ttl: 60 };
const header = { alg: "ES256", kid: "k", typ: "statuslist+jwt" };
const payload = {
  sub: URI,
  iat: NOW,
  exp: NOW + 600,
  ttl: 60,
  status_list: { bits: 1, lst: "eNrbuRgAAhcBXQ" },
};

const write = (change: Partial<StatusListClaims> = {}) =>
  statusListSigningInput({ keyId: "k", alg: "ES256", claims: { ...claims, ...change } });
const verify = (token: string, change: Partial<StatusListExpectations> = {}) =>
  verifyStatusList(token, keys, { uri: URI, now: NOW, ...change });
const make = (change: object, headers: object = {}) =>
  makeToken({ key, header: { ...header, ...headers }, payload: { ...payload, ...change }, signAs: "ES256" });
const lst = (bytes: Buffer) => ({ status_list: { bits: 1, lst: bytes.toString("base64url") } });

describe("a status list (Token Status List §4)", () => {
  it("is the example of the standard", () => {
    expect(compressStatusList(example)).toBe("eNrbuRgAAhcBXQ");
    expect([...expandStatusList("eNrbuRgAAhcBXQ", 2)]).toEqual([...example]);
    expect(STATUSES.map((_, place) => statusAt({ bits: 1, octets: example }, place))).toEqual(STATUSES);
    const set = STATUSES.flatMap((status, place) => (status === 1 ? [place] : []));
    expect([...statusBitsOf(set, 16)]).toEqual([...example]);
  });

  it("has statuses of two bits as the standard's second example", () => {
    const octets = expandStatusList("eNo76fITAAPfAgc", 3);
    const statuses = Array.from({ length: 12 }, (_, place) => statusAt({ bits: 2, octets }, place));
    expect([...octets]).toEqual([0xc9, 0x44, 0xf9]);
    expect(statuses).toEqual([1, 2, 0, 3, 0, 1, 0, 1, 1, 2, 3, 3]);
  });

  it("gives each status back, however many bits it has", () => {
    fc.assert(
      fc.property(
        fc.constantFrom<StatusBits>(1, 2, 4, 8),
        fc.array(fc.nat(255), { minLength: 1, maxLength: 64 }),
        (bits, values) => {
          const perOctet = 8 / bits;
          const octets = new Uint8Array(Math.ceil(values.length / perOctet));
          const wanted = values.map((value) => value % (1 << bits));
          for (const [place, value] of wanted.entries()) {
            const at = Math.floor(place / perOctet);
            octets[at] = (octets[at] as number) + value * 2 ** ((place % perOctet) * bits);
          }
          const read = expandStatusList(compressStatusList(octets), octets.length);
          expect(wanted.map((_, place) => statusAt({ bits, octets: read }, place))).toEqual(wanted);
        },
      ),
    );
  });

  it.each([-1, 16, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53])("has no status at %d", (place) => {
    expect(() => statusAt({ bits: 1, octets: example }, place)).toThrowCode("INVALID_STATUS_LIST", /outside/);
    expect(() => statusBitsOf([place], 16)).toThrow(RangeError);
  });

  it("unfolds no further than allowed", () => {
    const bomb = deflateSync(Buffer.alloc(64 * 1024 * 1024), { level: 9 });
    expect(bomb.length).toBeLessThan(70_000);
    expect(() => expandStatusList(bomb.toString("base64url"), 1024)).toThrowCode(
      "INVALID_STATUS_LIST",
      /at most 1024/,
    );
    expect(expandStatusList(compressStatusList(new Uint8Array(1024)), 1024)).toHaveLength(1024);
    expect(() => expandStatusList(compressStatusList(new Uint8Array(1025)), 1024)).toThrowCode(
      "INVALID_STATUS_LIST",
    );
  });

  it.each<[string, Buffer]>([
    ["raw DEFLATE", deflateRawSync(example)],
    ["gzip", gzipSync(example)],
    ["nothing", Buffer.alloc(0)],
    ["a list without statuses", deflateSync(Buffer.alloc(0))],
    ["a list that is cut short", deflateSync(example).subarray(0, -1)],
    ["a list with octets after it", Buffer.concat([deflateSync(example), Buffer.of(0)])],
    ["two lists", Buffer.concat([deflateSync(example), deflateSync(example)])],
    ["a list with a wrong sum", Buffer.concat([deflateSync(example).subarray(0, -1), Buffer.of(0)])],
  ])("does not unfold %s", (_, bytes) => {
    expect(() => expandStatusList(bytes.toString("base64url"), 1024)).toThrowCode("INVALID_STATUS_LIST");
  });

  it("is in base64url without padding", () => {
    for (const text of ["eNrbuRgAAhcBXQ==", "eNrbuRgAAhcBX R", "eNrbuRgAAhcBXR"]) {
      expect(() => expandStatusList(text, 1024)).toThrowCode("INVALID_STATUS_LIST", /base64url/);
    }
  });
});

describe("verifyStatusList (Token Status List §8.3)", () => {
  it("gives the list that was written", async () => {
    const input = write();
    const signature = sign("sha256", input, { key: key.privateKey, dsaEncoding: "ieee-p1363" });
    const facts = await verify(assembleJwtSvid(input, signature));
    expect(facts).toMatchObject({ bits: 1, issuedAt: NOW, expiresAt: NOW + 600, ttl: 60, keyId: "k" });
    expect(STATUSES.map((_, place) => statusAt(facts, place))).toEqual(STATUSES);
  });

  it("takes a list without exp and ttl, as the standard allows", async () => {
    const facts = await verify(make({ exp: undefined, ttl: undefined }));
    expect(facts).not.toHaveProperty("expiresAt");
    expect(facts).not.toHaveProperty("ttl");
  });

  it.each<[string, object, RegExp]>([
    ["another URI", { sub: `${URI}1` }, /sub must be the URI/],
    ["no URI", { sub: undefined }, /sub/],
    ["no iat", { iat: undefined }, /iat is missing/],
    ["an iat to come", { iat: NOW + 1 }, /future/],
    ["an exp that is now", { exp: NOW }, /expired/],
    ["an exp that is a text", { exp: "x" }, /exp/],
    ["a ttl of nothing", { ttl: 0 }, /ttl/],
    ["a ttl that is a text", { ttl: "60" }, /ttl/],
    ["no list", { status_list: undefined }, /status_list is missing/],
    ["three bits", { status_list: { bits: 3, lst: "eNrbuRgAAhcBXQ" } }, /bits/],
    ["no bits", { status_list: { lst: "eNrbuRgAAhcBXQ" } }, /bits/],
    ["no octets", { status_list: { bits: 1 } }, /lst is missing/],
    ["octets that are not compressed", lst(Buffer.from(example)), /ZLIB/],
    ["a bomb", lst(deflateSync(Buffer.alloc(1024 * 1024 + 1), { level: 9 })), /at most 1048576 octets/],
  ])("refuses a list with %s", async (_, change, detail) => {
    await expect(verify(make(change))).rejects.toThrowCode("INVALID_STATUS_LIST", detail);
  });

  it.each<[string, object, RegExp]>([
    ["the typ of a JWT-SVID", { typ: "JWT" }, /typ must be statuslist\+jwt/],
    ["no typ", { typ: undefined }, /typ/],
    ["no algorithm", { alg: "none" }, /alg/],
    ["no kid", { kid: undefined }, /kid/],
    ["an unknown kid", { kid: "x" }, /no JWT authority/],
  ])("refuses a list with %s", async (_, headers, detail) => {
    await expect(verify(make({}, headers))).rejects.toThrowCode("INVALID_STATUS_LIST", detail);
  });

  it("refuses a list that somebody else signed, a smaller bound, and a leeway that is no number", async () => {
    const other = makeToken({ key: makeFactoryKey("ec-p256", "other"), header, payload });
    await expect(verify(other)).rejects.toThrowCode("INVALID_STATUS_LIST", /signature/);
    await expect(verify(make({}), { maxListOctets: 1 })).rejects.toThrowCode(
      "INVALID_STATUS_LIST",
      /at most 1/,
    );
    await expect(verify(make({}), { leewaySeconds: Number.NaN })).rejects.toThrowCode("INVALID_STATUS_LIST");
    await expect(verify("x".repeat(2_000_001))).rejects.toThrowCode(
      "INVALID_STATUS_LIST",
      /2000000 characters/,
    );
  });

  it("answers whatever was changed in a list with INVALID_STATUS_LIST", async () => {
    const token = make({});
    await fc.assert(
      fc.asyncProperty(fc.nat(token.length - 1), fc.integer({ min: 33, max: 126 }), async (at, octet) => {
        fc.pre(token.charCodeAt(at) !== octet);
        const changed = token.slice(0, at) + String.fromCharCode(octet) + token.slice(at + 1);
        const error = await verify(changed).then(
          () => undefined,
          (thrown: unknown) => thrown,
        );
        expect(error).toBeInstanceOf(AssayError);
        expect((error as AssayError).code).toBe("INVALID_STATUS_LIST");
      }),
      { numRuns: 300 },
    );
  });
});

describe("lintStatusListInput", () => {
  const ordered: StatusListOrdered = {
    ...claims,
    keyId: "k",
    algorithm: "ES256",
    authorityNotAfter: NOW + 600,
  };
  const rules = (input: Uint8Array, change: Partial<StatusListOrdered> = {}) =>
    lintStatusListInput(input, { ...ordered, ...change }).map(({ rule }) => rule);

  it("finds nothing in what was ordered", () => {
    expect(rules(write())).toEqual([]);
    const list = new Uint8Array(1024 * 1024);
    expect(rules(write({ list }), { list })).toEqual([]);
  });

  it.each<[string, Partial<StatusListOrdered>, string]>([
    ["key", { keyId: "x" }, "§5.1"],
    ["algorithm", { algorithm: "ES384" }, "§5.1"],
    ["URI", { uri: "x" }, "§5.1"],
    ["beginning", { iat: NOW - 1 }, "§5.1"],
    ["end", { exp: NOW + 599 }, "§5.1"],
    ["ttl", { ttl: 61 }, "§5.1"],
    ["end of the authority", { authorityNotAfter: NOW + 599 }, "§5.1"],
    ["status", { list: Uint8Array.of(0xb8, 0xa3) }, "§4.2"],
    ["length", { list: Uint8Array.of(0xb9, 0xa3, 0) }, "§4.2"],
  ])("finds another %s", (_, change, rule) => {
    expect(rules(write(), change)).toEqual([rule]);
  });

  it("finds a list that nobody would unfold, an empty one, a ttl of nothing, and what is no token", () => {
    const list = new Uint8Array(1024 * 1024 + 1);
    expect(rules(write({ list }), { list })).toEqual(["§4.2"]);
    expect(rules(write({ list: new Uint8Array() }), { list: new Uint8Array() })).toEqual(["§4.2"]);
    expect(rules(write({ ttl: 0 }), { ttl: 0 })).toEqual(["§5.1"]);
    expect(rules(Buffer.from("x"))).toEqual(["§5.1"]);
  });

  it("has times of whole seconds", () => {
    for (const change of [{ iat: 0.5 }, { exp: Number.NaN }, { ttl: 1.5 }]) {
      expect(() => write(change)).toThrowCode("INTERNAL", /whole seconds/);
    }
  });
});
