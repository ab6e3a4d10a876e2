import { createHash, randomUUID, X509Certificate } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { request } from "node:https";
import { type CryptoKey, decodeJwt, exportJWK, generateKeyPair, SignJWT } from "jose";
import * as oauth from "oauth4webapi";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { type AssayServer, placeServer, startServer } from "../e2e/harness.ts";
import { makeKey } from "../fakes/certificates.ts";
import { makeCsr } from "../fakes/issuance-csr.ts";
import { makeScratch, type Scratch } from "../e2e/scratch.ts";

const EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange";
const JWT = "urn:ietf:params:oauth:token-type:jwt";
const ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token";
const JWT_SPIFFE = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe";
const PLATFORM = "https://agent.buildkite.com";
const ORGANIZATION = "0184990a-4700-4a1e-9a0c-2b6b5ff8d001";
const IDENTITY = "spiffe://example.org/ci/deploy";
const API = "https://api.example";

let scratch: Scratch;
let server: AssayServer;
let issuer: string;
let platformKey: CryptoKey;
let as: oauth.AuthorizationServer;
let trusting: { [oauth.customFetch]: typeof trustingFetch };
let ca: string;

beforeAll(async () => {
  scratch = await makeScratch();
  const place = await placeServer(scratch);
  issuer = place.webAddress.replace("127.0.0.1", "https://localhost");
  const platform = await generateKeyPair("RS256");
  platformKey = platform.privateKey;
  const jwk = { ...(await exportJWK(platform.publicKey)), kid: "one", use: "sig", alg: "RS256" };
  const keys = scratch.at("platform.json");
  await writeFile(keys, JSON.stringify({ keys: [jwk] }));
  const config = scratch.at("server.yaml");
  await writeFile(
    config,
    JSON.stringify({
      jwt_issuer: issuer,
      task_attestors: [
        {
          name: "pipeline",
          type: "oidc",
          config: { preset: "buildkite", jwks_file: keys, allow: { organization_id: [ORGANIZATION] } },
        },
      ],
    }),
  );
  server = await startServer(place, [`--config=${config}`]);
  await server.createEntry({
    parentId: "spiffe://example.org/spire/task/pipeline",
    spiffeId: IDENTITY,
    selectors: [`buildkite:organization-id:${ORGANIZATION}`],
    flags: [`--exchange-audience=${API}`],
  });
  ca = await readFile(await server.trustBundleFile(), "utf8");
  trusting = { [oauth.customFetch]: trustingFetch };
  const url = new URL(issuer);
  const answer = await oauth.discoveryRequest(url, { algorithm: "oauth2", ...trusting });
  as = await oauth.processDiscoveryResponse(url, answer);
});

afterAll(async () => {
  await server?.[Symbol.asyncDispose]();
  await scratch?.[Symbol.asyncDispose]();
});

/** `fetch`, believing the server's own authority. */
async function trustingFetch(
  url: string,
  { method, headers, body }: { method?: string; headers?: unknown; body?: unknown },
  shown: { readonly cert?: string; readonly key?: string } = {},
): Promise<Response> {
  const asked = new Request(url, { method, headers, body } as RequestInit);
  const payload = Buffer.from(await asked.arrayBuffer());
  return new Promise((resolve, reject) => {
    const call = request(
      url,
      { method: asked.method, headers: Object.fromEntries(asked.headers), ca, ...shown },
      (answer) => {
        const chunks: Buffer[] = [];
        answer.on("data", (chunk: Buffer) => chunks.push(chunk));
        answer.on("end", () => {
          const given = Object.entries(answer.headers).map(([name, value]): [string, string] => [
            name,
            String(value),
          ]);
          resolve(new Response(Buffer.concat(chunks), { status: answer.statusCode ?? 0, headers: given }));
        });
        answer.on("error", reject);
      },
    );
    call.on("error", reject);
    call.end(payload);
  });
}

/** What the platform gives a job of its own. */
async function platformToken(job = randomUUID()): Promise<string> {
  return new SignJWT({
    organization_id: ORGANIZATION,
    pipeline_id: "0184990a-4701-4a1e-9a0c-2b6b5ff8d002",
    job_id: job,
    organization_slug: "acme",
    pipeline_slug: "deploy",
    build_number: 7,
  })
    .setProtectedHeader({ alg: "RS256", kid: "one", typ: "JWT" })
    .setIssuer(PLATFORM)
    .setAudience(issuer)
    .setSubject("organization:acme:pipeline:deploy")
    .setIssuedAt()
    .setNotBefore("0s")
    .setExpirationTime("5m")
    .sign(platformKey);
}

/** A job on `oauth4webapi`, which knows nothing but what the metadata say. */
class Job {
  readonly client: oauth.Client = { client_id: "job" };
  readonly proofs: oauth.DPoPHandle;
  /** How often the server asked for another nonce. */
  retries = 0;

