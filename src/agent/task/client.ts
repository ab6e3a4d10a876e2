import type { KeyObject } from "node:crypto";
import { type Clock, unixSeconds } from "../../clock.ts";
import { parseBundleMap } from "../../crypto/bundle-map.ts";
import { createDpopProof } from "../../crypto/jose/dpop.ts";
import { AssayError } from "../../errors/assay-error.ts";
import type { Audience } from "../../spiffe/audience.ts";
import type { SpiffeBundle } from "../../spiffe/bundle.ts";
import { type SpiffeId, tryParseSpiffeId } from "../../spiffe/id.ts";
import type { JwtSvid } from "../../spiffe/svid.ts";
import type { TrustDomain } from "../../spiffe/trust-domain.ts";
import {
  crlsAnswer,
  jwtAnswer,
  lifeAnswer,
  openAnswer,
  readAnswer,
  refusesProof,
  taskAnswer,
  type TaskFacts,
  type TaskLife,
  wantsNonce,
  witAnswer,
  x509Answer,
} from "./task-answers.ts";
import type { WebAnswer, WebClient } from "./web-client.ts";

/** What asking for a task needs. */
export interface TaskClientOptions {
  /** The server's issuer URL; everything is asked below it. */
  readonly server: string;
  readonly web: Pick<WebClient, "send">;
  /** The private key that the task is bound to: EC P-256. */
  readonly key: KeyObject;
  readonly clock: Clock;
  /** A fresh name for a proof, with at least 96 random bits. */
  readonly newId: () => string;
}

/** The bundles of a task. */
export interface TaskBundles {
  readonly bundles: ReadonlyMap<TrustDomain, SpiffeBundle>;
  /** DER of revocation lists by trust domain. */
  readonly crls: ReadonlyMap<TrustDomain, readonly Uint8Array[]>;
}

/** A WIT-SVID that is wanted. */
export interface TaskWitOrder {
  /** SubjectPublicKeyInfo, DER. */
  readonly publicKey: Uint8Array;
  readonly algorithm: string;
  readonly proof: string;
}

/**
 * One task on the wire: its access token, its key, and the server's newest nonce. Every method throws an AssayError:
 * `SERVER_UNAVAILABLE` and `RATE_LIMITED` pass; `TASK_OVER`, `TASK_NOT_FOUND` and `INVALID_ACCESS_TOKEN` do not.
 */
export class TaskClient {
  readonly #options: TaskClientOptions;
  readonly #base: string;
  #nonce: string | undefined;
  /** How far the server's clock is ahead of ours, seconds: proofs are judged by its clock. */
  #skew = 0;
  #accessToken: string | undefined;

  constructor(options: TaskClientOptions) {
    this.#options = options;
    this.#base = options.server.replace(/\/+$/, "");
  }

  /**
   * The name by which the task calls the server, once it is open: what proofs of possession of a WIT-SVID's key are made
   * for. `undefined` where the server keeps it to itself.
   */
  get subject(): SpiffeId | undefined {
    const payload = this.#accessToken?.split(".")[1] ?? "";
    try {
      const { sub } = JSON.parse(Buffer.from(payload, "base64url").toString()) as { readonly sub?: unknown };
      return typeof sub === "string" ? tryParseSpiffeId(sub) : undefined;
    } catch {
      return undefined;
    }
  }

  /**
   * Opens the task that a platform's token is for, or takes it up again (RFC 8693 §2.1, RFC 9449 §5). A token counts once:
   * after an answer that was lost, a fresh one is needed.
   * @throws AssayError besides, `NO_IDENTITY_ISSUED` with the server's reason, which names a decision.
   */
  async open(platformToken: string, signal: AbortSignal): Promise<TaskFacts> {
    const form = new URLSearchParams({
      grant_type: "urn:ietf:params:oauth:grant-type:token-exchange",
      subject_token: platformToken,
      subject_token_type: "urn:ietf:params:oauth:token-type:jwt",
      audience: `${this.#base}/v1/task`,
    });
    const headers = { "content-type": "application/x-www-form-urlencoded" };
    const answer = await this.#ask("POST", "/oauth2/token", headers, form.toString(), signal);
    const { access_token: token, task } = readAnswer(answer, openAnswer);
    this.#accessToken = token;
    return task;
  }

