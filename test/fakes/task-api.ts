import type { Clock } from "../../src/clock.ts";
import { formatBundleMap } from "../../src/crypto/bundle-map.ts";
import { verifyDpopProof } from "../../src/crypto/jose/dpop.ts";
import type { WebAnswer, WebClient, WebRequest } from "../../src/agent/task/web-client.ts";
import { parseSpiffeId, trustDomainOf } from "../../src/spiffe/id.ts";
import { AssayError } from "../../src/errors/assay-error.ts";
import { FakeAuthority } from "./agent-authority.ts";

/** An answer that a test puts in the place of the ordinary one. */
export interface PlannedAnswer {
  readonly status: number;
  readonly body: unknown;
  readonly headers?: Readonly<Record<string, string>>;
}

/** A server's token endpoint and task API in memory, with every check of proofs that the real one makes. */
export class FakeTaskApi implements Pick<WebClient, "send"> {
  static readonly URL = "https://assay.test";
  static readonly ID = "11111111-2222-4333-8444-555555555555";
  readonly clock: Clock;
  readonly authority: FakeAuthority;
  /** `METHOD /path` of each request that was let in. */
  readonly calls: string[] = [];
  /** Platform tokens that were shown. */
  readonly tokens: string[] = [];
  /** What the next requests to a path are answered, one each. */
  readonly planned = new Map<string, (PlannedAnswer | "no answer")[]>();
  identities: { spiffe_id: string; hint: string }[] = [
    { spiffe_id: "spiffe://example.org/ci/7/run/8", hint: "" },
  ];
  lease = 120;
  nonce = "nonce-1";
  ended = false;
  /** The server's clock, where it is another than ours. */
  date: () => Date = () => new Date(this.clock.now());
  /** Requests that have no answer yet. */
  busy = 0;
  crls: Record<string, string[]> = {};
  #jkt: string | undefined;
  #proofs = new Set<string>();

  private constructor(clock: Clock, authority: FakeAuthority) {
    this.clock = clock;
    this.authority = authority;
  }

  static async create(clock: Clock): Promise<FakeTaskApi> {
    return new FakeTaskApi(
      clock,
      await FakeAuthority.create(trustDomainOf(parseSpiffeId("spiffe://example.org/x")), clock),
    );
  }

  /** The next request to a path is answered so. */
  plan(path: string, ...answers: (PlannedAnswer | "no answer")[]): void {
    this.planned.set(path, answers);
  }

  async send(request: WebRequest): Promise<WebAnswer> {
    this.busy++;
    try {
      const answer = await this.#send(request);
      return { ...answer, headers: { ...answer.headers, date: this.date().toUTCString() } };
    } finally {
      this.busy--;
    }
  }

  async #send(request: WebRequest): Promise<WebAnswer> {
    const path = request.url.slice(FakeTaskApi.URL.length);
    const isToken = path === "/oauth2/token";
    const fault = await this.#proofFault(request, isToken);
    if (fault !== undefined) {
      return isToken
        ? json(400, { error: fault }, { "dpop-nonce": this.nonce })
        : json(
            401,
            { code: "DPOP_NONCE_REQUIRED", title: "nonce" },
            { "dpop-nonce": this.nonce, "www-authenticate": `DPoP error="${fault}"` },
          );
    }
    this.calls.push(`${request.method} ${path}`);
    const planned = this.planned.get(path)?.shift();
    if (isToken) this.tokens.push(new URLSearchParams(request.body).get("subject_token") ?? "");
    if (planned === "no answer") throw new AssayError("SERVER_UNAVAILABLE", "assay.test: no answer");
    if (planned !== undefined) return json(planned.status, planned.body, planned.headers);
    return this.#answer(path, request);
  }

  #answer(path: string, { body }: WebRequest): WebAnswer {
    const order = path.startsWith("/v1/task/") && body !== undefined ? (JSON.parse(body) as Order) : {};
    if (this.ended) return json(409, { code: "TASK_OVER", title: "The task has ended" });
    const [first] = this.identities;
    const id = parseSpiffeId(order.spiffe_id ?? first?.spiffe_id ?? "");
    const identity = { spiffe_id: id, hint: "" };
    switch (path) {
      case "/oauth2/token":
        return json(200, {
          access_token: ACCESS_TOKEN,
          token_type: "DPoP",
          issued_token_type: "urn:ietf:params:oauth:token-type:access_token",
          task: this.#task(),
        });
      case "/v1/task":
        return json(200, this.#task());
      case "/v1/task/heartbeat":
        return json(200, this.#life());
      case "/v1/task/end":
        this.ended = true;
        return json(200, this.#life());
      case "/v1/task/x509-svid": {
        const chain = this.authority.issue(Buffer.from(order.csr ?? "", "base64"), id, 150);
        return json(200, {
          ...identity,
          x509_svid: chain.map((der) => Buffer.from(der).toString("base64")),
          expires_at: this.#time(150),
        });
      }
      case "/v1/task/jwt-svid": {
        const svid = this.authority.jwtSvid(id, order.audience ?? [], 150);
        return json(200, { ...identity, jwt_svid: svid.token, expires_at: this.#time(150) });
      }
      case "/v1/task/bundles": {
        const map = formatBundleMap([this.authority.bundle()]).slice(0, -1);
        return text(200, `${map}, "crls": ${JSON.stringify(this.crls)}}`);
      }
      default:
        return json(404, { code: "NOT_FOUND", title: "Not found" });
    }
  }

  #life() {
    return {
      id: FakeTaskApi.ID,
      state: "active",
      lease: this.lease,
      lease_expires_at: this.#time(this.lease),
      hard_end: this.#time(3600),
    };
  }

  #task() {
    return { ...this.#life(), identities: this.identities };
  }

  #time(fromNow: number): string {
    return new Date(this.clock.now() + fromNow * 1000).toISOString().replace(/\.\d+Z$/, "Z");
  }

  async #proofFault({ headers, method, url }: WebRequest, isToken: boolean): Promise<string | undefined> {
    if (!isToken && headers["authorization"] !== `DPoP ${ACCESS_TOKEN}`) return "invalid_token";
    try {
      const { jkt, jti } = await verifyDpopProof({
        proof: headers["dpop"] ?? "",
        method,
        url,
        now: Math.floor(this.date().getTime() / 1000),
        nonceIsGood: (nonce) => nonce === this.nonce,
        ...(isToken ? {} : { accessToken: ACCESS_TOKEN }),
      });
      if (this.#proofs.has(jti)) return "invalid_dpop_proof";
      this.#proofs.add(jti);
      this.#jkt ??= jkt;
      return jkt === this.#jkt ? undefined : "invalid_dpop_proof";
    } catch (error) {
      const isNonce = error instanceof AssayError && error.code === "DPOP_NONCE_REQUIRED";
      return isNonce ? "use_dpop_nonce" : "invalid_dpop_proof";
    }
  }
}

interface Order {
  readonly spiffe_id?: string;
  readonly csr?: string;
  readonly audience?: string[];
}

function json(status: number, body: unknown, headers: Readonly<Record<string, string>> = {}): WebAnswer {
  return text(status, JSON.stringify(body), headers);
}

function text(status: number, body: string, headers: Readonly<Record<string, string>> = {}): WebAnswer {
  return { status, headers, body: Buffer.from(body) };
}

const SUBJECT = "spiffe://example.org/spire/task/github/11111111-2222-4333-8444-555555555555";
const ACCESS_TOKEN = `e30.${Buffer.from(JSON.stringify({ sub: SUBJECT })).toString("base64url")}.c2ln`;
