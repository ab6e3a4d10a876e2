import { createPrivateKey, createPublicKey, type KeyObject, randomBytes } from "node:crypto";
import { z } from "zod";
import { AssayError } from "../../../errors/assay-error.ts";
import { readBounded } from "../../../files/read-bounded.ts";
import { defineAgentNodeAttestor } from "../../../plugin/agent-node-attestor.ts";
import { readCertificateFile } from "./certificate-file.ts";
import { answerChallenge } from "./proof.ts";
import { NONCE_BYTES, writePayload } from "./wire.ts";

const path = z.string().min(1).max(4096);

/** The agent's half of `x509pop`: shows a certificate chain and proves that it has the leaf's key. */
export const x509popAgent = defineAgentNodeAttestor({
  kind: "agentNodeAttestor",
  apiVersion: 1,
  name: "x509pop",
  config: z.strictObject({
    private_key_path: path.describe("PEM file with the private key of the certificate, EC or RSA"),
    certificate_path: path.describe("PEM file with the certificate, and its intermediates if you like"),
    intermediates_path: path.optional().describe("PEM file with further intermediate certificates"),
  }),
  create: ({
    private_key_path: privateKeyPath,
    certificate_path: certificatePath,
    intermediates_path: intermediatesPath,
  }) => ({
    // The files are read at each attestation, as whoever renews the certificate replaces them.
    async begin(signal) {
      signal.throwIfAborted();
      const own = await readCertificateFile(certificatePath);
      const further = intermediatesPath === undefined ? [] : await readCertificateFile(intermediatesPath);
      const privateKey = await readPrivateKey(privateKeyPath);
      const leaf = own[0];
      if (leaf === undefined || !isKeyOf(privateKey, leaf.spki)) {
        throw invalid(
          `private_key_path ${privateKeyPath} does not hold the key of the certificate in ${certificatePath}`,
        );
      }
      let answered = false;
      return {
        payload: writePayload([...own, ...further].map(({ der }) => der)),
        async answer(challenge) {
          // One attestation has one challenge; a second would make the agent sign what somebody else chose.
          if (answered) throw new AssayError("ATTESTATION_FAILED", "the server sent a second challenge");
          answered = true;
          return answerChallenge(challenge, privateKey, randomBytes(NONCE_BYTES));
        },
      };
    },
    async [Symbol.asyncDispose]() {},
  }),
});

function isKeyOf(privateKey: KeyObject, spki: Uint8Array): boolean {
  try {
    const certified = createPublicKey({ key: Buffer.from(spki), format: "der", type: "spki" });
    return createPublicKey(privateKey).equals(certified);
  } catch {
    return false;
  }
}

async function readPrivateKey(file: string): Promise<KeyObject> {
  const pem = await readBounded(file, MAX_KEY_FILE_BYTES, { code: "CONFIG_INVALID" });
  let key: KeyObject;
  try {
    key = createPrivateKey({ key: pem, format: "pem" });
  } catch {
    // The cause is left out: some of OpenSSL's errors tell about the content.
    throw invalid(`private_key_path ${file} holds no private key in PEM without a passphrase`);
  } finally {
    pem.fill(0);
  }
  if (key.asymmetricKeyType === "ec" || key.asymmetricKeyType === "rsa") return key;
  throw invalid(`private_key_path ${file} holds a key that is neither EC nor RSA`);
}

function invalid(detail: string): AssayError {
  return new AssayError("CONFIG_INVALID", detail);
}

const MAX_KEY_FILE_BYTES = 65_536;