  /** The task and what it has earned now. */
  async read(signal: AbortSignal): Promise<TaskFacts> {
    return readAnswer(await this.#call("GET", "", undefined, signal), taskAnswer);
  }

  /** Keeps the task alive for another lease. */
  async heartbeat(signal: AbortSignal): Promise<TaskLife> {
    return readAnswer(await this.#call("POST", "/heartbeat", {}, signal), lifeAnswer);
  }

  /** Ends the task. */
  async end(signal: AbortSignal): Promise<void> {
    readAnswer(await this.#call("POST", "/end", {}, signal), lifeAnswer);
  }

  /** An X509-SVID over the key of a signing request (DER): its chain in DER, leaf first. */
  async x509Svid(csr: Uint8Array, spiffeId: string, signal: AbortSignal): Promise<readonly Uint8Array[]> {
    const order = { csr: base64(csr), spiffe_id: spiffeId };
    return readAnswer(await this.#call("POST", "/x509-svid", order, signal), x509Answer).x509_svid;
  }

  /** A JWT-SVID. */
  async jwtSvid(audience: readonly Audience[], spiffeId: string, signal: AbortSignal): Promise<JwtSvid> {
    const order = { audience, spiffe_id: spiffeId };
    const answer = readAnswer(await this.#call("POST", "/jwt-svid", order, signal), jwtAnswer);
    return {
      spiffeId: answer.spiffe_id,
      token: answer.jwt_svid,
      issuedAt: unixSeconds(this.#options.clock),
      expiresAt: answer.expires_at,
    };
  }

  /** A WIT-SVID. @throws AssayError besides, `UNIMPLEMENTED` where the server has none. */
  async witSvid(order: TaskWitOrder, spiffeId: string, signal: AbortSignal): Promise<string> {
    const body = {
      public_key: base64(order.publicKey),
      signing_algorithm: order.algorithm,
      proof: order.proof,
      spiffe_id: spiffeId,
    };
    return readAnswer(await this.#call("POST", "/wit-svid", body, signal), witAnswer).wit_svid;
  }

  /** The own trust domain's bundle, those that the task's entries federate with, and revocation lists. */
  async bundles(signal: AbortSignal): Promise<TaskBundles> {
    const answer = await this.#call("GET", "/bundles", undefined, signal);
    const { crls } = readAnswer(answer, crlsAnswer);
    const bundles = parseBundleMap(answer.body);
    const named = new Map<string, TrustDomain>([...bundles.keys()].map((name) => [name, name]));
    return {
      bundles,
      crls: new Map(
        Object.entries(crls).flatMap(([name, lists]) => {
          const trustDomain = named.get(name);
          return trustDomain === undefined ? [] : [[trustDomain, lists] as const];
        }),
      ),
    };
  }

  async #call(method: "GET" | "POST", path: string, body: unknown, signal: AbortSignal): Promise<WebAnswer> {
    const token = this.#accessToken;
    if (token === undefined) throw new AssayError("NOT_READY", "the task is not open yet");
    const headers = {
      authorization: `DPoP ${token}`,
      ...(body === undefined ? {} : { "content-type": "application/json" }),
    };
    const text = body === undefined ? undefined : JSON.stringify(body);
    return this.#ask(method, `/v1/task${path}`, headers, text, signal, token);
  }

  /** Asks with a proof of the key, and again with the server's nonce where it wants another. */
  async #ask(
    method: "GET" | "POST",
    path: string,
    headers: Readonly<Record<string, string>>,
    body: string | undefined,
    signal: AbortSignal,
    accessToken?: string,
  ): Promise<WebAnswer> {
    const { web, key, clock, newId } = this.#options;
    const url = `${this.#base}${path}`;
    for (let attempt = 1; ; attempt++) {
      const dpop = createDpopProof(key, {
        method,
        url,
        jti: newId(),
        now: unixSeconds(clock) + this.#skew,
        ...(this.#nonce === undefined ? {} : { nonce: this.#nonce }),
        ...(accessToken === undefined ? {} : { accessToken }),
      });
      const answer = await web.send({
        method,
        url,
        headers: { ...headers, dpop },
        signal,
        ...(body === undefined ? {} : { body }),
      });
      const nonce = answer.headers["dpop-nonce"];
      if (typeof nonce === "string") this.#nonce = nonce;
      const isOtherTime = this.#learnTime(answer);
      const mayHelp = wantsNonce(answer) || (isOtherTime && refusesProof(answer));
      if (attempt < MAX_ATTEMPTS && mayHelp) continue;
      return answer;
    }
  }

  /** Follows the server's clock where ours is off; says whether that changed anything. */
  #learnTime({ headers }: WebAnswer): boolean {
    const time = typeof headers["date"] === "string" ? Date.parse(headers["date"]) / 1000 : Number.NaN;
    const skew = Math.round(time - unixSeconds(this.#options.clock));
    if (Number.isNaN(skew) || Math.abs(skew - this.#skew) <= TOLERATED_SKEW) return false;
    this.#skew = skew;
    return true;
  }
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("base64");
}

// The date of an answer has whole seconds, and the way to us takes time.
const TOLERATED_SKEW = 2;
// One for a clock that is off, one for the first nonce, and one for a nonce that grew old on the way.
const MAX_ATTEMPTS = 4;
