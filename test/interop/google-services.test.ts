import { createHash } from "node:crypto";
import { createServer, type Server } from "node:http";
import { createRequire } from "node:module";
import type { AddressInfo } from "node:net";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { systemClock, unixSeconds } from "../../src/clock.ts";
import { gcpKmsKeyManager } from "../../src/keys/gcp-kms/gcp-kms.ts";
import type { KeyManager } from "../../src/plugin/key-manager.ts";
import { checkUpstreamCa } from "../../src/signing/upstream/check-answer.ts";
import { parseTrustDomain } from "../../src/spiffe/trust-domain.ts";
import { gcpCasUpstream } from "../../src/upstream/gcp-cas/gcp-cas.ts";
import { isValid } from "../contract/key-manager-suite.ts";
import { makeScratch, type Scratch } from "../e2e/scratch.ts";
import { makeCaOrder } from "../fakes/cloud-ca.ts";
import { FakeGoogleCas } from "../fakes/google-cas.ts";
import { FakeGoogleKms } from "../fakes/google-kms.ts";
import { GOOGLE_TOKEN, GoogleService } from "../fakes/google-service.ts";
import { BUILD_PATIENCE, buildPeer, describeWith } from "./peers.ts";

const RING = "projects/assay/locations/europe-west3/keyRings/assay";
const POOL = "projects/assay/locations/europe-west3/caPools/identity";
const trustDomain = parseTrustDomain("example.org");
const log = { debug() {}, info() {}, warn() {}, error() {} };
const host = { trustDomain, clock: systemClock, log };
const fakeKms = new FakeGoogleKms();
const fakeCas = new FakeGoogleCas(systemClock);
let scratch: Scratch;
let packages: string;
let kms: GoogleService;
let cas: GoogleService;
let tokens: Server;
const exchanged: string[] = [];

