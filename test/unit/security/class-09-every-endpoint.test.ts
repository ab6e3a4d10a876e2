import { createHmac, randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { importPublicKey } from "../../../src/crypto/keys.ts";
import { JWS_ALGORITHMS } from "../../../src/crypto/jose/compact-jws.ts";
import { signWorkloadProof } from "../../../src/crypto/jose/workload-proof.ts";
import { verifyStatusList } from "../../../src/crypto/jose/status-list-token.ts";
import { makeWitProof } from "../../../src/crypto/jose/wit-proof.ts";
import { SpiffeWorkloadAPI } from "../../../src/proto/gen/spiffe/workload/workload_pb.ts";
import { RpcClient } from "../../../src/rpc/client.ts";
import {
  parseSpiffeBundle,
  staticBundleSource,
  validateJwtSvid,
  validateWitRequest,
} from "../../../src/workload/index.ts";
import { HEADERS, uid } from "../../fakes/agent-harness.ts";
import { startBenchAgent } from "../../fakes/bench-agent.ts";
import { makeCsr } from "../../fakes/issuance-csr.ts";
import { Job, type JobAnswer, JOB_ISSUER, JWT_SPIFFE, GRANTS, TYPES, sendTo } from "../../fakes/job.ts";
import { makeToken } from "../../fakes/jose-factory.ts";
import type { FactoryKey } from "../../fakes/svid-factory.ts";
import { API, endMessage, INSTANCE, TaskServer, WEBHOOK_SECRET } from "../../fakes/task-server.ts";

// Every kind of token that the server makes or takes, at every place where it takes one. Whoever tries holds all keys and
// sends everything else as it should be, so that what refuses is the kind of the token alone. The server's own key signs
// some that it would never make.

const TASK_AUDIENCE = `${JOB_ISSUER}/v1/task`;
const LIST = `${JOB_ISSUER}/oauth2/status-lists/0`;
const WORKLOAD = "spiffe://example.org/web";

const cleanup = new AsyncDisposableStack();
let server: TaskServer;
let workload: RpcClient;
let live: Job;
let other: Job;
let owner: Job;
let operator: Job;
let bound: Job;
let jwtKey: { readonly key: FactoryKey; readonly keyId: string };
let keys: Parameters<typeof verifyStatusList>[1];
let bundles: ReturnType<typeof staticBundleSource>;
let bundleDocument: Buffer;

beforeAll(async () => {
  server = cleanup.use(await TaskServer.start());
  await server.taskEntry("/ci/app");
  await server.entry("/web", undefined, {});
  await server.entry("/operator", undefined, { admin: true });
  owner = server.job();
  operator = server.job(await server.doorOf("/operator"));
  bound = server.job(await server.doorOf("/web"));
  jwtKey = await server.jwtKey();
  keys = new Map([[jwtKey.keyId, { publicKey: importPublicKey(jwtKey.key.spki, "INVALID_BUNDLE") }]]);
  bundleDocument = (await sendTo(operator.door, "GET", "/v1/trust-bundle")).bytes;
  bundles = staticBundleSource([parseSpiffeBundle("example.org", bundleDocument)]);
  const { agentId = "" } = cleanup.use(await startBenchAgent(server.bench));
  const selectors = [{ type: "unix", value: `uid:${uid}` }];
  await server.entry("/web", new URL(agentId).pathname, { selectors });
  workload = cleanup.use(new RpcClient({ target: { kind: "unix", path: server.bench.path("w.sock") } }));
  live = await opened();
  other = server.job();
});
afterAll(() => cleanup.disposeAsync());

function ownKeySigns(typ: string | undefined, claims: object): string {
  return makeToken({
    key: jwtKey.key,
    header: { alg: "ES256", kid: jwtKey.keyId, ...(typ !== undefined && { typ }) },
    payload: { iat: server.now, exp: server.now + 300, ...claims },
  });
}

async function opened(): Promise<Job> {
  const job = new Job(server.door, server.clock, {
    privateKey: owner.key,
    publicKey: importPublicKey(owner.spki, "INVALID_CSR"),
  });
  const answer = await job.open(server.token());
  if (answer.status !== 200) throw new Error(answer.text);
  return job;
}

/** A task with an X509-SVID, which ended: so there is a list of each kind. */
async function endedTask(): Promise<void> {
  const job = await opened();
  await job.call("POST", "/v1/task/jwt-svid", { audience: ["db"], status: true });
  await job.call("POST", "/v1/task/end", {});
}

async function exchanged(job: Job, proved: boolean): Promise<string> {
  const form = {
    grant_type: GRANTS.exchange,
    subject_token: await server.jwtSvid("/web"),
    subject_token_type: TYPES.jwt,
    audience: API,
  };
  const headers = { "content-type": "application/x-www-form-urlencoded" };
  const answer = proved
    ? await job.form("/oauth2/token", form)
    : await job.send("POST", "/oauth2/token", { headers, body: new URLSearchParams(form).toString() });
  return String(answer.json["access_token"]);
}

async function statusList(): Promise<string> {
  await endedTask();
  const answer = await sendTo(server.door, "GET", new URL(LIST).pathname, {
    headers: { accept: "application/statuslist+jwt" },
  });
  if (answer.status !== 200) throw new Error(answer.text);
  return answer.text;
}

function attestationProof(): string {
  return makeToken({
    key: {
      kind: "ec-p256",
      privateKey: owner.key,
      publicKey: importPublicKey(owner.spki, "INVALID_CSR"),
      spki: owner.spki,
    },
    header: { alg: "ES256", typ: "oauth-client-attestation-pop+jwt" },
    payload: { iss: WORKLOAD, aud: JOB_ISSUER, jti: randomUUID(), iat: server.now },
  });
}

/** That somebody holds another key, for the task that lives. */
function witProof(): string {
  const [, payload = ""] = (live.accessToken ?? "").split(".");
  const { sub } = JSON.parse(Buffer.from(payload, "base64url").toString()) as { readonly sub: string };
  return makeWitProof(
    {
      trustDomain: "example.org",
      caller: sub,
      subject: "spiffe://example.org/ci/app",
      publicKey: other.spki,
      algorithm: "ES256",
    },
    other.key,
    server.now,
  );
}

function workloadProof(witSvid: string, audience: string): string {
  const algorithm = JWS_ALGORITHMS.get("ES256");
  if (algorithm === undefined) throw new Error("no ES256");
  const key = { privateKey: owner.key, algorithm };
  return signWorkloadProof(witSvid, key, { audience, expiresAt: server.now + 60, id: randomUUID() });
}

const TOKENS = {
  "the platform's token": () => server.token(),
  "the platform's token for another": () => server.token({ aud: "https://other.example" }),
  "JWT-SVID for the server": () => server.jwtSvid("/web"),
  "JWT-SVID for another": () => server.jwtSvid("/web", ["https://other.example"]),
  "JWT-SVID for the server and another": () => server.jwtSvid("/web", [JOB_ISSUER, "https://other.example"]),
  "JWT-SVID for the task API": () => server.jwtSvid("/web", [TASK_AUDIENCE]),
  "JWT-SVID of a task": async () =>
    String(
      (await (await opened()).call("POST", "/v1/task/jwt-svid", { audience: [JOB_ISSUER] })).json["jwt_svid"],
    ),
  "WIT-SVID": () => server.witSvid("/web", owner.spki),
  "access token of a task": async () => (await opened()).accessToken ?? "",
  "access token bound to a key": () => exchanged(owner, true),
  "access token bound to a certificate": () => exchanged(bound, false),
  "status list": statusList,
  "DPoP proof": async () => {
    await owner.ready("/oauth2/token");
    return owner.proof("POST", "/oauth2/token");
  },
  "proof of a client attestation": attestationProof,
  "proof of a WIT-SVID": async () => workloadProof(await server.witSvid("/web", owner.spki), JOB_ISSUER),
  "proof for a WIT-SVID order": () => witProof(),
  // What the server could sign, and never does.
  "ID token by the server's key": () =>
    ownKeySigns("JWT", { iss: JOB_ISSUER, sub: "user-1", aud: JOB_ISSUER, nonce: "n" }),
  "access token bound to nobody": () =>
    ownKeySigns("at+jwt", {
      iss: JOB_ISSUER,
      sub: WORKLOAD,
      aud: API,
      client_id: WORKLOAD,
      jti: randomUUID(),
    }),
  "access token that was never written down": () =>
    ownKeySigns("at+jwt", {
      iss: JOB_ISSUER,
      sub: WORKLOAD,
      aud: API,
      client_id: WORKLOAD,
      jti: randomUUID(),
      cnf: { jkt: owner.jkt },
    }),
  "logout token by the server's key": () =>
    ownKeySigns("logout+jwt", { iss: JOB_ISSUER, sub: WORKLOAD, aud: JOB_ISSUER, jti: randomUUID() }),
  "the platform's token by the server's key": () =>
    makeToken({
      key: jwtKey.key,
      header: { alg: "ES256", kid: jwtKey.keyId, typ: "JWT" },
      payload: server.claims(),
    }),
  "JWT-SVID by the platform's key": () =>
    server.platform.token({ sub: WORKLOAD, aud: [JOB_ISSUER], iat: server.now, exp: server.now + 300 }),
  // What is no token at all.
  "X509-SVID": async () => base64((await server.x509Svid("/web"))[0]),
  "signing request": () => base64(makeCsr()),
  "SPIFFE bundle": () => bundleDocument.toString(),
  "message of the platform": message,
  "SPIFFE ID": () => WORKLOAD,
} as const satisfies Readonly<Record<string, () => string | Promise<string>>>;

/** That the run of a task that lives has ended. */
async function message(): Promise<string> {
  const run = server.claims();
  await server.job().open(server.platform.token(run));
  return endMessage(run);
}

type Kind = keyof typeof TOKENS;

const isOk = ({ status }: JobAnswer) => status >= 200 && status < 300;
const token = (form: Record<string, string>, by = owner) => by.form("/oauth2/token", form).then(isOk);
const visible = (text: string) => (/^[\x20-\x7e]{1,12000}$/.test(text) ? text : "unsendable");

async function subject(text: string, type: string, by = owner): Promise<boolean> {
  return token(
    { grant_type: GRANTS.exchange, subject_token: text, subject_token_type: type, audience: API },
    by,
  );
}

async function authorized(scheme: string, text: string): Promise<boolean> {
  await owner.ready("/v1/task");
  const proof = owner.proof("GET", "/v1/task", { accessToken: text });
  const headers = { authorization: `${scheme} ${visible(text)}`, dpop: proof };
  return isOk(await owner.send("GET", "/v1/task", { headers }));
}

/** As who proves nothing: what would be let in, is let in by the token in this header alone. */
async function asOperator(scheme: string, text: string): Promise<boolean> {
  const headers = { authorization: `${scheme} ${visible(text)}` };
  return isOk(await sendTo(server.door, "GET", "/v1/entries", { headers }));
}

async function asClient(
  headers: Record<string, string>,
  form: Record<string, string> = {},
): Promise<boolean> {
  const body = new URLSearchParams({ token: "x", ...form }).toString();
  const sent = { "content-type": "application/x-www-form-urlencoded", ...headers };
  return isOk(await sendTo(server.door, "POST", "/oauth2/introspect", { headers: sent, body }));
}

/** Whether something that was good is revoked, or a task ended, by this. */
async function ends(work: () => Promise<unknown>): Promise<boolean> {
  const count = () =>
    server.bench.audit().filter(({ event }) => event === "token.revoked" || event === "task.ended").length;
  const before = count();
  await work();
  return count() > before;
}

function posted(body: string, headers: Record<string, string>): Promise<JobAnswer> {
  return sendTo(server.door, "POST", `/v1/webhooks/${INSTANCE}`, { headers, body });
}

/** What a relying party that uses our Node client says of it. */
async function judged(judge: () => Promise<unknown>): Promise<boolean> {
  return judge().then(
    () => true,
    () => false,
  );
}

function validated(svid: string, audience: string): Promise<boolean> {
  return judged(() => workload.service(SpiffeWorkloadAPI).validateJWTSVID({ audience, svid }, HEADERS));
}

const ALL_JWT_SVIDS: readonly Kind[] = [
  "JWT-SVID for the server",
  "JWT-SVID for another",
  "JWT-SVID for the server and another",
  "JWT-SVID for the task API",
  "JWT-SVID of a task",
];
const FOR_THE_SERVER: readonly Kind[] = ["JWT-SVID for the server", "JWT-SVID of a task"];
const OWN_TOKENS: readonly Kind[] = [
  ...ALL_JWT_SVIDS,
  "WIT-SVID",
  "access token of a task",
  "access token bound to a key",
  "access token bound to a certificate",
];

interface Place {
  readonly takes: readonly Kind[];
  readonly accepts: (text: string) => Promise<boolean>;
}

const PLACES: Readonly<Record<string, Place>> = {
  "subject_token of a task": {
    takes: ["the platform's token"],
    accepts: (text) =>
      token({ grant_type: GRANTS.exchange, subject_token: text, subject_token_type: TYPES.jwt }),
  },
  "subject_token of a task, as ID token": {
    takes: ["the platform's token"],
    accepts: (text) =>
      token({
        grant_type: GRANTS.exchange,
        subject_token: text,
        subject_token_type: TYPES.idToken,
        audience: TASK_AUDIENCE,
      }),
  },
  "subject_token of a task, as access token": {
    takes: [],
    accepts: (text) =>
      token({ grant_type: GRANTS.exchange, subject_token: text, subject_token_type: TYPES.accessToken }),
  },
  "subject_token, as JWT": {
    takes: [...FOR_THE_SERVER, "WIT-SVID"],
    accepts: (text) => subject(text, TYPES.jwt),
  },
  "subject_token, as ID token": { takes: [], accepts: (text) => subject(text, TYPES.idToken) },
  "subject_token, as access token": {
    takes: ["access token of a task", "access token bound to a key"],
    accepts: (text) => subject(text, TYPES.accessToken),
  },
  "subject_token, as access token, by who has the certificate and another key": {
    takes: ["access token bound to a certificate"],
    accepts: (text) => subject(text, TYPES.accessToken, bound),
  },
  actor_token: {
    takes: FOR_THE_SERVER,
    accepts: async (text) =>
      token({
        grant_type: GRANTS.exchange,
        subject_token: await server.jwtSvid("/web"),
        subject_token_type: TYPES.jwt,
        actor_token: text,
        actor_token_type: TYPES.jwt,
        audience: API,
      }),
  },
  assertion: {
    takes: FOR_THE_SERVER,
    accepts: (text) => token({ grant_type: GRANTS.assertion, assertion: text, audience: API }),
  },
  "client_assertion of a grant": {
    takes: FOR_THE_SERVER,
    accepts: (text) =>
      token({
        grant_type: GRANTS.client,
        client_assertion: text,
        client_assertion_type: JWT_SPIFFE,
        audience: API,
      }),
  },
  "client_assertion of introspection": {
    takes: FOR_THE_SERVER,
    accepts: (text) => asClient({}, { client_assertion: text, client_assertion_type: JWT_SPIFFE }),
  },
  "OAuth-Client-Attestation": {
    takes: ["WIT-SVID"],
    accepts: (text) =>
      asClient({
        "oauth-client-attestation": visible(text),
        "oauth-client-attestation-pop": attestationProof(),
      }),
  },
  "OAuth-Client-Attestation-PoP": {
    takes: ["proof of a client attestation"],
    accepts: async (text) =>
      asClient({
        "oauth-client-attestation": await server.witSvid("/web", owner.spki),
        "oauth-client-attestation-pop": visible(text),
      }),
  },
  "Authorization of introspection": {
    takes: [],
    accepts: async (text) => {
      const dpop = owner.proof("POST", "/oauth2/introspect");
      return (
        (await asClient({ authorization: `Bearer ${visible(text)}` })) ||
        asClient({ authorization: `DPoP ${visible(text)}`, dpop })
      );
    },
  },
  "DPoP at the token endpoint": {
    takes: ["DPoP proof"],
    accepts: async (text) => {
      const headers = { dpop: visible(text) };
      const form = { grant_type: GRANTS.assertion, assertion: await server.jwtSvid("/web"), audience: API };
      return isOk(await owner.form("/oauth2/token", form, { headers }));
    },
  },
  "Authorization: DPoP of the task API": {
    takes: ["access token of a task"],
    accepts: (text) => authorized("DPoP", text),
  },
  "Authorization: Bearer of the task API": { takes: [], accepts: (text) => authorized("Bearer", text) },
  "Authorization of the operator API": {
    takes: [],
    accepts: async (text) => (await asOperator("Bearer", text)) || asOperator("DPoP", text),
  },
  "token of introspection": {
    takes: OWN_TOKENS,
    accepts: async (text) =>
      (await operator.form("/oauth2/introspect", { token: text })).json["active"] === true,
  },
  "token of revocation": {
    // What the operator names is revoked where the server signed it, whether it was written down or not.
    takes: [...OWN_TOKENS, "access token that was never written down"],
    accepts: (text) =>
      ends(async () => {
        const headers = { "content-type": "application/x-www-form-urlencoded" };
        const body = new URLSearchParams({ token: text }).toString();
        expect(isOk(await operator.send("POST", "/oauth2/revoke", { headers, body }))).toBe(true);
      }),
  },
  "csr of an X509-SVID": {
    takes: ["signing request"],
    accepts: async (text) =>
      isOk(await live.call("POST", "/v1/task/x509-svid", { csr: text.slice(0, 22_000) })),
  },
  "proof of a WIT-SVID order": {
    takes: ["proof for a WIT-SVID order"],
    accepts: async (text) => {
      const order = {
        public_key: Buffer.from(other.spki).toString("base64"),
        signing_algorithm: "ES256",
        proof: text.slice(0, 2048),
      };
      return isOk(await live.call("POST", "/v1/task/wit-svid", order));
    },
  },
  "body of a webhook, signed": {
    takes: ["message of the platform"],
    accepts: (text) => {
      const signature = createHmac("sha256", WEBHOOK_SECRET).update(text).digest("hex");
      return ends(() => posted(text, { "x-hub-signature-256": `sha256=${signature}` }));
    },
  },
  "body of a webhook": { takes: [], accepts: (text) => ends(() => posted(text, {})) },
  "signature of a webhook": {
    takes: [],
    accepts: async (text) => {
      const headers = { "x-hub-signature-256": visible(text), authorization: `Bearer ${visible(text)}` };
      const body = await message();
      return ends(() => posted(body, headers));
    },
  },
  "ValidateJWTSVID of the Workload API": {
    takes: ["JWT-SVID for the server", "JWT-SVID for the server and another", "JWT-SVID of a task"],
    accepts: (text) => validated(text, JOB_ISSUER),
  },
  "ValidateJWTSVID of the Workload API, for the audience of access tokens": {
    takes: [],
    accepts: (text) => validated(text, API),
  },
  "the Node client's validator of JWT-SVIDs": {
    takes: ["JWT-SVID for the server", "JWT-SVID for the server and another", "JWT-SVID of a task"],
    accepts: (text) => judged(() => validateJwtSvid(text, bundles, { audience: JOB_ISSUER })),
  },
  "the Node client's validator of JWT-SVIDs, for the audience of access tokens": {
    takes: [],
    accepts: (text) => judged(() => validateJwtSvid(text, bundles, { audience: API })),
  },
  "the Node client's validator of WIT-SVIDs": {
    takes: ["WIT-SVID"],
    accepts: (text) =>
      judged(() =>
        validateWitRequest(
          { "workload-identity-token": text, "workload-proof-token": workloadProof(text, API) },
          bundles,
          { audiences: [API] },
        ),
      ),
  },
  "the decoder of status lists": {
    takes: ["status list"],
    accepts: (text) => judged(() => verifyStatusList(text, keys, { uri: LIST, now: server.now })),
  },
};

describe("token confusion", () => {
  it.each(Object.entries(PLACES))("%s takes its own kinds alone", async (_, { accepts, takes }) => {
    const taken: string[] = [];
    for (const [kind, make] of Object.entries(TOKENS)) {
      if (await accepts(await make())) taken.push(kind);
    }
    expect(taken.toSorted()).toEqual([...takes].toSorted());
  });
});

function base64(bytes: Uint8Array | undefined): string {
  return Buffer.from(bytes ?? []).toString("base64");
}
