import { generateKeyPairSync } from "node:crypto";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import {
  type Answer,
  attest,
  bundle,
  folder,
  good,
  holder,
  middle,
  node,
  root,
  rsaKey,
  server,
  stranger,
  testKey,
} from "../../../../test/fakes/x509pop.ts";
import { toPem } from "../../../crypto/pem.ts";
import { writePayload } from "./wire.ts";

afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe("x509pop, bounds before any signature is verified", () => {
  const never: Answer = () => expect.unreachable("no challenge may be sent");

  it("counts intermediates", async () => {
    const sent = [node.certificate, ...Array.from({ length: 5 }, () => middle.certificate)];
    const refused = attest(sent, node.key.privateKey, { answer: never });
    await expect(refused).rejects.toThrowCode(
      "ATTESTATION_FAILED",
      "payload has more than 4 intermediate certificates",
    );
    const two = attest([...good, middle.certificate], node.key.privateKey, {
      config: { max_intermediates: 1 },
      answer: never,
    });
    await expect(two).rejects.toThrowCode("ATTESTATION_FAILED", "more than 1 intermediate");
  });

  it("measures RSA keys, of the leaf and of intermediates", async () => {
    const key = rsaKey(3072);
    const leaf = holder({ subject: "n", issuer: root, key });
    const config = { max_rsa_key_size: 2048 };
    const refused = attest([leaf.certificate], key.privateKey, { config, answer: never });
    await expect(refused).rejects.toThrowCode(
      "ATTESTATION_FAILED",
      "leaf certificate has an RSA key of more than 2048 bits",
    );
    const authority = holder({ subject: "m", ca: true, issuer: root, key });
    const sent = attest([node.certificate, authority.certificate], node.key.privateKey, {
      config,
      answer: never,
    });
    await expect(sent).rejects.toThrowCode(
      "ATTESTATION_FAILED",
      "an intermediate certificate has an RSA key",
    );
  });

  it("refuses weak and foreign kinds of key", async () => {
    const weak = rsaKey(1024);
    const leaf = holder({ subject: "n", issuer: root, key: weak });
    await expect(attest([leaf.certificate], weak.privateKey, { answer: never })).rejects.toThrowCode(
      "ATTESTATION_FAILED",
      "less than 2048 bits",
    );
    const ed = edKey();
    const other = holder({ subject: "n", issuer: root, key: ed });
    await expect(attest([other.certificate], ed.privateKey, { answer: never })).rejects.toThrowCode(
      "ATTESTATION_FAILED",
      "neither RSA nor EC",
    );
    const koblitz = koblitzKey();
    const third = holder({ subject: "n", issuer: root, key: koblitz });
    await expect(attest([third.certificate], koblitz.privateKey, { answer: never })).rejects.toThrowCode(
      "ATTESTATION_FAILED",
      "unsupported curve",
    );
  });

  it.each([
    ["no list", '{"certificates":"x"}'],
    ["an empty list", '{"certificates":[]}'],
    ["null", '{"certificates":null}'],
    ["null in the list", '{"certificates":[null]}'],
    ["base64url", '{"certificates":["-_-_"]}'],
    ["base64 with a line break", '{"certificates":["AAAA\\nAAAA"]}'],
    ["base64 without padding", '{"certificates":["AA"]}'],
    ["an unknown member", '{"certificates":["AAAA"],"x":1}'],
    ["a member twice", '{"certificates":["AAAA"],"certificates":["BBBB"]}'],
    ["an escaped name", '{"certif\\u0069cates":["AAAA"]}'],
    ["something after the value", '{"certificates":["AAAA"]} {}'],
    ["a byte order mark", '\ufeff{"certificates":["AAAA"]}'],
    ["no certificate inside", '{"certificates":["AAAA"]}'],
  ])("refuses a payload with %s", async (_, text) => {
    const refused = attest(good, node.key.privateKey, { payload: Buffer.from(text), answer: never });
    await expect(refused).rejects.toThrowCode("ATTESTATION_FAILED");
  });

  it("accepts white space between the parts of the JSON", async () => {
    const payload = Buffer.from(JSON.stringify(parsed(writePayload(good.map(({ der }) => der))), null, 2));
    await attest(good, node.key.privateKey, { payload });
  });

  it("refuses a payload that is no UTF-8, and bytes after a certificate", async () => {
    await expect(
      attest(good, node.key.privateKey, {
        payload: Buffer.from('{"certificates":["\xff"]}', "latin1"),
        answer: never,
      }),
    ).rejects.toThrowCode("ATTESTATION_FAILED", "not JSON");
    const trailing = writePayload([
      Buffer.concat([node.certificate.der, Buffer.alloc(1)]),
      middle.certificate.der,
    ]);
    await expect(attest(good, node.key.privateKey, { payload: trailing, answer: never })).rejects.toThrowCode(
      "ATTESTATION_FAILED",
      "leaf certificate",
    );
  });
});