// Nothing of Google's runs here: the fakes are ours. That they speak as Google does is what Google's own libraries say.
describeWith(
  [],
  "Google's own libraries and our fakes of Cloud KMS and Certificate Authority Service",
  () => {
    beforeAll(async () => {
      scratch = await makeScratch();
      packages = await buildPeer("google-auth");
      kms = await GoogleService.start(fakeKms.handle);
      cas = await GoogleService.start(fakeCas.handle);
      tokens = createServer((request, response) => {
        request.on("data", (chunk: Buffer) => exchanged.push(chunk.toString()));
        request.on("end", () => {
          const answer = {
            access_token: GOOGLE_TOKEN,
            issued_token_type: "urn:ietf:params:oauth:token-type:access_token",
            token_type: "Bearer",
            expires_in: 3600,
          };
          response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(answer));
        });
      });
      await new Promise<void>((resolve) => tokens.listen(0, "127.0.0.1", resolve));
      // Workload identity federation: what a platform says of the server is exchanged for a token of Google's.
      writeFileSync(scratch.at("subject"), "evidence");
      const audience = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/x";
      writeFileSync(
        scratch.at("credentials.json"),
        JSON.stringify({
          type: "external_account",
          audience,
          subject_token_type: "urn:ietf:params:oauth:token-type:jwt",
          token_url: `http://127.0.0.1:${(tokens.address() as AddressInfo).port}/token`,
          credential_source: { file: scratch.at("subject") },
        }),
      );
      process.env["GOOGLE_APPLICATION_CREDENTIALS"] = scratch.at("credentials.json");
    }, BUILD_PATIENCE);

    afterAll(async () => {
      delete process.env["GOOGLE_APPLICATION_CREDENTIALS"];
      tokens?.close();
      await kms?.[Symbol.asyncDispose]();
      await cas?.[Symbol.asyncDispose]();
      await scratch?.[Symbol.asyncDispose]();
    });

    it("sign with a key that our plugin made, found by SPIRE's labels", async () => {
      await using keys = await openKeys();
      const key = await keys.generateKey("x509-CA-A", "ec-p256");
      expect(exchanged.join()).toContain("subject_token=evidence");
      const client = await googleClient("@google-cloud/kms", "KeyManagementServiceClient", kms);
      const domain = createHash("sha1").update("example.org").digest("hex");
      const [[found]] = (await client("listCryptoKeys", {
        parent: RING,
        filter: `labels.spire-server-td = ${domain} AND labels.spire-active = true`,
      })) as [[{ name: string; purpose: string }]];
      expect(found).toMatchObject({
        name: `${RING}/cryptoKeys/spire-key-server-1-x509-CA-A`,
        purpose: "ASYMMETRIC_SIGN",
      });
      const name = `${found.name}/cryptoKeyVersions/1`;
      const sha256 = createHash("sha256").update("data").digest();
      const [signed] = (await client("asymmetricSign", { name, digest: { sha256 } })) as [
        { signature: Uint8Array | string },
      ];
      const signature = Buffer.from(signed.signature as string, "base64");
      expect(isValid(key, Buffer.from("data"), signature, "der")).toBe(true);
    });

    it("leave a key that our plugin takes over", async () => {
      const client = await googleClient("@google-cloud/kms", "KeyManagementServiceClient", kms);
      const domain = createHash("sha1").update("example.org").digest("hex");
      await client("createCryptoKey", {
        parent: RING,
        cryptoKeyId: "spire-key-spire-1-JWT-Signer-A",
        cryptoKey: {
          purpose: "ASYMMETRIC_SIGN",
          versionTemplate: { algorithm: "EC_SIGN_P384_SHA384" },
          labels: { "spire-server-td": domain, "spire-server-id": "spire-1", "spire-active": "true" },
        },
      });
      await using keys = await openKeys("spire-1");
      const key = await keys.getKey("JWT-Signer-A");
      expect(key?.type).toBe("ec-p384");
      const data = Buffer.from("data");
      expect(isValid(key!, data, await key!.sign(data, "p1363"), "p1363")).toBe(true);
    });

    it("find the authority that our plugin has sign, and it signs", async () => {
      fakeCas.add(POOL, "one");
      const client = await googleClient(
        "@google-cloud/security-private-ca",
        "CertificateAuthorityServiceClient",
        cas,
      );
      const [[found]] = (await client("listCertificateAuthorities", {
        parent: POOL,
        filter: "labels.spiffe-root:true",
      })) as [[{ name: string; state: string; lifetime: { seconds: unknown } }]];
      expect(found).toMatchObject({ name: `${POOL}/certificateAuthorities/one`, state: "ENABLED" });
      expect(String(found.lifetime.seconds)).toBe("3600");
      const parsed = await gcpCasUpstream.config["~standard"].validate({
        root_cert_spec: {
          project_name: "assay",
          region_name: "europe-west3",
          ca_pool: "identity",
          label_key: "spiffe-root",
          label_value: "true",
        },
        endpoint: cas.endpoint,
        packages_folder: packages,
      });
      if (parsed.issues !== undefined) throw new Error(JSON.stringify(parsed.issues));
      await using upstream = await gcpCasUpstream.create(parsed.value, host);
      const { csr, key } = await makeCaOrder();
      const { signal } = new AbortController();
      const answer = await upstream.mintX509Ca({ csr, ttl: 600, signal });
      const now = unixSeconds(systemClock) + 1;
      expect(checkUpstreamCa(answer, { trustDomain, publicKey: key.spki, now })).toBeDefined();
    });
  },
);

async function openKeys(identifier = "server-1"): Promise<KeyManager> {
  const parsed = await gcpKmsKeyManager.config["~standard"].validate({
    key_ring: RING,
    key_identifier_value: identifier,
    endpoint: kms.endpoint,
    packages_folder: packages,
  });
  if (parsed.issues !== undefined) throw new Error(JSON.stringify(parsed.issues));
  return gcpKmsKeyManager.create(parsed.value, host);
}

type Methods = Readonly<Record<string, (request: object) => Promise<unknown>>>;
type Ask = (method: string, request: object) => Promise<unknown>;

/** A client of Google's own for the REST face of a service, pointed at a fake of ours. */
async function googleClient(library: string, name: string, service: GoogleService): Promise<Ask> {
  const load = createRequire(join(packages, "x.js"));
  const { [name]: Client } = load(library) as Readonly<Record<string, new (options: object) => Methods>>;
  const { OAuth2Client } = load("google-auth-library") as {
    OAuth2Client: new () => { setCredentials(credentials: object): void };
  };
  const authClient = new OAuth2Client();
  authClient.setCredentials({ access_token: GOOGLE_TOKEN, expiry_date: systemClock.now() + 3_600_000 });
  const { hostname, port } = new URL(service.endpoint);
  if (Client === undefined) throw new Error(`${library} has no ${name}`);
  const options = { authClient, fallback: true, protocol: "http", apiEndpoint: hostname, port: Number(port) };
  const client = new Client(options);
  return async (method, request) => {
    if (client[method] === undefined) throw new Error(`${name} has no ${method}`);
    return client[method](request);
  };
}
