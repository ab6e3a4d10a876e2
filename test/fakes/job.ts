import { generateKeyPairSync, type KeyObject, randomUUID } from "node:crypto";
import { Agent, request } from "node:https";
import { type Clock, systemClock, unixSeconds } from "../../src/clock.ts";
import { createDpopProof, type DpopRequest } from "../../src/crypto/jose/dpop.ts";
import { spkiThumbprint } from "../../src/crypto/jose/thumbprint.ts";

/** The issuer of the servers that jobs talk to. */
export const JOB_ISSUER = "https://assay.example.org";

/** A server's web port, and how this client comes to it. */
export interface WebDoor {
  readonly host: string;
  readonly port: number;
  /** The client's own address. */
  readonly localAddress?: string;
  /** PEM of the X509-SVID that the client shows. */
  readonly cert?: string;
  readonly key?: string;
}

/** What is sent besides the path. */
export interface JobRequest {
  readonly headers?: Readonly<Record<string, string | readonly string[]>>;
  readonly body?: string | Uint8Array;
  /** A connection of its own, which is closed after it. */
  readonly alone?: boolean;
}

/** What came back. */
export class JobAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly bytes: Buffer;

  constructor(status: number, headers: Readonly<Record<string, unknown>>, bytes: Buffer) {
    this.status = status;
    this.headers = headers;
    this.bytes = bytes;
  }

  get text(): string {
    return this.bytes.toString("utf8");
  }

  /** Members of the body, or none where it is no JSON. */
  get json(): Readonly<Record<string, unknown>> {
    try {
      return JSON.parse(this.text) as Readonly<Record<string, unknown>>;
    } catch {
      return {};
    }
  }
}

/** Sends one request over TLS as any HTTP client does, without looking at who answers. */
export function sendTo(
  door: WebDoor,
  method: string,
  path: string,
  { headers = {}, body, alone = false }: JobRequest = {},
): Promise<JobAnswer> {
  const { promise, resolve, reject } = Promise.withResolvers<JobAnswer>();
  const { host, port, localAddress, cert, key } = door;
  const sent = request(
    {
      host,
      port,
      method,
      path,
      localAddress,
      cert,
      key,
      rejectUnauthorized: false,
      agent: alone ? false : AGENT,
      headers: { host: new URL(JOB_ISSUER).host, ...headers },
    },
    (answer) => {
      const chunks: Buffer[] = [];
      answer.on("data", (chunk: Buffer) => void chunks.push(chunk));
      answer.on("error", reject);
      answer.on("end", () =>
        resolve(new JobAnswer(answer.statusCode ?? 0, answer.headers, Buffer.concat(chunks))),
      );
    },
  );
  sent.on("error", reject);
  sent.end(body);
  return promise;
}

/** A job, or any other OAuth client: it has a key, and knows the server's newest nonces. */
export class Job {
  readonly key: KeyObject;
  readonly spki: Uint8Array;
  readonly jkt: string;
  readonly door: WebDoor;
  readonly clock: Clock;
  /** Of its task. */
  accessToken: string | undefined;
  readonly #nonces = new Map<string, string>();

  constructor(
    door: WebDoor,
    clock: Clock = systemClock,
    pair = generateKeyPairSync("ec", { namedCurve: "P-256" }),
  ) {
    this.door = door;
    this.clock = clock;
    this.key = pair.privateKey;
    this.spki = pair.publicKey.export({ format: "der", type: "spki" });
    this.jkt = spkiThumbprint(this.spki);
  }

  /** A proof for a request with the newest nonce of its endpoint, or as asked. */
  proof(method: string, path: string, change: Partial<DpopRequest> = {}): string {
    const nonce = this.#nonces.get(kindOf(path));
    return createDpopProof(this.key, {
      method,
      url: `${JOB_ISSUER}${path}`,
      jti: randomUUID(),
      now: unixSeconds(this.clock),
      ...(nonce !== undefined && { nonce }),
      ...change,
    });
  }

  /** Sends a request as it is, and learns the nonce of the answer. */
  async send(method: string, path: string, sent: JobRequest = {}): Promise<JobAnswer> {
    const answer = await sendTo(this.door, method, path, sent);
    this.#learn(path, answer);
    return answer;
  }

  /** Asks for a nonce of an endpoint, unless there is one. */
  async ready(path: string): Promise<void> {
    if (this.#nonces.has(kindOf(path))) return;
    await (kindOf(path) === "oauth" ? this.send("POST", path) : this.send("GET", "/v1/task"));
  }

  /** Posts a form with a proof, and again where the server wants a newer nonce. */
  async form(
    path: string,
    form: Readonly<Record<string, string>>,
    { headers = {}, alone = false }: JobRequest = {},
  ): Promise<JobAnswer> {
    await this.ready(path);
    const once = () =>
      this.send("POST", path, {
        headers: { "content-type": FORM, dpop: this.proof("POST", path), ...headers },
        body: new URLSearchParams(form).toString(),
        alone,
      });
    const answer = await once();
    return answer.json["error"] === "use_dpop_nonce" ? once() : answer;
  }

  /** Asks for the task that a platform's token is for. */
  async open(
    token: string,
    change: Readonly<Record<string, string>> = {},
    alone = false,
  ): Promise<JobAnswer> {
    const answer = await this.form("/oauth2/token", openForm(token, change), { alone });
    if (answer.status === 200) this.accessToken = String(answer.json["access_token"]);
    return answer;
  }

  /** Calls the task API, and again where the server wants a newer nonce. */
  async call(method: string, path: string, body?: object): Promise<JobAnswer> {
    await this.ready(path);
    const accessToken = this.accessToken ?? "none";
    const once = () =>
      this.send(method, path, {
        headers: {
          authorization: `DPoP ${accessToken}`,
          dpop: this.proof(method, path, { accessToken }),
          ...(body !== undefined && { "content-type": "application/json" }),
        },
        ...(body !== undefined && { body: JSON.stringify(body) }),
      });
    const answer = await once();
    return answer.json["code"] === "DPOP_NONCE_REQUIRED" ? once() : answer;
  }

  #learn(path: string, { headers }: JobAnswer): void {
    const nonce = headers["dpop-nonce"];
    if (typeof nonce === "string") this.#nonces.set(kindOf(path), nonce);
  }
}

/** The form by which a task is opened. */
export function openForm(
  token: string,
  change: Readonly<Record<string, string>> = {},
): Record<string, string> {
  return {
    grant_type: GRANTS.exchange,
    subject_token: token,
    subject_token_type: TYPES.jwt,
    ...change,
  };
}

/** `grant_type` by our names. */
export const GRANTS = {
  exchange: "urn:ietf:params:oauth:grant-type:token-exchange",
  assertion: "urn:ietf:params:oauth:grant-type:jwt-bearer",
  client: "client_credentials",
} as const;

/** Token types of RFC 8693 §3 by our names. */
export const TYPES = {
  jwt: "urn:ietf:params:oauth:token-type:jwt",
  idToken: "urn:ietf:params:oauth:token-type:id_token",
  accessToken: "urn:ietf:params:oauth:token-type:access_token",
} as const;

/** `client_assertion_type` of JWT-SVIDs. */
export const JWT_SPIFFE = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe";

function kindOf(path: string): string {
  return path.startsWith("/oauth2") ? "oauth" : "task";
}

const FORM = "application/x-www-form-urlencoded";
const AGENT = new Agent({ keepAlive: true, maxSockets: 32, rejectUnauthorized: false });
AGENT.on("free", (socket: { unref(): void }) => socket.unref());
