import { createPublicKey, generateKeyPairSync, type KeyObject, randomBytes } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { TLSSocket } from "node:tls";
import { FakeHttpsServer } from "./https-server.ts";
import { signDigest } from "./sign-digest.ts";

/** One request that arrived. */
export interface SeenCall {
  readonly method: string;
  readonly path: string;
  readonly token: string | undefined;
  readonly namespace: string | undefined;
  readonly body: Record<string, unknown>;
  /** Whether it came with a client certificate that the fake believes. */
  readonly isKnown: boolean;
}

/** Answers in place of the fake; gives false where it does not. */
export type InsteadOfVault = (call: SeenCall, response: ServerResponse) => boolean;

/**
 * A Vault on loopback over TLS, as far as Assay asks it: tokens, three ways to log in, and the transit engine, which really
 * signs. It is no Vault: it answers as Vault 1.21 was seen to.
 */
export class FakeVault implements AsyncDisposable {
  readonly seen: SeenCall[] = [];
  /** Tokens that are good, with the seconds that lookups and renewals tell. */
  readonly tokens = new Map<string, { ttl: number; renewable: boolean }>([
    ["root-token", { ttl: 0, renewable: false }],
  ]);
  /** What the next logins give. */
  login = { ttl: 3600, renewable: true };
  readonly keys = new Map<string, FakeTransitKey>();
  instead: InsteadOfVault = () => false;
  /** What an answer waits for. */
  before: (call: SeenCall) => Promise<unknown> | undefined = () => undefined;
  readonly #server: FakeHttpsServer;
  #logins = 0;

  private constructor(server: FakeHttpsServer) {
    this.#server = server;
    server.serve((request, body, response) => this.#answer(request, body, response));
    this.write("token", "root-token");
    this.write("secret-id", "secret-id-of-the-test");
    server.write("service-account", "account-token-of-the-test", 0o644);
  }

  static async start(): Promise<FakeVault> {
    return new FakeVault(await FakeHttpsServer.start("vault", "vault.test"));
  }

  /** Settings that reach the fake with its root token. */
  get settings() {
    return {
      vault_addr: `https://127.0.0.1:${this.#server.port}`,
      ca_cert_path: this.path("ca.pem"),
      tls_server_name: "vault.test",
      token_auth: { token_file: this.path("token") },
    };
  }

  /** Settings that log in with a client certificate in place of the root token; makes its files. */
  certificateSettings() {
    const { certificate, key } = this.#server.writeClient("assay");
    return { token_auth: undefined, cert_auth: { client_cert_path: certificate, client_key_path: key } };
  }

  path(name: string): string {
    return this.#server.path(name);
  }

  write(name: string, text: string): string {
    return this.#server.write(name, text);
  }

  /** The requests to a path, most of them being of no interest to a test. */
  calls(path: RegExp): SeenCall[] {
    return this.seen.filter((call) => path.test(`${call.method} ${call.path}`));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#server[Symbol.asyncDispose]();
  }

  async #answer(request: IncomingMessage, body: unknown, response: ServerResponse): Promise<void> {
    const { method = "", url = "", headers } = request;
    const call: SeenCall = {
      method,
      path: url.replace("/v1/", ""),
      token: headers["x-vault-token"] as string | undefined,
      namespace: headers["x-vault-namespace"] as string | undefined,
      body: (body ?? {}) as Record<string, unknown>,
      isKnown: (request.socket as TLSSocket).authorized,
    };
    this.seen.push(call);
    await this.before(call);
    if (this.instead(call, response)) return;
    const loggedIn = this.#logIn(call);
    if (loggedIn !== undefined) return sendVault(response, loggedIn.status, loggedIn.body);
    const token = this.tokens.get(call.token ?? "");
    if (token === undefined) return sendVault(response, 403, { errors: ["permission denied"] });
    switch (`${method} ${call.path}`) {
      case "GET auth/token/lookup-self":
        return sendVault(response, 200, { data: { id: call.token, ...token } });
      case "POST auth/token/renew-self":
        if (!token.renewable) return sendVault(response, 400, { errors: ["lease is not renewable"] });
        return sendVault(response, 200, authBody(call.token ?? "", token));
      case "POST auth/token/revoke-self":
        this.tokens.delete(call.token ?? "");
        return sendVault(response, 204, undefined);
      default: {
        const answer = this.#transit(call);
        sendVault(response, answer.status, answer.body);
      }
    }
  }

