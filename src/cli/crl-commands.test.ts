import { writeFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { FakeSocketServer } from "../../test/fakes/cli.ts";
import { AssayError } from "../errors/assay-error.ts";
import { Revocation, type SetRevocationListRequest } from "../proto/gen/assay/api/server/v1/revocation_pb.ts";

const LIST = {
  trustDomain: "partner.example",
  crl: Uint8Array.of(0x30, 0x00),
  authorityKeyId: "0a0b",
  number: "7",
  thisUpdate: 1_790_000_000n,
  nextUpdate: 1_790_003_600n,
  revoked: 3,
};
const sets: SetRevocationListRequest[] = [];
const deletions: string[] = [];
let server: FakeSocketServer;

beforeAll(async () => {
  server = (await FakeSocketServer.start()).serve(Revocation, {
    listRevocationLists: () => ({ lists: [LIST] }),
    setRevocationList: (request) => {
      sets.push(request);
      return { list: LIST };
    },
    deleteRevocationList: ({ trustDomain, authorityKeyId }) => {
      if (authorityKeyId !== "0a0b") throw new AssayError("CRL_NOT_FOUND", "there is no revocation list");
      deletions.push(trustDomain);
      return {};
    },
  });
});
afterAll(() => server[Symbol.asyncDispose]());

describe("assay bundle crl", () => {
  it("lists what there is, for people and for programs", async () => {
    const { stdout } = await server.run(["bundle", "crl", "list"]);
    expect(stdout).toContain("partner.example  0a0b          7       3        2026-09-21T15:13:20Z");
    const { stdout: json } = await server.run(["bundle", "crl", "list", "--output", "json"]);
    expect(JSON.parse(json)).toMatchObject([{ authority_id: "0a0b", number: "7", revoked: 3, crl: "MAA=" }]);
  });

  it.each([
    ["DER", Buffer.from(LIST.crl)],
    ["PEM", Buffer.from("-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n")],
  ])("sends a file of %s", async (form, content) => {
    const file = server.at(`crl.${form}`);
    await writeFile(file, content);
    const args = ["bundle", "crl", "set", "--trust-domain", "partner.example", "--file", file];
    const { code, stdout } = await server.run(args);
    expect([code, stdout]).toEqual([0, expect.stringContaining("revocation list 7 of authority 0a0b")]);
    expect(Buffer.from(sets.at(-1)?.crl ?? [])).toEqual(Buffer.from(LIST.crl));
  });

  it("deletes one, and says where there is none", async () => {
    const args = (id: string) => {
      return ["bundle", "crl", "delete", "--trust-domain", "partner.example", "--authority-id", id];
    };
    expect((await server.run(args("0a0b"))).code).toBe(0);
    expect(deletions).toEqual(["partner.example"]);
    const refused = await server.run(args("ff"));
    expect([refused.code, refused.stderr]).toEqual([1, expect.stringContaining("no revocation list")]);
  });

  it("refuses a file that cannot be read, naming it", async () => {
    const args = ["bundle", "crl", "set", "--trust-domain", "partner.example", "--file", "/nowhere/crl"];
    const { code, stderr } = await server.run(args);
    expect([code, stderr]).toEqual([2, expect.stringContaining("--file: /nowhere/crl cannot be read")]);
  });
});
