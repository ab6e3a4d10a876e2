import { rmSync } from "node:fs";
import { afterAll, describe, expect, it } from "vitest";
import { TEST_NOW, type TestCertificate } from "../../../../test/fakes/certificates.ts";
import {
  attest,
  folder,
  good,
  holder,
  middle,
  node,
  root,
  sha1,
  stranger,
} from "../../../../test/fakes/x509pop.ts";
import { writePayload } from "./wire.ts";

afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe("x509pop, the certificates: what is verified is what is used", () => {
  const key = node.key.privateKey;

  it("refuses a chain with any byte of the leaf's signed part or signature turned", async () => {
    const { der, tbs } = node.certificate;
    const start = Buffer.from(der).indexOf(tbs);
    for (let i = 0; i < der.length; i += 7) {
      const broken = Buffer.from(der);
      broken[i]! ^= 0x01;
      const payload = writePayload([broken, middle.certificate.der]);
      const outcome = attest(good, key, { payload });
      await expect(outcome, `byte ${i} of ${der.length}, signed part from ${start}`).rejects.toThrowCode(
        "ATTESTATION_FAILED",
      );
    }
  });

  it("uses the first certificate only: a second leaf earns nothing", async () => {
    const other = holder({ subject: "node-2", issuer: middle });
    const both = [node.certificate, other.certificate, middle.certificate];
    const { agentId, selectors } = await attest(both, key);
    expect(agentId).toContain(sha1(node.certificate));
    expect(selectors.map(({ value }) => value).join()).not.toContain(sha1(other.certificate));
    await expect(attest(both, other.key.privateKey)).rejects.toThrowCode("ATTESTATION_FAILED", "proof");
    const swapped = [other.certificate, node.certificate, middle.certificate];
    await expect(attest(swapped, key)).rejects.toThrowCode("ATTESTATION_FAILED", "proof");
  });

  it("refuses leaf and intermediate in the wrong order, with a proof by either key", async () => {
    const swapped = [middle.certificate, node.certificate];
    await expect(attest(swapped, key)).rejects.toThrowCode(
      "ATTESTATION_FAILED",
      "leaf certificate is a CA certificate",
    );
    await expect(attest(swapped, middle.key.privateKey)).rejects.toThrowCode(
      "ATTESTATION_FAILED",
      "CA certificate",
    );
  });

  it("gives no selector for certificates that are sent and not part of the path", async () => {
    const idle = holder({ subject: "idle", ca: true, issuer: root });
    const { selectors } = await attest([...good, idle.certificate, stranger.certificate], key);
    const text = selectors.map(({ value }) => value).join();
    expect(text).not.toContain(sha1(idle.certificate));
    expect(text).not.toContain(sha1(stranger.certificate));
  });

  it("trusts no root that the agent sends along, be it of the same name", async () => {
    const foreign = holder({ subject: "node-1", issuer: stranger });
    const sent = [foreign.certificate, stranger.certificate];
    await expect(attest(sent, foreign.key.privateKey)).rejects.toThrowCode(
      "ATTESTATION_FAILED",
      "certificate verification failed",
    );
  });

  it.each<[string, Partial<TestCertificate>, RegExp]>([
    ["expired", { notAfter: TEST_NOW - 1 }, /leaf certificate has expired/],
    ["not valid yet", { notBefore: TEST_NOW + 1 }, /leaf certificate is not valid yet/],
    ["an authority", { ca: true, keyUsage: [1, 0x86] }, /is a CA certificate/],
    ["without keyUsage", { keyUsage: null }, /not meant for digital signatures/],
    ["for key agreement only", { keyUsage: [3, 0x08] }, /not meant for digital signatures/],
  ])("refuses a leaf that is %s", async (_, wanted, detail) => {
    const one = holder({ subject: "n", issuer: root, ...wanted });
    await expect(attest([one.certificate], one.key.privateKey)).rejects.toThrowCode(
      "ATTESTATION_FAILED",
      detail,
    );
  });

  it("refuses an expired intermediate and one that is no authority", async () => {
    const expired = holder({ subject: "m", ca: true, issuer: root, notAfter: TEST_NOW - 1 });
    const under = holder({ subject: "n", issuer: expired });
    const chain = [under.certificate, expired.certificate];
    await expect(attest(chain, under.key.privateKey)).rejects.toThrowCode(
      "ATTESTATION_FAILED",
      /intermediate certificate has expired/,
    );
    const forged = holder({ subject: "n", issuer: node });
    const longer = [forged.certificate, node.certificate, middle.certificate];
    await expect(attest(longer, forged.key.privateKey)).rejects.toThrowCode("ATTESTATION_FAILED", /not a CA/);
  });

  it("refuses a common name that would reach out of its segment", async () => {
    for (const subject of ["a/b", "..", "", "a b", "{{ .Fingerprint }}", "node\u0000"]) {
      const one = holder({ subject, issuer: root });
      const config = { agent_path_template: "/x509pop/{{ .Subject.CommonName }}" };
      await expect(attest([one.certificate], one.key.privateKey, { config })).rejects.toThrowCode(
        "ATTESTATION_FAILED",
      );
    }
  });
});
