import { afterAll, beforeAll, expect, it } from "vitest";
import { createCaRequest } from "../../src/crypto/ca-request.ts";
import { readCertificate } from "../../src/crypto/certificate-reader.ts";
import { verifyChain } from "../../src/crypto/chain.ts";
import type { UpstreamAuthority } from "../../src/plugin/upstream-authority.ts";
import { vaultUpstream } from "../../src/upstream/vault/vault.ts";
import { makeScratch, type Scratch } from "../e2e/scratch.ts";
import { makeKey } from "../fakes/certificates.ts";
import { BUILD_PATIENCE, describeWith } from "./peers.ts";
import { type DevVault, startVault, vaultHost } from "./vault.ts";

// As docs/plugins/upstream-authority-vault.md gives it.
const policyOf = (mount: string) => `path "${mount}/root/sign-intermediate" { capabilities = ["update"] }`;

describeWith(["go"], "HashiCorp Vault's PKI engine", () => {
  let scratch: Scratch;
  let vault: DevVault;
  beforeAll(async () => {
    scratch = await makeScratch();
    vault = await startVault(scratch);
    const tune = { max_lease_ttl: "87600h" };
    for (const mount of ["pki", "company/issuing"]) {
      await vault.post(`sys/mounts/${mount}`, { type: "pki", config: tune });
    }
    const root = { common_name: "company root", ttl: "87600h", key_type: "ec", key_bits: 384 };
    await vault.post("pki/root/generate/internal", root);
    const { csr } = await vault.post("company/issuing/intermediate/generate/internal", {
      common_name: "company issuing",
    });
    const signed = await vault.post("pki/root/sign-intermediate", {
      csr,
      ttl: "8760h",
      common_name: "company issuing",
    });
    await vault.post("company/issuing/intermediate/set-signed", {
      certificate: [signed["certificate"], signed["issuing_ca"]].join("\n"),
    });
  }, BUILD_PATIENCE);
  afterAll(async () => {
    await vault?.[Symbol.asyncDispose]();
    await scratch?.[Symbol.asyncDispose]();
  });

  async function open(mount: string, policy = policyOf(mount)): Promise<UpstreamAuthority> {
    const login = await vault.appRole(mount.replace("/", "-"), policy);
    const all = { ...vault.reach, ...login, pki_mount_point: mount };
    const read = await vaultUpstream.config["~standard"].validate(all);
    if (read.issues !== undefined) throw new Error(JSON.stringify(read.issues));
    return vaultUpstream.create(read.value, vaultHost);
  }

  async function order(curve: "ec-p256" | "ec-p384" = "ec-p256", ttl = 3600) {
    const key = makeKey(curve);
    const subject = [
      { oid: "2.5.4.6", value: "US" },
      { oid: "2.5.4.10", value: "SPIFFE" },
      { oid: "2.5.4.5", value: "123456" },
    ];
    const fields = { trustDomain: "example.org", spki: key.spki, subject };
    const algorithm = curve === "ec-p256" ? "ecdsa-sha256" : "ecdsa-sha384";
    const csr = await createCaRequest(fields, algorithm, key.sign);
    return { key, order: { csr, ttl, signal: new AbortController().signal } };
  }

  it.each([
    ["a root", "pki", 1],
    ["an authority below the root", "company/issuing", 2],
  ] as const)(
    "makes authorities below %s that chain, with our key and name",
    async (_title, mount, length) => {
      await using upstream = await open(mount);
      for (const curve of ["ec-p256", "ec-p384"] as const) {
        const { key, order: wanted } = await order(curve);
        const made = await upstream.mintX509Ca(wanted);
        expect(made.chain).toHaveLength(length);
        expect(made.roots).toHaveLength(1);
        const [own, ...above] = made.chain.map((der) => readCertificate(der));
        if (own === undefined) throw new Error("no certificate came");
        const now = Math.floor(Date.now() / 1000);
        const roots = made.roots.map(({ certificate }) => readCertificate(certificate));
        verifyChain({ leaf: own, intermediates: above, roots, at: now });
        expect(Buffer.from(own.spki)).toEqual(Buffer.from(key.spki));
        expect(own.basicConstraints?.ca).toBe(true);
        expect(own.notAfter - now).toBeGreaterThan(3500);
        expect(own.notAfter - now).toBeLessThanOrEqual(3600);
        expect(Buffer.from(own.der).includes("spiffe://example.org")).toBe(true);
      }
    },
  );

  it("gives no longer life than its own, and refuses what its policy forbids", async () => {
    await using upstream = await open("company/issuing");
    const { order: long } = await order("ec-p256", 10 * 365 * 86_400);
    const [own, issuer] = (await upstream.mintX509Ca(long)).chain.map((der) => readCertificate(der));
    expect(own?.notAfter).toBeLessThanOrEqual(issuer?.notAfter ?? 0);
    await using forbidden = await open("pki", policyOf("elsewhere"));
    await expect(forbidden.mintX509Ca((await order()).order)).rejects.toThrowCode("UPSTREAM_REFUSED", /403/);
  });
});
