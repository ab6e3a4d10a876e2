import { writeFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { validateX509Svid } from "../../../src/crypto/x509-svid.ts";
import { readCertificate } from "../../../src/crypto/certificate-reader.ts";
import { makeScratch, type Scratch } from "../../e2e/scratch.ts";
import { makeCa, makeCredential } from "../../fakes/remote-server.ts";
import { eventually } from "../world.ts";
import { askEndpoint, type EndpointWorld, makeEndpointWorld, shakeHands } from "./federation-world.ts";

const WEB_CA = makeCa("web CA");

let scratch: Scratch;
let spiffe: EndpointWorld;
let web: EndpointWorld;

beforeAll(async () => {
  scratch = await makeScratch();
  const { cert, key } = makeCredential(WEB_CA, { dnsNames: ["bundle.example.org"] });
  await writeFile(scratch.at("cert.pem"), cert);
  await writeFile(scratch.at("key.pem"), key);
  spiffe = await makeEndpointWorld({ profile: "https_spiffe" });
  web = await makeEndpointWorld({
    profile: "https_web",
    certificate_file: scratch.at("cert.pem"),
    key_file: scratch.at("key.pem"),
  });
});
afterAll(async () => {
  await spiffe?.[Symbol.asyncDispose]();
  await web?.[Symbol.asyncDispose]();
  await scratch?.[Symbol.asyncDispose]();
});

const PROFILES = [
  ["https_spiffe", () => spiffe, ["FE-48", "FE-49", "FE-50", "FE-47", "FE-52", "FE-53", "FE-54"]],
  ["https_web", () => web, ["FE-25", "FE-26", "FE-27", "FE-24", "FE-29", "FE-29", "FE-30"]],
] as const;

describe.each(PROFILES)("the bundle endpoint over %s", (_profile, endpoint, lines) => {
  const [newest, utf8, json, anonymous, redirect, sameId, temporary] = lines;

  it("FE-01 answers a GET with a SPIFFE bundle", async () => {
    const { status, body } = await askEndpoint(endpoint().port);
    expect(status).toBe(200);
    const { keys, spiffe_sequence, spiffe_refresh_hint } = documentOf(body);
    expect(Number.isInteger(spiffe_sequence)).toBe(true);
    expect(spiffe_refresh_hint).toBe(300);
    expect(new Set(keys.map(({ use }) => use))).toEqual(new Set(["x509-svid", "jwt-svid"]));
  });

  it("FE-14 is there by this profile", async () => {
    expect((await askEndpoint(endpoint().port)).status).toBe(200);
  });

  it(`${newest} answers with the newest bundle, at once after a key was added`, async () => {
    const { server } = endpoint().world;
    const before = keysOf((await askEndpoint(endpoint().port)).body);
    const { prepared } = await server.ask<{ prepared: string }>("authority", "jwt", "prepare");
    const after = keysOf((await askEndpoint(endpoint().port)).body);
    expect(before).not.toContain(prepared);
    expect(after).toContain(prepared);
  });

  it(`${utf8} answers in UTF-8 without a byte order mark`, async () => {
    const { body } = await askEndpoint(endpoint().port);
    expect(body[0]).toBe("{".charCodeAt(0));
    expect(() => new TextDecoder("utf-8", { fatal: true }).decode(body)).not.toThrow();
  });

  it(`${json} says that it is JSON`, async () => {
    expect((await askEndpoint(endpoint().port)).headers["content-type"]).toMatch(/^application\/json\b/);
  });

  it(`${anonymous} asks nobody who he is, neither by certificate nor by HTTP`, async () => {
    const { status, headers } = await askEndpoint(endpoint().port);
    expect([status, headers["www-authenticate"]]).toEqual([200, undefined]);
  });

  it.each([redirect, sameId, temporary])("%s redirects nobody, whatever is asked", async () => {
    for (const path of ["/", "/?a=b", "/bundle", "//", "/.well-known/spiffe", "/index.html"]) {
      const { status, headers } = await askEndpoint(endpoint().port, path);
      expect([path, headers["location"]]).toEqual([path, undefined]);
      expect([200, 404]).toContain(status);
    }
  });

  it("FE-15 speaks TLS 1.2 and 1.3 with the suites and groups of Mozilla's intermediate profile only", async () => {
    const { port } = endpoint();
    for (const ciphers of [
      "ECDHE-ECDSA-AES128-GCM-SHA256",
      "ECDHE-ECDSA-AES256-GCM-SHA384",
      "ECDHE-ECDSA-CHACHA20-POLY1305",
    ]) {
      await shakeHands(port, { maxVersion: "TLSv1.2", ciphers });
    }
    for (const ciphers of [
      "TLS_AES_128_GCM_SHA256",
      "TLS_AES_256_GCM_SHA384",
      "TLS_CHACHA20_POLY1305_SHA256",
    ]) {
      expect((await shakeHands(port, { minVersion: "TLSv1.3", ciphers })).socket.getCipher().name).toBe(
        ciphers,
      );
    }
    for (const ecdhCurve of ["X25519", "prime256v1", "secp384r1"]) await shakeHands(port, { ecdhCurve });
    const { certificate } = await shakeHands(port);
    expect(certificate.signatureAlgorithm.digest).toMatch(/sha(256|384)/i);
    for (const refused of [
      { minVersion: "TLSv1", maxVersion: "TLSv1", ciphers: "ALL@SECLEVEL=0" },
      { minVersion: "TLSv1", maxVersion: "TLSv1.1", ciphers: "ALL@SECLEVEL=0" },
      { maxVersion: "TLSv1.2", ciphers: "ECDHE-ECDSA-AES128-SHA" },
      { maxVersion: "TLSv1.2", ciphers: "ECDHE-ECDSA-AES256-SHA384" },
      { maxVersion: "TLSv1.2", ciphers: "ECDHE-ECDSA-AES128-CCM" },
      { maxVersion: "TLSv1.2", ciphers: "AES128-GCM-SHA256" },
      { minVersion: "TLSv1.3", ciphers: "TLS_AES_128_CCM_SHA256" },
      { ecdhCurve: "secp521r1" },
      { ecdhCurve: "X448" },
    ] as const) {
      await expect(shakeHands(port, refused), JSON.stringify(refused)).rejects.toThrow();
    }
  });
});

describe("what the bundle endpoint shows", () => {
  it("FE-46 is a valid X509-SVID over https_spiffe", async () => {
    const roots = keysWithCertificates((await askEndpoint(spiffe.port)).body);
    const { certificate } = await shakeHands(spiffe.port);
    const facts = validateX509Svid(
      [certificate],
      roots.map((der) => readCertificate(der)),
      Date.now() / 1000,
    );
    expect(facts.spiffeId).toBe("spiffe://example.org/spire/server");
  });

  it("FE-22 is the certificate that the operator got from a CA, over https_web, and its successor when there is one", async () => {
    const first = await shakeHands(web.port, {
      ca: WEB_CA.pem,
      rejectUnauthorized: true,
      servername: "bundle.example.org",
    });
    const { cert, key } = makeCredential(WEB_CA, { dnsNames: ["bundle.example.org"] });
    await writeFile(scratch.at("cert.pem"), cert);
    await writeFile(scratch.at("key.pem"), key);
    await eventually(async () => {
      const { certificate } = await shakeHands(web.port);
      return Buffer.compare(certificate.serial, first.certificate.serial) !== 0;
    });
  });

  it("FE-23 names the endpoint's host over https_web", async () => {
    const { certificate } = await shakeHands(web.port);
    expect(certificate.subjectAltName?.dnsNames).toEqual(["bundle.example.org"]);
  });
});

function keysOf(body: Buffer): readonly (string | undefined)[] {
  return documentOf(body).keys.map(({ kid }) => kid);
}

function keysWithCertificates(body: Buffer): readonly Buffer[] {
  return documentOf(body).keys.flatMap(({ x5c = [] }) => x5c.map((text) => Buffer.from(text, "base64")));
}

function documentOf(body: Buffer): BundleDocument {
  return JSON.parse(body.toString()) as BundleDocument;
}

interface BundleDocument {
  readonly spiffe_sequence: number;
  readonly spiffe_refresh_hint: number;
  readonly keys: readonly { readonly use: string; readonly kid?: string; readonly x5c?: readonly string[] }[];
}
