import { readFile, stat } from "node:fs/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { makeCertificate, makeKey, TEST_NOW } from "../../test/fakes/certificates.ts";
import { FakeSocketServer, runCommand } from "../../test/fakes/cli.ts";
import { toPem } from "../crypto/pem.ts";
import { AssayError } from "../errors/assay-error.ts";
import { SpiffeWorkloadAPI } from "../proto/gen/spiffe/workload/workload_pb.ts";

const ID = "spiffe://example.org/web";
const authorityKey = makeKey();
const authority = makeCertificate({
  subject: "a",
  key: authorityKey,
  ca: true,
  uris: ["spiffe://example.org"],
});
const leafKey = makeKey();
const leaf = makeCertificate({
  subject: "w",
  key: leafKey,
  issuer: { certificate: authority, key: authorityKey },
  uris: [ID],
  dnsNames: ["web.example.org"],
});
const SVID = {
  spiffeId: ID,
  x509Svid: leaf.der,
  x509SvidKey: leafKey.pkcs8,
  bundle: authority.der,
  hint: "main",
};
const JWT = [
  { alg: "ES256", kid: "k1", typ: "JWT" },
  { sub: ID, aud: ["api"], exp: TEST_NOW + 300, iat: TEST_NOW },
]
  .map((part) => Buffer.from(JSON.stringify(part)).toString("base64url"))
  .concat(Buffer.alloc(64).toString("base64url"))
  .join(".");

let server: FakeSocketServer;
let headers: (string | undefined)[];
beforeEach(async () => {
  server = await FakeSocketServer.start();
  headers = [];
});
afterEach(() => server[Symbol.asyncDispose]());

function fetch(args: readonly string[], changes: Parameters<typeof runCommand>[1] = {}) {
  return runCommand(["fetch", ...args, "--socket", server.path], changes);
}

describe("assay fetch x509", () => {
  beforeEach(() => {
    server.serve(SpiffeWorkloadAPI, {
      async *fetchX509SVID(_request, context) {
        headers.push(context.header("workload.spiffe.io"));
        yield { svids: [SVID] };
        await new Promise(() => {});
      },
    });
  });

  it("prints who this is, until when and by which authority, and no key", async () => {
    const { code, stdout } = await fetch(["x509"]);
    expect(stdout).toMatch(
      /^SPIFFE ID: spiffe:\/\/example\.org\/web\nHint: {6}main\nValid: {5}\S+Z to \S+Z\nSerial: {4}[0-9a-f]+\nChain: {5}1 certificate below an authority of the bundle\nAuthority: [0-9a-f]{40}\nDNS names: web\.example\.org\n$/,
    );
    expect(code).toBe(0);
    expect(headers).toEqual(["true"]);
    const json = (await fetch(["x509", "--output", "json"])).stdout;
    expect(JSON.parse(json)).toMatchObject([
      { spiffe_id: ID, chain: [Buffer.from(leaf.der).toString("base64")] },
    ]);
    expect(json).not.toContain(Buffer.from(leafKey.pkcs8).toString("base64"));
  });

  it("finds the socket by SPIFFE_ENDPOINT_SOCKET", async () => {
    const environment = {
      spiffeEndpointSocket: `unix://${server.path}`,
      notifySocket: undefined,
      variables: {},
    };
    expect((await runCommand(["fetch", "x509"], { environment })).code).toBe(0);
  });

  it("writes PEM files, the key for this user alone", async () => {
    const folder = server.at("out");
    const { stderr } = await fetch(["x509", "--write", folder]);
    expect(stderr).toBe(`wrote 1 X509-SVIDs to ${folder}\n`);
    expect(await readFile(`${folder}/svid.0.pem`, "utf8")).toBe(toPem("CERTIFICATE", leaf.der));
    expect(await readFile(`${folder}/bundle.0.pem`, "utf8")).toBe(toPem("CERTIFICATE", authority.der));
    expect(await readFile(`${folder}/svid.0.key`, "utf8")).toBe(toPem("PRIVATE KEY", leafKey.pkcs8));
    expect((await stat(`${folder}/svid.0.key`)).mode & 0o777).toBe(0o600);
  });
});

