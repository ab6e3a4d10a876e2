import { rmSync } from "node:fs";
import { afterAll, describe, expect, it } from "vitest";
import { nodeAttestorSuite } from "../../../../test/contract/node-attestor-suite.ts";
import { makeKey } from "../../../../test/fakes/certificates.ts";
import {
  attest,
  b64,
  bundle,
  folder,
  good,
  holder,
  host,
  middle,
  node,
  root,
  rsaKey,
  sha1,
} from "../../../../test/fakes/x509pop.ts";
import { answerChallenge } from "./proof.ts";
import { x509pop } from "./server.ts";
import { writePayload } from "./wire.ts";

afterAll(() => rmSync(folder, { recursive: true, force: true }));

nodeAttestorSuite({
  plugin: x509pop,
  host: () => host,
  config: () => ({ ca_bundle_path: bundle }),
  evidence: async () => ({
    payload: writePayload(good.map(({ der }) => der)),
    remoteAddress: "",
    challenge: async (challenge) => answerChallenge(challenge, node.key.privateKey, Buffer.alloc(32, 9)),
  }),
  challenges: true,
});

describe("x509pop, good evidence", () => {
  it("names the agent by the leaf's fingerprint and gives the facts as selectors", async () => {
    const attestation = await attest(good, node.key.privateKey);
    expect(attestation.agentId).toBe(`spiffe://example.org/spire/agent/x509pop/${sha1(node.certificate)}`);
    expect(attestation.canReattest).toBe(true);
    expect(attestation.selectors.map(({ value }) => value)).toEqual([
      "subject:cn:node-1",
      `ca:fingerprint:${sha1(middle.certificate)}`,
      `ca:fingerprint:${sha1(root.certificate)}`,
      `serialnumber:${Buffer.from(node.certificate.serial).toString("hex")}`,
      "san:rack:7/left",
    ]);
  });

  it("needs no intermediate where the root signed the leaf", async () => {
    const direct = holder({ subject: "direct", issuer: root });
    const { selectors } = await attest([direct.certificate], direct.key.privateKey);
    expect(selectors.map(({ value }) => value)).toContain(`ca:fingerprint:${sha1(root.certificate)}`);
  });

  it.each(["ec-p256", "ec-p384"] as const)("works with a key on %s", async (curve) => {
    const key = makeKey(curve);
    const one = holder({ subject: "n", issuer: root, key });
    for (let i = 0; i < 20; i++) await attest([one.certificate], key.privateKey);
  });

  it("works with an RSA key", async () => {
    const key = rsaKey(2048);
    const one = holder({ subject: "n", issuer: root, key });
    await attest([one.certificate], key.privateKey);
  });

  it("reads ECDSA numbers without their leading zeros, as Go writes them", async () => {
    let short = 0;
    await attest(good, node.key.privateKey, {
      answer: (challenge) => {
        // One number in 256 begins with a zero octet, so that one is soon found.
        while (short === 0) {
          const proof = parsed(answerChallenge(challenge, node.key.privateKey, Buffer.alloc(32, 1)));
          for (const name of ["r", "s"] as const) {
            const number = Buffer.from(proof.ecdsa_signature[name], "base64");
            if (number[0] === 0) short++;
            proof.ecdsa_signature[name] = number
              .subarray(number.findIndex((byte) => byte !== 0))
              .toString("base64");
          }
          if (short > 0) return Buffer.from(JSON.stringify(proof));
        }
        return Buffer.of();
      },
    });
    expect(short).toBeGreaterThan(0);
  });

  it("fills an agent path template", async () => {
    const agent_path_template = "/x509pop/{{ .TrustDomain }}/{{.Subject.CommonName}}";
    const { agentId } = await attest(good, node.key.privateKey, { config: { agent_path_template } });
    expect(agentId).toBe("spiffe://example.org/spire/agent/x509pop/example.org/node-1");
  });
});

describe("x509pop, the proof", () => {
  it("refuses a proof by another key", async () => {
    const refused = attest(good, makeKey().privateKey);
    await expect(refused).rejects.toThrowCode("ATTESTATION_FAILED", "proof does not verify");
  });

  it("refuses a proof by a key of another kind", async () => {
    const refused = attest(good, node.key.privateKey, {
      answer: () => Buffer.from(JSON.stringify({ rsa_signature: { nonce: b64(32), signature: b64(256) } })),
    });
    await expect(refused).rejects.toThrowCode("ATTESTATION_FAILED", "ecdsa_signature");
  });

  it("refuses a proof for another challenge", async () => {
    const refused = attest(good, node.key.privateKey, {
      answer: () =>
        answerChallenge(
          Buffer.from(JSON.stringify({ ecdsa_signature: { nonce: b64(32) } })),
          node.key.privateKey,
          Buffer.alloc(32),
        ),
    });
    await expect(refused).rejects.toThrowCode("ATTESTATION_FAILED", "proof does not verify");
  });

  it("asks a different challenge each time", async () => {
    const asked = new Set<string>();
    for (let i = 0; i < 20; i++) {
      await attest(good, node.key.privateKey, {
        answer: (challenge) => {
          asked.add(Buffer.from(challenge).toString());
          return answerChallenge(challenge, node.key.privateKey, Buffer.alloc(32));
        },
      });
    }
    expect(asked.size).toBe(20);
  });

  it.each(["nonce", "r", "s"] as const)("refuses a proof with any bit of %s turned", async (name) => {
    for (const bit of [0, 100, 255]) {
      const refused = attest(good, node.key.privateKey, {
        answer: (challenge) => {
          const proof = parsed(answerChallenge(challenge, node.key.privateKey, Buffer.alloc(32, 3)));
          const bytes = Buffer.from(proof.ecdsa_signature[name], "base64");
          bytes[bit >> 3]! ^= 1 << (bit & 7);
          proof.ecdsa_signature[name] = bytes.toString("base64");
          return Buffer.from(JSON.stringify(proof));
        },
      });
      await expect(refused).rejects.toThrowCode("ATTESTATION_FAILED");
    }
  });

  it.each([
    ["no JSON", "?"],
    ["nothing", "{}"],
    ["null for the key's kind", '{"rsa_signature":null,"ecdsa_signature":null}'],
    ["zeros as signature", JSON.stringify({ ecdsa_signature: { nonce: b64(32), r: "", s: "" } })],
    [
      "numbers that are too long",
      JSON.stringify({ ecdsa_signature: { nonce: b64(32), r: b64(33), s: b64(32) } }),
    ],
    ["a short nonce", JSON.stringify({ ecdsa_signature: { nonce: b64(31), r: b64(32), s: b64(32) } })],
    ["a long nonce", JSON.stringify({ ecdsa_signature: { nonce: b64(33), r: b64(32), s: b64(32) } })],
    ["numbers as numbers", JSON.stringify({ ecdsa_signature: { nonce: b64(32), r: 1, s: 2 } })],
    [
      "an unknown member",
      JSON.stringify({ ecdsa_signature: { nonce: b64(32), r: b64(32), s: b64(32), x: 1 } }),
    ],
    ["a list", "[]"],
  ])("refuses an answer with %s", async (_, text) => {
    const refused = attest(good, node.key.privateKey, { answer: () => Buffer.from(text) });
    await expect(refused).rejects.toThrowCode("ATTESTATION_FAILED");
  });
});

function parsed(bytes: Uint8Array) {
  return JSON.parse(Buffer.from(bytes).toString()) as {
    ecdsa_signature: Record<"nonce" | "r" | "s", string>;
  };
}
