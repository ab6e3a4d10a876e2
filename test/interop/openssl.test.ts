import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { output, Program, run } from "../e2e/program.ts";
import { type Issuer, MAKES, NODE_ID, startIssuer } from "./issuers.ts";
import { BUILD_PATIENCE, buildPeer, describeWith, placeForAll } from "./peers.ts";

const WORKLOAD = { uid: 61031, id: "spiffe://example.org/checked-by-openssl" };

describeWith(["go", "openssl", "root"], "OpenSSL", () => {
  describe.each(MAKES)("reading what %s serves", (make) => {
    let issuer: Issuer;
    let leafFile: string;
    let bundleFile: string;

    beforeAll(async () => {
      const spire = await buildPeer("spire");
      const client = await buildPeer("go-client");
      issuer = await startIssuer(make, spire, [
        { parentId: NODE_ID, spiffeId: WORKLOAD.id, selectors: [`unix:uid:${WORKLOAD.uid}`] },
      ]);
      const probe = await placeForAll(join(client, "spiffe-probe"), issuer.scratch);
      const as = {
        uid: WORKLOAD.uid,
        gid: WORKLOAD.uid,
        cwd: "/",
        env: { SPIFFE_ENDPOINT_SOCKET: issuer.endpoint },
      };
      await using watching = Program.start("spiffe-probe", probe, ["watch"], as);
      await watching.line((line) => line.includes(WORKLOAD.id));
      const answer = JSON.parse(await output(probe, ["x509"], as)) as X509Answer;
      leafFile = issuer.scratch.at("chain.pem");
      bundleFile = issuer.scratch.at("authorities.pem");
      await writeFile(leafFile, answer.identities[0]?.chain ?? "");
      await writeFile(bundleFile, answer.bundles["example.org"] ?? "");
    }, BUILD_PATIENCE);

    afterAll(async () => {
      await issuer?.[Symbol.asyncDispose]();
    });

    it.each(["sslclient", "sslserver"])("accepts the chain for the purpose %s, strictly", async (purpose) => {
      const { code, stdout, stderr } = await run("openssl", [
        "verify",
        "-x509_strict",
        "-check_ss_sig",
        "-purpose",
        purpose,
        "-CAfile",
        bundleFile,
        "-untrusted",
        leafFile,
        leafFile,
      ]);
      expect(stdout + stderr).toContain(": OK");
      expect(code).toBe(0);
    });

    it("does not accept it under another authority", async () => {
      const foreign = issuer.scratch.at("foreign.pem");
      const key = issuer.scratch.at("foreign.key");
      await output(
        "openssl",
        `req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ${key} -out ${foreign} -days 1 -subj /CN=foreign`.split(
          " ",
        ),
      );
      const { code } = await run("openssl", ["verify", "-CAfile", foreign, leafFile]);
      expect(code).not.toBe(0);
    });

    it("reads the SPIFFE ID, the key usage and no authority bit in the leaf", async () => {
      const text = await output("openssl", ["x509", "-in", leafFile, "-noout", "-text"]);
      expect(text).toContain(`URI:${WORKLOAD.id}`);
      expect(text).toMatch(/X509v3 Key Usage: critical\s+Digital Signature/);
      expect(text).toMatch(/TLS Web Server Authentication, TLS Web Client Authentication/);
      expect(text).not.toContain("CA:TRUE");
      expect(text).not.toMatch(/Certificate Sign|CRL Sign/);
    });
  });
});

interface X509Answer {
  readonly identities: readonly { readonly chain: string }[];
  readonly bundles: Readonly<Record<string, string>>;
}