describe("assay fetch jwt", () => {
  beforeEach(() => {
    server.serve(SpiffeWorkloadAPI, {
      fetchJWTSVID: ({ audience, spiffeId }) => {
        headers.push(audience.join(), spiffeId);
        return {
          svids: [
            { spiffeId: ID, svid: JWT, hint: "" },
            { spiffeId: `${ID}2`, svid: "second", hint: "" },
          ],
        };
      },
    });
  });

  it("prints the first JWT-SVID alone where a script asks for it", async () => {
    expect(await fetch(["jwt", "--audience", "api", "--audience", "b", "--output", "token"])).toEqual({
      code: 0,
      stdout: `${JWT}\n`,
      stderr: "",
    });
    expect(headers).toEqual(["api,b", ""]);
  });

  it("prints all of them as JSON", async () => {
    const { stdout } = await fetch(["jwt", "--audience", "api", "--spiffe-id", ID, "--output", "json"]);
    expect(JSON.parse(stdout)).toEqual([
      { spiffe_id: ID, hint: "", svid: JWT },
      { spiffe_id: `${ID}2`, hint: "", svid: "second" },
    ]);
    expect(headers).toEqual(["api", ID]);
  });
});

describe("assay fetch watch", () => {
  it("prints a line of JSON for each update and ends well when told to", async () => {
    const ending = new AbortController();
    server.serve(SpiffeWorkloadAPI, {
      async *fetchX509SVID() {
        yield { svids: [SVID] };
        yield { svids: [{ ...SVID, hint: "other" }] };
        await new Promise(() => {});
      },
    });
    const lines: string[] = [];
    const { code, stderr } = await fetch(["watch", "--output", "json"], {
      signal: ending.signal,
      stdout: (text) => {
        lines.push(text);
        if (lines.length === 2) ending.abort();
      },
    });
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    const hints = lines.map((line) => (JSON.parse(line) as { svids: { hint: string }[] }).svids[0]?.hint);
    expect(hints).toEqual(["main", "other"]);
  });
});

describe("assay fetch bundles", () => {
  it("joins both kinds of authorities by trust domain", async () => {
    server.serve(SpiffeWorkloadAPI, {
      async *fetchX509Bundles() {
        yield { bundles: { "spiffe://example.org": authority.der } };
      },
      async *fetchJWTBundles() {
        yield { bundles: { "spiffe://example.org": Buffer.from('{"keys":[{"kid":"k1"}]}') } };
      },
    });
    const { stdout } = await fetch(["bundles"]);
    expect(stdout).toMatch(
      /^Trust domain: {6}example\.org\nX\.509 authorities: [0-9a-f]{40} {2}until \S+Z\nJWT authorities: {3}k1\n$/,
    );
  });
});

describe("assay fetch validate", () => {
  it("prints the claims of one that is valid, read from standard input, and exits 1 for one that is not", async () => {
    server.serve(SpiffeWorkloadAPI, {
      validateJWTSVID: ({ svid }) => {
        if (svid !== JWT) throw new AssayError("INVALID_JWT_SVID", "token is not a JWT");
        return { spiffeId: ID, claims: { sub: ID, exp: 5 } };
      },
    });
    const good = await fetch(["validate", "-", "--audience", "api", "--output", "json"], {
      input: `${JWT}\n`,
    });
    expect(JSON.parse(good.stdout)).toEqual({ spiffe_id: ID, claims: { sub: ID, exp: 5 } });
    expect(await fetch(["validate", "x", "--audience", "api"])).toEqual({
      code: 1,
      stdout: "",
      stderr: "assay: token is not a JWT\n",
    });
  });
});

describe("a fetch that gets nothing", () => {
  it("exits 1 with the words of the Workload API", async () => {
    server.serve(SpiffeWorkloadAPI, {
      // oxlint-disable-next-line require-yield -- a stream that is refused has no message
      async *fetchX509SVID() {
        throw new AssayError("NO_IDENTITY_ISSUED", "no identity issued");
      },
    });
    expect(await fetch(["x509"])).toEqual({ code: 1, stdout: "", stderr: "assay: no identity issued\n" });
  });

  it("exits 1 where no agent runs", async () => {
    const { code, stderr } = await runCommand([
      "fetch",
      "x509",
      "--socket",
      `unix://${server.at("none.sock")}`,
    ]);
    expect(stderr).toMatch(
      /^assay: nothing answers on .*none\.sock \(there is no such socket\); does an agent run there/,
    );
    expect(code).toBe(1);
  });

  it("exits 1 after its timeout", async () => {
    server.serve(SpiffeWorkloadAPI, { fetchJWTSVID: () => new Promise(() => {}) });
    expect((await fetch(["jwt", "--audience", "a", "--timeout", "50ms"])).code).toBe(1);
  });
});
