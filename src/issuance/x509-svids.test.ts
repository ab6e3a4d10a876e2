import { generateRsaKeyPair } from "../crypto/keys.ts";
import { generateKeyPairSync, sign } from "node:crypto";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { agentCaller, AGENT, IssuanceBench, LOCAL, OTHER_AGENT } from "../../test/fakes/issuance-bench.ts";
import { brokenSignature, makeCsr, makeGreedyCsr, trailingOctet } from "../../test/fakes/issuance-csr.ts";
import { makeKey } from "../../test/fakes/certificates.ts";
import { KEY_USAGE } from "../crypto/certificate-extensions.ts";
import { readCertificate } from "../crypto/certificate-reader.ts";
import { createCertificationRequest } from "../crypto/pkcs10-writer.ts";
import { nameAttribute, readName } from "../crypto/x501-name.ts";
import { issueX509Svids, mintX509Svid } from "./x509-svids.ts";

let bench: IssuanceBench;
beforeEach(async () => {
  bench = await IssuanceBench.open();
});
afterEach(() => bench[Symbol.asyncDispose]());

describe("an X509-SVID for an entry", () => {
  it("holds what the entry says and the key of the request", async () => {
    bench.entry("web", { dnsNames: ["web.example.org", "www.example.org"], x509SvidTtl: 600 });
    const key = makeKey();
    const [decided] = await issueX509Svids(bench.options(), agentCaller(), [
      { entryId: "web", csr: makeCsr({}, key) },
    ]);
    const leaf = bench.validated(decided?.value?.chain ?? []);
    expect(Buffer.from(leaf.spki).equals(key.spki)).toBe(true);
    expect(leaf.subjectAltName).toMatchObject({
      uris: ["spiffe://example.org/web"],
      dnsNames: ["web.example.org", "www.example.org"],
    });
    expect(leaf.notAfter).toBe(bench.now + 600);
    expect(nameAttribute(readName(leaf.subject, "INTERNAL"), "2.5.4.3")).toBe("web.example.org");
  });

  it.each([
    ["another SPIFFE ID", ["spiffe://example.org/admin"]],
    ["an ID of the issuer itself", ["spiffe://example.org/spire/server"]],
    ["a foreign trust domain", ["spiffe://other.org/web"]],
    ["several URIs", ["spiffe://example.org/web", "https://example.org", "spiffe://example.org/admin"]],
  ])("takes nothing from a request that names %s, CA:TRUE and further names", async (_, uris) => {
    bench.entry("web");
    const key = makeKey();
    const [decided] = await issueX509Svids(bench.options(), agentCaller(), [
      { entryId: "web", csr: makeGreedyCsr(uris, key) },
    ]);
    const leaf = bench.validated(decided?.value?.chain ?? []);
    expect(leaf.subjectAltName?.uris).toEqual(["spiffe://example.org/web"]);
    expect(leaf.subjectAltName?.dnsNames).toEqual([]);
    expect(leaf.basicConstraints?.ca ?? false).toBe(false);
    expect((leaf.keyUsage ?? 0) & (KEY_USAGE.keyCertSign | KEY_USAGE.crlSign)).toBe(0);
    expect(readName(leaf.subject, "INTERNAL")).not.toContainEqual({ oid: "2.5.4.3", value: "admin" });
    expect(leaf.extensions.map(({ oid }) => oid)).not.toContain("2.5.29.30");
    for (const wished of ["admin.example.org", "root@example.org", "other.org"]) {
      expect(Buffer.from(leaf.der).includes(wished)).toBe(false);
    }
  });

  it("is not handed out where the agent was banned while the others of its batch were signed", async () => {
    for (const id of ["a", "b"]) bench.entry(id);
    const options = bench.options();
    let asked = 0;
    const banned = {
      ...options,
      authorizedEntry: (agent: typeof AGENT, id: string) =>
        ++asked > 2 ? undefined : options.authorizedEntry(agent, id),
    };
    const csr = makeCsr();
    const decided = await issueX509Svids(banned, agentCaller(), [
      { entryId: "a", csr },
      { entryId: "b", csr },
    ]);
    expect(decided.map(({ value, error }) => value ?? error?.code)).toEqual([
      "ENTRY_NOT_FOUND",
      "ENTRY_NOT_FOUND",
    ]);
    expect(bench.audit.records.map(({ event, outcome, code }) => [event, outcome, code])).toEqual([
      ["svid.denied", "denied", "ENTRY_NOT_FOUND"],
      ["svid.denied", "denied", "ENTRY_NOT_FOUND"],
    ]);
  });

  it("is refused to the item whose request is bad, and to no other", async () => {
    for (const id of ["a", "b", "c", "d", "e", "f"]) bench.entry(id);
    const csr = makeCsr();
    const decided = await issueX509Svids(bench.options(), agentCaller(), [
      { entryId: "a", csr },
      { entryId: "b", csr: brokenSignature(makeCsr()) },
      { entryId: "c", csr: trailingOctet(makeCsr()) },
      { entryId: "d", csr: ed25519Csr() },
      { entryId: "e", csr: new Uint8Array() },
      { entryId: "f", csr },
    ]);
    expect(decided.map(({ value, error }) => value?.spiffeId ?? error?.code)).toEqual([
      "spiffe://example.org/a",
      "INVALID_CSR",
      "INVALID_CSR",
      "INVALID_CSR",
      "INVALID_CSR",
      "spiffe://example.org/f",
    ]);
    expect(decided[1]?.error?.detail).toContain("signature does not verify");
    expect(decided[3]?.error?.detail).toMatch(/key/);
  });

  it("is refused for an entry that is unknown, another agent's or expired, all in the same words", async () => {
    bench.entry("mine");
    bench.entry("over", { expiresAt: bench.now });
    const csr = makeCsr();
    const refusals = [
      ...(await issueX509Svids(bench.options(), agentCaller(), [
        { entryId: "none", csr },
        { entryId: "over", csr },
        { entryId: "", csr },
      ])),
      ...(await issueX509Svids(bench.options(), agentCaller(OTHER_AGENT), [{ entryId: "mine", csr }])),
    ];
    for (const { error, value } of refusals) {
      expect(value).toBeUndefined();
      expect(error).toMatchObject({
        code: "ENTRY_NOT_FOUND",
        detail: "entry not found or not authorized",
      });
    }
  });

  it("does not outlive its entry, nor its authority", async () => {
    bench.entry("short", { expiresAt: bench.now + 90, x509SvidTtl: 600 });
    bench.entry("long", { x509SvidTtl: 10 * 86_400 });
    const csr = makeCsr();
    const [short, long] = await issueX509Svids(bench.options(), agentCaller(), [
      { entryId: "short", csr },
      { entryId: "long", csr },
    ]);
    expect(short?.value?.notAfter).toBe(bench.now + 90);
    expect(long?.value?.notAfter).toBe(bench.signing.x509AuthorityNotAfter());
  });

  it("is refused by policy with the rule's name, for the item that breaks it", async () => {
    bench.entry("web");
    const p256 = makeCsr();
    const key = makeKey("ec-p384");
    const p384 = createCertificationRequest({ spki: key.spki }, "ecdsa-sha384", key.sign);
    const decided = await issueX509Svids(bench.options({ keyTypes: ["ec-p256"] }), agentCaller(), [
      { entryId: "web", csr: p384 },
      { entryId: "web", csr: p256 },
    ]);
    expect(decided[0]?.error).toMatchObject({
      code: "POLICY_DENIED",
      detail: expect.stringContaining("rule key-type") as string,
    });
    expect(decided[1]?.value?.spiffeId).toBe("spiffe://example.org/web");
  });
});

