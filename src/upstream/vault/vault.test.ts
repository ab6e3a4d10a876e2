import { beforeEach, describe, expect, it } from "vitest";
import { systemClock } from "../../clock.ts";
import { createCaRequest } from "../../crypto/ca-request.ts";
import type { Certificate } from "../../crypto/certificate-reader.ts";
import { toPem } from "../../crypto/pem.ts";
import { parseTrustDomain } from "../../spiffe/trust-domain.ts";
import { makeCertificate, makeKey } from "../../../test/fakes/certificates.ts";
import { FakeVault, sendVault } from "../../../test/fakes/vault.ts";
import { readSignedIntermediate } from "./signed-intermediate.ts";
import { vaultUpstream } from "./vault.ts";

const pem = ({ der }: Certificate) => toPem("CERTIFICATE", der);
const rootKey = makeKey();
const root = makeCertificate({ subject: "root", key: rootKey, ca: true });
const middleKey = makeKey();
const middle = makeCertificate({
  subject: "middle",
  key: middleKey,
  ca: true,
  issuer: { certificate: root, key: rootKey },
});
const own = makeCertificate({
  subject: "own",
  key: makeKey(),
  ca: true,
  issuer: { certificate: middle, key: middleKey },
});
const GOOD = {
  certificate: pem(own),
  issuing_ca: pem(middle),
  ca_chain: [own, middle, root].map(pem),
  serial_number: "1",
};

describe("what Vault answers to sign-intermediate", () => {
  it.each([
    ["with the new certificate in the chain", GOOD],
    ["without it, as before 1.11", { ...GOOD, ca_chain: [middle, root].map(pem) }],
    ["with spaces around", { ...GOOD, certificate: `\n${pem(own)}\n\n` }],
  ])("is read %s", (_title, answer) => {
    expect(readSignedIntermediate(answer)).toEqual({
      chain: [own.der, middle.der],
      roots: [{ certificate: root.der, tainted: false }],
    });
  });

  it.each([
    ["no chain", undefined],
    ["a chain of null", null],
    ["an empty chain", []],
    ["a chain of the root", [pem(root)]],
  ])("is read where the issuer is the root and there is %s", (_title, ca_chain) => {
    const direct = makeCertificate({
      subject: "direct",
      key: makeKey(),
      ca: true,
      issuer: { certificate: root, key: rootKey },
    });
    expect(readSignedIntermediate({ certificate: pem(direct), issuing_ca: pem(root), ca_chain })).toEqual({
      chain: [direct.der],
      roots: [{ certificate: root.der, tainted: false }],
    });
  });

  it("takes the last of the chain for the root where no root is known", () => {
    expect(readSignedIntermediate({ ...GOOD, ca_chain: [own, middle].map(pem) })).toEqual({
      chain: [own.der],
      roots: [{ certificate: middle.der, tainted: false }],
    });
  });

  it.each([
    ["nothing", undefined],
    ["no issuer", { ...GOOD, issuing_ca: undefined }],
    ["an empty certificate", { ...GOOD, certificate: "" }],
    ["two certificates in one", { ...GOOD, certificate: pem(own) + pem(middle) }],
    ["a key", { ...GOOD, certificate: "-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n" }],
    ["DER", { ...GOOD, certificate: Buffer.from(own.der).toString("base64") }],
    ["a chain of numbers", { ...GOOD, ca_chain: [1] }],
    ["a chain of seventeen", { ...GOOD, ca_chain: Array.from({ length: 17 }, () => pem(root)) }],
    ["itself as its issuer", { certificate: pem(own), issuing_ca: pem(own) }],
  ])("is refused with %s", (_title, answer) => {
    expect(() => readSignedIntermediate(answer)).toThrowCode("UPSTREAM_REFUSED", /Vault/);
  });
});