describe("x509pop, configuration of the server's half", () => {
  it.each([
    [{ ca_bundle_path: undefined }, /exactly one of ca_bundle_path and ca_bundle_paths/],
    [{ ca_bundle_paths: ["/x"] }, /exactly one of ca_bundle_path and ca_bundle_paths/],
    [{ mode: "spiffe" }, /external_pki/],
    [{ max_intermediates: 0 }, /./],
    [{ max_rsa_key_size: 16384 }, /./],
    [{ caBundlePath: "/x" }, /caBundlePath/],
  ])("refuses %j", async (config, message) => {
    await expect(server(config)).rejects.toThrow(message);
  });

  it("names the bundle that is missing, or that holds something else", async () => {
    const missing = join(folder, "missing.pem");
    await expect(server({ ca_bundle_path: missing })).rejects.toThrowCode("CONFIG_INVALID", missing);
    const key = join(folder, "key.pem");
    writeFileSync(key, toPem("PRIVATE KEY", node.key.pkcs8));
    await expect(server({ ca_bundle_path: key })).rejects.toThrowCode("CONFIG_INVALID", key);
  });

  it("reads several bundles", async () => {
    const second = join(folder, "second.pem");
    writeFileSync(second, toPem("CERTIFICATE", stranger.certificate.der));
    const config = { ca_bundle_path: undefined, ca_bundle_paths: [bundle, second] };
    const foreign = holder({ subject: "f", issuer: stranger });
    await attest([foreign.certificate], foreign.key.privateKey, { config });
    await attest(good, node.key.privateKey, { config });
  });

  it.each([
    ["/x509pop/same-for-all", /needs one of/],
    ["/other/{{ .Fingerprint }}", /must begin with \/x509pop\//],
    ["{{ .Fingerprint }}", /must begin with/],
    ["/x509pop/{{ .Fingerprint }}/", /trailing slash/],
    ["/x509pop/../{{ .Fingerprint }}", /dot segments/],
    ["/x509pop/{{ .Signature }}", /unknown field Signature/],
    ["/x509pop/{{ .constructor }}", /unknown field constructor/],
    ["/x509pop/{{ .Fingerprint | upper }}", /brace/],
    ["/x509pop/{{ .Fingerprint }", /brace/],
  ])("refuses the agent path template %s", async (agent_path_template, detail) => {
    await expect(server({ agent_path_template })).rejects.toThrowCode("CONFIG_INVALID", detail);
  });
});

function parsed(bytes: Uint8Array) {
  return JSON.parse(Buffer.from(bytes).toString()) as {
    ecdsa_signature: Record<"nonce" | "r" | "s", string>;
  };
}

function edKey() {
  const { publicKey, privateKey } = generateKeyPairSync("ed25519");
  return testKey(publicKey, privateKey);
}

function koblitzKey() {
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "secp256k1" });
  return testKey(publicKey, privateKey);
}