describe("an entry that demands a type of key", () => {
  it("gives X509-SVIDs to keys of that type and no other, RSA by its size", async () => {
    bench.entry("p384", { svidKeyType: "ec-p384" });
    bench.entry("rsa", { svidKeyType: "rsa-4096" });
    const key = makeKey("ec-p384");
    const p384 = createCertificationRequest({ spki: key.spki }, "ecdsa-sha384", key.sign);
    const pair = await generateRsaKeyPair(2048);
    const rsa2048 = createCertificationRequest({ spki: pair.spki }, "rsa-sha256", (bytes) =>
      sign("sha256", bytes, { key: Buffer.from(pair.pkcs8), format: "der", type: "pkcs8" }),
    );
    const decided = await issueX509Svids(bench.options(), agentCaller(), [
      { entryId: "p384", csr: makeCsr() },
      { entryId: "p384", csr: p384 },
      { entryId: "rsa", csr: rsa2048 },
    ]);
    expect(decided.map(({ error }) => error?.code)).toEqual(["POLICY_DENIED", undefined, "POLICY_DENIED"]);
    expect(decided[2]?.error?.detail).toMatch(/demands keys of type rsa-4096, the key is rsa-2048/);
  });
});

describe("the records of X509-SVIDs", () => {
  it("are one for each decision, written by one call, with everything that identifies it", async () => {
    bench.entry("web");
    const csr = makeCsr();
    const decided = await issueX509Svids(bench.options(), agentCaller(), [
      { entryId: "web", csr },
      { entryId: "gone", csr },
      { entryId: "web", csr: brokenSignature(csr) },
    ]);
    expect(bench.audit.writes).toBe(1);
    const common = { caller_address: "192.0.2.7", caller_id: AGENT, agent_id: AGENT };
    const [issued, gone, broken] = bench.audit.records;
    const { serial = "", notAfter, authorityId, certificate = new Uint8Array() } = decided[0]?.value ?? {};
    expect(issued).toEqual({
      ...common,
      event: "svid.x509.issued",
      outcome: "issued",
      decision_id: "decision-1",
      entry_id: "web",
      entry_revision: 3,
      spiffe_id: "spiffe://example.org/web",
      selectors: ["unix:uid:1000"],
      authority_id: authorityId,
      serial,
      expires_at: notAfter,
    });
    expect(BigInt(`0x${serial}`)).toBe(
      BigInt(`0x${Buffer.from(readCertificate(certificate).serial).toString("hex")}`),
    );
    expect(gone).toEqual({
      ...common,
      event: "svid.denied",
      outcome: "denied",
      decision_id: "decision-2",
      entry_id: "gone",
      code: "ENTRY_NOT_FOUND",
      reasons: ["entry not found or not authorized"],
    });
    expect(broken).toMatchObject({
      outcome: "denied",
      code: "INVALID_CSR",
      entry_id: "web",
      spiffe_id: "spiffe://example.org/web",
    });
    expect(broken).not.toHaveProperty("serial");
  });

  it("keep the whole batch back when they cannot be written", async () => {
    bench.entry("web");
    bench.audit.broken = true;
    const csr = makeCsr();
    await expect(
      issueX509Svids(bench.options(), agentCaller(), [
        { entryId: "web", csr },
        { entryId: "web", csr },
      ]),
    ).rejects.toThrowCode("AUDIT_UNAVAILABLE");
  });

  it("say `failed` where it was not the caller's fault, and show the caller a decision id instead of the fault", async () => {
    bench.entry("web");
    const options = bench.options();
    const signing = {
      ...options.signing,
      signX509Svid: () => Promise.reject(new Error("PIN 1234 was wrong")),
    };
    const [decided] = await issueX509Svids({ ...options, signing }, agentCaller(), [
      { entryId: "web", csr: makeCsr() },
    ]);
    expect(decided?.error).toMatchObject({ code: "INTERNAL" });
    expect(decided?.error?.detail).toContain("decision-1");
    expect(bench.audit.records[0]).toMatchObject({
      outcome: "failed",
      code: "INTERNAL",
      event: "svid.denied",
    });
  });
});