  #logIn({ method, path, body, isKnown }: SeenCall): Answer | undefined {
    const mount = /^auth\/(.+)\/login$/.exec(path)?.[1];
    if (method !== "POST" || mount === undefined) return undefined;
    const good: Readonly<Record<string, boolean>> = {
      approle: body["role_id"] === "role-id" && body["secret_id"] === "secret-id-of-the-test",
      kubernetes: body["role"] === "assay" && body["jwt"] === "account-token-of-the-test",
      cert: isKnown,
    };
    const isGood = good[mount] === true;
    if (!isGood) return refusal(`invalid role or secret ID ${String(body["secret_id"] ?? body["jwt"])}`);
    const token = `hvs.login-${++this.#logins}-0123456789`;
    this.tokens.set(token, { ...this.login });
    return { status: 200, body: authBody(token, this.login) };
  }

  #transit({ method, path, body }: SeenCall): Answer {
    if (method === "GET" && path === "transit/keys?list=true") {
      return this.keys.size === 0 ? NOT_THERE : data({ keys: [...this.keys.keys()] });
    }
    const [, action, name = "", rest] = /^transit\/(keys|sign)\/([^/]+)(?:\/(.+))?$/.exec(path) ?? [];
    const key = this.keys.get(name);
    if (action === "keys" && method === "POST" && rest === undefined) {
      this.keys.set(name, key ?? makeTransitKey(String(body["type"])));
      return { status: 200, body: {} };
    }
    if (key === undefined) return method === "GET" ? NOT_THERE : refusal("no existing key named so");
    if (action === "keys" && method === "GET") return data(key.shown);
    if (action === "keys" && rest === "config") {
      key.shown.deletion_allowed = body["deletion_allowed"] === true;
      return { status: 200, body: {} };
    }
    if (action === "keys" && method === "DELETE") {
      if (!key.shown.deletion_allowed) return refusal("deletion is not allowed for this key");
      this.keys.delete(name);
      return { status: 204, body: undefined };
    }
    if (action !== "sign") return { status: 404, body: { errors: ["no handler for route"] } };
    const signature = signDigest(key.privateKey, Buffer.from(String(body["input"]), "base64"));
    return data({ signature: `vault:v1:${Buffer.from(signature).toString("base64")}`, key_version: 1 });
  }
}

/** A key of the fake's transit engine. */
export interface FakeTransitKey {
  readonly privateKey: KeyObject;
  readonly shown: {
    type: string;
    deletion_allowed: boolean;
    exportable: boolean;
    latest_version: number;
    keys: Record<string, { public_key: string; creation_time: string }>;
  };
}

/** A key as Vault shows it. */
export function makeTransitKey(type: string, created = new Date().toISOString()): FakeTransitKey {
  const { privateKey } = type.startsWith("rsa-")
    ? generateKeyPairSync("rsa", { modulusLength: Number(type.slice(4)) })
    : generateKeyPairSync("ec", { namedCurve: type === "ecdsa-p384" ? "P-384" : "P-256" });
  const public_key = createPublicKey(privateKey).export({ type: "spki", format: "pem" }).toString();
  return {
    privateKey,
    shown: {
      type,
      deletion_allowed: false,
      exportable: false,
      latest_version: 1,
      keys: { "1": { public_key, creation_time: created } },
    },
  };
}

/** Answers as Vault does. */
export function sendVault(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { "content-type": "application/json" });
  response.end(body === undefined ? undefined : JSON.stringify(body));
}

function authBody(token: string, { ttl, renewable }: { ttl: number; renewable: boolean }) {
  return {
    auth: { client_token: token, lease_duration: ttl, renewable, accessor: randomBytes(8).toString("hex") },
  };
}

function data(value: unknown): Answer {
  return { status: 200, body: { request_id: "r", data: value } };
}

function refusal(reason: string): Answer {
  return { status: 400, body: { errors: [reason] } };
}

interface Answer {
  readonly status: number;
  readonly body: unknown;
}

const NOT_THERE: Answer = { status: 404, body: { errors: [] } };