  private constructor(keys: CryptoKeyPair) {
    this.proofs = oauth.DPoP(this.client, keys);
  }

  static async start(): Promise<Job> {
    return new Job(await oauth.generateKeyPair("ES256"));
  }

  /** Exchanges a token, and once more where the server asks for a nonce. */
  async exchange(parameters: Record<string, string>): Promise<oauth.TokenEndpointResponse> {
    return this.#withNonce(async () => {
      const options = { DPoP: this.proofs, ...trusting };
      const answer = await oauth.genericTokenEndpointRequest(
        as,
        this.client,
        oauth.None(),
        EXCHANGE,
        parameters,
        options,
      );
      return oauth.processGenericTokenEndpointResponse(as, this.client, answer);
    });
  }

  async open(token?: string): Promise<oauth.TokenEndpointResponse> {
    return this.exchange({ subject_token: token ?? (await platformToken()), subject_token_type: JWT });
  }

  /** Calls the task API. */
  async call(token: string, method: string, path: string, body?: object): Promise<unknown> {
    return this.#withNonce(async () => {
      const headers = new Headers(body === undefined ? {} : { "content-type": "application/json" });
      const options = { DPoP: this.proofs, ...trusting };
      const url = new URL(`${issuer}${path}`);
      const text = body === undefined ? null : JSON.stringify(body);
      const answer = await oauth.protectedResourceRequest(token, method, url, headers, text, options);
      return { status: answer.status, body: await answer.json() };
    });
  }

  /** Authenticates as the task's identity, by a JWT-SVID for the server. */
  async clientAuth(token: string): Promise<oauth.ClientAuth> {
    const answer = await this.call(token, "POST", "/v1/task/jwt-svid", { audience: [issuer] });
    const { body: svid } = answer as { readonly body: { readonly jwt_svid: string } };
    return (_as, _client, body) => {
      body.set("client_assertion_type", JWT_SPIFFE);
      body.set("client_assertion", svid.jwt_svid);
    };
  }

  /** The request that it would send to a service with a token. */
  async requestTo(url: string, token: string): Promise<Request> {
    let sent: Request | undefined;
    await oauth.protectedResourceRequest(token, "GET", new URL(url), undefined, null, {
      DPoP: this.proofs,
      [oauth.customFetch]: async (target, { headers }) => {
        sent = new Request(target, { headers });
        return new Response();
      },
    });
    if (sent === undefined) throw new Error("nothing was sent");
    return sent;
  }

  async #withNonce<Value>(ask: () => Promise<Value>): Promise<Value> {
    try {
      return await ask();
    } catch (error) {
      if (!oauth.isDPoPNonceError(error)) throw error;
      this.retries += 1;
      return ask();
    }
  }
}

/** The OAuth error that a request failed with. */
async function errorOf(asked: Promise<unknown>): Promise<string> {
  try {
    await asked;
  } catch (error) {
    if (error instanceof oauth.ResponseBodyError) return error.error;
    throw error;
  }
  return "none";
}