describe("minting an X509-SVID for an administrator", () => {
  it("takes the ID, the DNS names and the key of the request", async () => {
    const csr = makeCsr({ uris: ["spiffe://example.org/minted"], dnsNames: ["minted.example.org"] });
    const svid = await mintX509Svid(bench.options(), LOCAL, { csr, ttl: 60 });
    const leaf = bench.validated(svid.chain);
    expect(leaf.subjectAltName).toMatchObject({
      uris: ["spiffe://example.org/minted"],
      dnsNames: ["minted.example.org"],
    });
    expect(svid.notAfter).toBe(bench.now + 60);
    expect(bench.audit.records).toEqual([
      {
        event: "svid.x509.issued",
        outcome: "issued",
        decision_id: "decision-1",
        caller_pid: 42,
        caller_uid: 0,
        caller_gid: 0,
        caller_path: "/usr/bin/assay",
        spiffe_id: "spiffe://example.org/minted",
        authority_id: svid.authorityId,
        serial: svid.serial,
        expires_at: svid.notAfter,
      },
    ]);
  });

  it.each([
    ["no URI", [], "INVALID_CSR", "URI SAN is required"],
    ["two URIs", ["spiffe://example.org/a", "spiffe://example.org/b"], "INVALID_CSR", "only one URI"],
    ["a malformed ID", ["spiffe://example.org/a//b"], "INVALID_SPIFFE_ID", ""],
    ["a foreign trust domain", ["spiffe://other.org/a"], "POLICY_DENIED", "spiffe-id-member"],
    ["a trust domain's ID", ["spiffe://example.org"], "POLICY_DENIED", "spiffe-id-path"],
    ["the server's ID", ["spiffe://example.org/spire/server"], "POLICY_DENIED", "spiffe-id-reserved"],
  ] as const)("refuses %s", async (_, uris, code, detail) => {
    await expect(
      mintX509Svid(bench.options(), LOCAL, { csr: makeCsr({ uris }), ttl: 0 }),
    ).rejects.toThrowCode(code, detail);
    expect(bench.audit.records).toMatchObject([{ outcome: "denied", code }]);
  });

  it("gives nothing when its record cannot be written", async () => {
    bench.audit.broken = true;
    const csr = makeCsr({ uris: ["spiffe://example.org/minted"] });
    await expect(mintX509Svid(bench.options(), LOCAL, { csr, ttl: 60 })).rejects.toThrowCode(
      "AUDIT_UNAVAILABLE",
    );
  });
});

function ed25519Csr(): Uint8Array {
  const { publicKey, privateKey } = generateKeyPairSync("ed25519");
  const spki = publicKey.export({ format: "der", type: "spki" });
  return createCertificationRequest({ spki }, "ecdsa-sha256", (bytes) => sign(null, bytes, privateKey));
}