describe("the vault upstream authority", () => {
  let vault: FakeVault;
  beforeEach(async () => {
    vault = await FakeVault.start();
    return () => vault[Symbol.asyncDispose]();
  });

  async function open(settings: object = {}) {
    const read = await vaultUpstream.config["~standard"].validate({ ...vault.settings, ...settings });
    if (read.issues !== undefined) throw new Error(JSON.stringify(read.issues));
    const log = { debug() {}, info() {}, warn() {}, error() {} };
    const trustDomain = parseTrustDomain("example.org");
    return vaultUpstream.create(read.value, { trustDomain, clock: systemClock, log });
  }

  async function order(signal = new AbortController().signal) {
    const key = makeKey();
    const fields = {
      trustDomain: "example.org",
      spki: key.spki,
      subject: [{ oid: "2.5.4.3", value: "ca, of example.org" }],
    };
    return { csr: await createCaRequest(fields, "ecdsa-sha256", key.sign), ttl: 3600, signal };
  }

  it("asks the engine at its mount to sign the request, with its subject and the one name", async () => {
    vault.instead = ({ path }, response) => {
      if (!path.includes("sign-intermediate")) return false;
      sendVault(response, 200, { data: GOOD });
      return true;
    };
    await using upstream = await open({ pki_mount_point: "/company/pki/" });
    const wanted = await order();
    expect((await upstream.mintX509Ca(wanted)).chain).toEqual([own.der, middle.der]);
    const [call] = vault.calls(/sign-intermediate/);
    expect(call?.path).toBe("company/pki/root/sign-intermediate");
    expect(call?.body).toMatchObject({
      csr: toPem("CERTIFICATE REQUEST", wanted.csr),
      ttl: "3600s",
      common_name: "ca, of example.org",
      exclude_cn_from_sans: true,
      uri_sans: ["spiffe://example.org"],
    });
  });

  it.each([
    [400, "UPSTREAM_REFUSED", /cannot satisfy request/],
    [403, "UPSTREAM_REFUSED", /403/],
    [404, "UPSTREAM_REFUSED", /404/],
    [503, "UPSTREAM_UNAVAILABLE", /503/],
  ] as const)("tells an answer of %i as %s", async (status, code, detail) => {
    vault.instead = ({ path }, response) => {
      if (!path.includes("sign-intermediate")) return false;
      sendVault(response, status, { errors: ["cannot satisfy request"] });
      return true;
    };
    await using upstream = await open();
    await expect(upstream.mintX509Ca(await order())).rejects.toThrowCode(code, detail);
  });

  it.each([
    ["500", 1],
    ["502", 1],
    ["a broken connection", 1],
    ["503", 3],
    ["412", 3],
    ["429", 3],
  ])("asks again after %s only where nothing can have been signed: %i times", async (what, times) => {
    vault.instead = ({ path }, response) => {
      if (!path.includes("sign-intermediate")) return false;
      if (what === "a broken connection") response.destroy();
      else sendVault(response, Number(what), { errors: ["not now"] });
      return true;
    };
    await using upstream = await open();
    await expect(upstream.mintX509Ca(await order())).rejects.toThrowCode("UPSTREAM_UNAVAILABLE");
    expect(vault.calls(/sign-intermediate/)).toHaveLength(times);
  });

  it("revokes the token that it logged in for when it is closed", async () => {
    const approle = { approle_id: "role-id", approle_secret_id_file: vault.path("secret-id") };
    {
      await using upstream = await open({ token_auth: undefined, approle_auth: approle });
      await expect(upstream.mintX509Ca(await order())).rejects.toThrowCode("UPSTREAM_REFUSED");
      expect(vault.tokens.size).toBe(2);
    }
    expect([...vault.tokens.keys()]).toEqual(["root-token"]);
  });

  it("ends with the signal of who waits", async () => {
    vault.instead = ({ path }) => path.includes("sign-intermediate");
    await using upstream = await open();
    const abort = new AbortController();
    const minting = upstream.mintX509Ca(await order(abort.signal));
    minting.catch(() => undefined);
    await expect.poll(() => vault.calls(/sign-intermediate/).length).toBe(1);
    abort.abort(new Error("the server stops"));
    await expect(minting).rejects.toThrowCode("UPSTREAM_UNAVAILABLE", /the server stops/);
  });
});