describe("a job on oauth4webapi", () => {
  let job: Job;
  let opened: oauth.TokenEndpointResponse;

  beforeEach(async () => {
    job = await Job.start();
    opened = await job.open();
  });

  it("opens its task with what its platform gave it, after one nonce", () => {
    expect(opened).toMatchObject({ token_type: "dpop", issued_token_type: ACCESS_TOKEN, scope: "task" });
    expect(opened["task"]).toMatchObject({ state: "active", identities: [{ spiffe_id: IDENTITY }] });
    expect(job.retries).toBe(1);
  });

  it("is refused as the RFCs say", async () => {
    const token = await platformToken();
    await (await Job.start()).open(token);
    expect(await errorOf(job.open(token))).toBe("invalid_request");
    expect(await errorOf(job.open("x"))).toBe("invalid_request");
    const exchange = { subject_token: opened.access_token, subject_token_type: ACCESS_TOKEN };
    expect(await errorOf(job.exchange({ ...exchange, audience: "https://other.example" }))).toBe(
      "invalid_target",
    );
    expect(await errorOf(job.exchange({ ...exchange, audience: API, scope: "x" }))).toBe("invalid_scope");
    const thief = await Job.start();
    expect(await errorOf(thief.exchange({ ...exchange, audience: API }))).toBe("invalid_request");
  });

  it("speaks to the task API, whose nonce is another", async () => {
    const before = job.retries;
    const own = await job.call(opened.access_token, "GET", "/v1/task");
    expect(own).toMatchObject({
      status: 200,
      body: { platform: "buildkite", identities: [{ spiffe_id: IDENTITY }] },
    });
    expect(job.retries).toBe(before + 1);
    expect(await job.call(opened.access_token, "POST", "/v1/task/heartbeat")).toMatchObject({ status: 200 });
  });

  it("finds what the task API says of itself", async () => {
    const resource = new URL(`${issuer}/v1/task`);
    const answer = await oauth.resourceDiscoveryRequest(resource, trusting);
    const metadata = await oauth.processResourceDiscoveryResponse(resource, answer);
    expect(metadata.authorization_servers).toEqual([issuer]);
  });

  it("gets a token that is bound to the X509-SVID of its connection", async () => {
    const key = makeKey();
    const csr = Buffer.from(makeCsr({}, key)).toString("base64");
    const answer = await job.call(opened.access_token, "POST", "/v1/task/x509-svid", { csr });
    const { body: svid } = answer as { readonly body: { readonly x509_svid: readonly string[] } };
    const chain = svid.x509_svid.map((der) => Buffer.from(der, "base64"));
    const shown = {
      cert: chain.map((der) => new X509Certificate(der).toString()).join(""),
      key: key.privateKey.export({ format: "pem", type: "pkcs8" }).toString(),
    };
    const form = new URLSearchParams({
      grant_type: "client_credentials",
      client_id: IDENTITY,
      audience: API,
    });
    const post = { method: "POST", body: form };
    const given = (await (await trustingFetch(as.token_endpoint ?? "", post, shown)).json()) as {
      readonly token_type: string;
      readonly access_token: string;
    };
    expect(given.token_type).toBe("Bearer");
    const thumbprint = createHash("sha256")
      .update(chain[0] ?? "")
      .digest("base64url");
    expect(decodeJwt(given.access_token)["cnf"]).toEqual({ "x5t#S256": thumbprint });
    // Without the certificate it is nobody.
    expect(await (await trustingFetch(as.token_endpoint ?? "", post)).json()).toMatchObject({
      error: "invalid_dpop_proof",
    });
  });

  describe("with an access token for a service", () => {
    let token: string;
    beforeEach(async () => {
      const parameters = {
        subject_token: opened.access_token,
        subject_token_type: ACCESS_TOKEN,
        audience: API,
      };
      token = (await job.exchange(parameters)).access_token;
    });

    const accepted = (asked: Request, audience = API) =>
      oauth.validateJwtAccessToken(as, asked, audience, { requireDPoP: true, ...trusting });

    it("is believed by the service, which is on oauth4webapi too", async () => {
      const claims = await accepted(await job.requestTo(`${API}/orders`, token));
      expect(claims).toMatchObject({ iss: issuer, sub: IDENTITY, client_id: IDENTITY, aud: API });
    });

    it("is not believed elsewhere, by another key, without a proof, or as bearer", async () => {
      const good = await job.requestTo(`${API}/orders`, token);
      await expect(accepted(good, "https://other.example")).rejects.toThrow();
      await expect(accepted(await (await Job.start()).requestTo(`${API}/orders`, token))).rejects.toThrow();
      const bare = new Request(good.url, { headers: { authorization: `DPoP ${token}` } });
      await expect(accepted(bare)).rejects.toThrow();
      const bearer = new Request(good.url, { headers: { authorization: `Bearer ${token}` } });
      await expect(accepted(bearer)).rejects.toThrow();
      const moved = new Request(`${API}/payments`, { headers: good.headers });
      await expect(accepted(moved)).rejects.toThrow();
    });

    describe("that is asked about", () => {
      let byJwtSvid: oauth.ClientAuth;
      beforeEach(async () => {
        byJwtSvid = await job.clientAuth(opened.access_token);
      });

      const ask = async () => {
        const answer = await oauth.introspectionRequest(as, job.client, byJwtSvid, token, trusting);
        return oauth.processIntrospectionResponse(as, job.client, answer);
      };

      it("is said to be active, until it is revoked", async () => {
        expect(await ask()).toMatchObject({
          active: true,
          sub: IDENTITY,
          aud: API,
          token_type: "DPoP",
          cnf: { jkt: await job.proofs.calculateThumbprint() },
          task: { platform: "buildkite" },
        });
        const answer = await oauth.revocationRequest(as, job.client, byJwtSvid, token, trusting);
        await oauth.processRevocationResponse(answer);
        expect(await ask()).toEqual({ active: false });
      });

      it("is refused to strangers", async () => {
        const answer = await oauth.introspectionRequest(as, job.client, oauth.None(), token, trusting);
        expect(answer.status).toBe(401);
        expect(await answer.json()).toMatchObject({ error: "invalid_client" });
      });

      it("is said to be inactive when the task has ended", async () => {
        expect(await ask()).toMatchObject({ active: true });
        expect(await job.call(opened.access_token, "POST", "/v1/task/end")).toMatchObject({ status: 200 });
        const other = await Job.start();
        const { access_token: fresh } = await other.open();
        const byOther = await other.clientAuth(fresh);
        const answer = await oauth.introspectionRequest(as, job.client, byOther, token, trusting);
        expect(await answer.json()).toEqual({ active: false });
      });
    });
  });
});
