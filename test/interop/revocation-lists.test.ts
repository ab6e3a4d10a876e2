import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { unixSeconds } from "../../src/clock.ts";
import { toPem } from "../../src/crypto/pem.ts";
import { createStatusLists } from "../../src/server/revocation/status-lists.ts";
import { parseSpiffeId } from "../../src/spiffe/id.ts";
import { makeKey } from "../fakes/certificates.ts";
import { RevocationWorld, type RevocationServer } from "../fakes/revocation-world.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "assay-lists-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

let world: RevocationWorld;
let server: RevocationServer;
beforeEach(async () => {
  world = new RevocationWorld();
  server = await world.server();
});
afterEach(() => world[Symbol.asyncDispose]());

const web = parseSpiffeId("spiffe://example.org/web");

function file(name: string, content: string | Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

/** What openssl says, on both outputs, whether or not it agrees. */
function openssl(...args: readonly string[]): string {
  const command = ["openssl", ...args].map((word) => `'${word}'`).join(" ");
  return execFileSync("sh", ["-c", `${command} 2>&1; true`]).toString();
}

async function issued() {
  const order = { spiffeId: web, publicKey: makeKey().spki, dnsNames: [], ttl: 600 };
  return server.signing.signX509Svid(server.signing.prepareX509Svid(order));
}

describe("openssl", () => {
  it("reads our revocation list, verifies it, and refuses the SVID that it names and no other", async () => {
    const [good, bad] = [await issued(), await issued()];
    await server.revoke(bad.serial);
    await server.publisher.settle();
    const [stored] = await world.store.crls.list();
    const crl = file("list.pem", toPem("X509 CRL", stored?.crl ?? new Uint8Array()));
    const [authority] = server.signing.bundle().x509Authorities;
    const ca = file("ca.pem", toPem("CERTIFICATE", authority?.certificate ?? new Uint8Array()));

    const text = openssl("crl", "-in", crl, "-noout", "-text", "-CAfile", ca);
    expect(text).toContain("verify OK");
    expect(text).toContain(`Serial Number: ${bad.serial.toUpperCase()}`);
    expect(text).toContain("Key Compromise");
    expect(text).toMatch(/X509v3 CRL Number:\s+1\b/);

    const at = String(unixSeconds(world.clock));
    const verify = (name: string, der: Uint8Array) => {
      const leaf = file(name, toPem("CERTIFICATE", der));
      const lists = ["-CAfile", ca, "-CRLfile", crl, "-crl_check", "-attime", at];
      return openssl("verify", ...lists, leaf);
    };
    expect(verify("good.pem", good.certificate)).toContain("good.pem: OK");
    expect(verify("bad.pem", bad.certificate)).toContain("certificate revoked");
  });
});

describe("a decoder in Python, by the draft's text alone", () => {
  it("finds the bits of what is revoked in our status list, and no other", async () => {
    const expiresAt = unixSeconds(world.clock) + 600;
    const places = [];
    for (let n = 0; n < 20; n++) places.push(await world.store.credentials.reserveStatus(expiresAt));
    const revoked = places.slice(0, 7);
    for (const [n, status] of revoked.entries()) {
      await server.revocation.revoke({ kind: "access_token", id: `t${n}` }, "operator", {
        ...NOTHING,
        spiffeId: web,
        expiresAt,
        status,
      });
    }
    const status = createStatusLists({
      revocation: server.revocation,
      credentials: world.store.credentials,
      signing: server.signing,
      uriOf: (list) => `https://issuer.example/oauth2/status-lists/${list}`,
      clock: world.clock,
    });
    const token = (await status.token(0)) ?? "";
    const answer = execFileSync("python3", ["-c", DECODER], { input: token }).toString();
    const decoded = JSON.parse(answer) as { typ: string; sub: string; size: number; invalid: number[] };
    expect(decoded).toEqual({
      typ: "statuslist+jwt",
      sub: "https://issuer.example/oauth2/status-lists/0",
      size: 131_072,
      invalid: revoked.map(({ index }) => index).toSorted((a, b) => a - b),
    });
  });
});

const NOTHING = { authorityId: "kid", entryId: "", taskId: "", parent: "", issuedAt: 0 } as const;
const DECODER = `
import base64, json, sys, zlib
def part(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
header, payload, _ = sys.stdin.read().split(".")
claims = json.loads(part(payload))
bits = claims["status_list"]["bits"]
octets = zlib.decompress(part(claims["status_list"]["lst"]))
size = len(octets) * 8 // bits
def status(index):
    return octets[index * bits // 8] >> (index * bits % 8) & ((1 << bits) - 1)
print(json.dumps({
    "typ": json.loads(part(header))["typ"],
    "sub": claims["sub"],
    "size": size,
    "invalid": [i for i in range(size) if status(i) != 0],
}))
`;
