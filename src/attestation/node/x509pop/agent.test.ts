import { generateKeyPairSync } from "node:crypto";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { makeKey } from "../../../../test/fakes/certificates.ts";
import {
  type Answer,
  attest,
  b64,
  folder,
  holder,
  host,
  middle,
  node,
  sha1,
} from "../../../../test/fakes/x509pop.ts";
import { toPem } from "../../../crypto/pem.ts";
import type { AssayError } from "../../../errors/assay-error.ts";
import { x509popAgent } from "./agent.ts";

afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe("x509pop, the agent's half", () => {
  const certificate_path = join(folder, "node.pem");
  const intermediates_path = join(folder, "middle.pem");
  const private_key_path = join(folder, "node.key");
  writeFileSync(certificate_path, toPem("CERTIFICATE", node.certificate.der));
  writeFileSync(intermediates_path, toPem("CERTIFICATE", middle.certificate.der));
  writeFileSync(private_key_path, toPem("PRIVATE KEY", node.key.pkcs8));
  const files = { certificate_path, intermediates_path, private_key_path };

  async function begin(config: Record<string, unknown> = files) {
    const result = await x509popAgent.config["~standard"].validate(config);
    if (result.issues !== undefined) throw new Error(result.issues.map(({ message }) => message).join("; "));
    return (await x509popAgent.create(result.value, host)).begin(signal);
  }

  it("attests to the server's half", async () => {
    const session = await begin();
    const { agentId } = await attest([], node.key.privateKey, {
      payload: session.payload,
      answer: (challenge) => session.answer(challenge),
    });
    expect(agentId).toContain(sha1(node.certificate));
  });

  it("answers one challenge and no second", async () => {
    const session = await begin();
    const challenge = Buffer.from(JSON.stringify({ ecdsa_signature: { nonce: b64(32) } }));
    await session.answer(challenge);
    await expect(session.answer(challenge)).rejects.toThrowCode("ATTESTATION_FAILED", "second challenge");
  });

  it("refuses a challenge for another kind of key or of another length", async () => {
    for (const challenge of [
      { rsa_signature: { nonce: b64(32) } },
      { ecdsa_signature: { nonce: b64(64) } },
      {},
    ]) {
      const session = await begin();
      await expect(session.answer(Buffer.from(JSON.stringify(challenge)))).rejects.toThrowCode(
        "ATTESTATION_FAILED",
      );
    }
  });

  it("reads renewed files at the next attestation, in whatever PEM form the key is", async () => {
    const renewed = holder({ subject: "node-1", issuer: middle });
    const certificate = join(folder, "renewed.pem");
    const key = join(folder, "renewed.key");
    writeFileSync(
      certificate,
      toPem("CERTIFICATE", renewed.certificate.der) + toPem("CERTIFICATE", middle.certificate.der),
    );
    writeFileSync(key, renewed.key.privateKey.export({ format: "pem", type: "sec1" }));
    const session = await begin({ certificate_path: certificate, private_key_path: key });
    const answer: Answer = (challenge) => session.answer(challenge);
    expect((await attest([], node.key.privateKey, { payload: session.payload, answer })).agentId).toContain(
      sha1(renewed.certificate),
    );
  });

  it("names the file that does not fit, and never its content", async () => {
    const other = join(folder, "other.key");
    writeFileSync(other, toPem("PRIVATE KEY", makeKey().pkcs8));
    await expect(begin({ ...files, private_key_path: other })).rejects.toThrowCode(
      "CONFIG_INVALID",
      /other\.key does not hold the key/,
    );
    const rubbish = join(folder, "rubbish.key");
    writeFileSync(rubbish, "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n");
    const error = await begin({ ...files, private_key_path: rubbish }).catch((e: unknown) => e as AssayError);
    expect(error).toMatchObject({ code: "CONFIG_INVALID" });
    expect((error as AssayError).cause).toBeUndefined();
    const ed = join(folder, "ed.key");
    writeFileSync(ed, generateKeyPairSync("ed25519").privateKey.export({ format: "pem", type: "pkcs8" }));
    await expect(begin({ ...files, private_key_path: ed })).rejects.toThrowCode(
      "CONFIG_INVALID",
      "neither EC nor RSA",
    );
    await expect(begin({ ...files, certificate_path: join(folder, "no.pem") })).rejects.toThrowCode(
      "CONFIG_INVALID",
      "no.pem",
    );
  });
});

const signal = new AbortController().signal;
