import { createPrivateKey, randomUUID, X509Certificate } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { Agent, request as httpsRequest } from "node:https";
import { buffer } from "node:stream/consumers";
import { TaskClient } from "../../src/agent/task/client.ts";
import type { WebAnswer, WebRequest } from "../../src/agent/task/web-client.ts";
import { systemClock } from "../../src/clock.ts";
import { generateEcKeyPair } from "../../src/crypto/keys.ts";
import { AssayError } from "../../src/errors/assay-error.ts";
import type { SpiffeId } from "../../src/spiffe/id.ts";
import { makeCsr } from "../fakes/issuance-csr.ts";

/** What a job has got: what somebody could go on with after its end. */
export interface JobSpoils {
  readonly taskId: string;
  /** Serial number of its X509-SVID, lower-case hex without leading zero octets. */
  readonly serial: string;
  readonly jwtSvid: string;
}

/**
 * One job on a machine of its own, as far as its server can tell: an address of its own, one connection, its own key. It
 * uses the client that `assay task run` uses.
 */
export class LoadJob implements Disposable {
  readonly #agent: Agent;
  readonly #client: TaskClient;
  readonly #token: string;
  readonly #csr: Uint8Array;
  #id: SpiffeId | undefined;
  #spoils: Partial<JobSpoils> = {};

  /** @param number From 0; gives the job its address. */
  constructor(server: string, ca: string, number: number, token: string) {
    const localAddress = `127.1.${Math.floor(number / 250)}.${(number % 250) + 1}`;
    this.#agent = new Agent({
      keepAlive: true,
      maxSockets: 1,
      localAddress,
      family: 4,
      ca,
      // The chain says that it is the server; on a laptop it has no name.
      checkServerIdentity: () => undefined,
    });
    const { pkcs8 } = generateEcKeyPair("ec-p256");
    const key = createPrivateKey({ key: Buffer.from(pkcs8), format: "der", type: "pkcs8" });
    const web = { send: (request: WebRequest) => this.#send(request) };
    this.#client = new TaskClient({ server, web, key, clock: systemClock, newId: randomUUID });
    this.#token = token;
    this.#csr = makeCsr();
  }

  /** Everything that it has, once it has everything. */
  get spoils(): JobSpoils {
    const { taskId, serial, jwtSvid } = this.#spoils;
    if (taskId === undefined || serial === undefined || jwtSvid === undefined) {
      throw new Error("the job has not got everything");
    }
    return { taskId, serial, jwtSvid };
  }

  /** Shows the platform's token; a round for the nonce is part of it. */
  async open(): Promise<void> {
    const facts = await this.#client.open(this.#token, NEVER);
    this.#id = facts.identities[0]?.spiffeId;
    this.#spoils = { ...this.#spoils, taskId: facts.id };
  }

  async x509Svid(): Promise<void> {
    const [leaf] = await this.#client.x509Svid(this.#csr, this.#id ?? "", NEVER);
    const serial = new X509Certificate(leaf ?? Buffer.alloc(0)).serialNumber.toLowerCase();
    this.#spoils = { ...this.#spoils, serial };
  }

  async jwtSvid(audience: string): Promise<void> {
    const { token } = await this.#client.jwtSvid([audience as never], this.#id ?? "", NEVER);
    this.#spoils = { ...this.#spoils, jwtSvid: token };
  }

  async heartbeat(): Promise<void> {
    await this.#client.heartbeat(NEVER);
  }

  async end(): Promise<void> {
    await this.#client.end(NEVER);
  }

  /** The code with which its access token is refused; `undefined` where it is good. */
  async refusal(): Promise<string | undefined> {
    try {
      await this.#client.read(NEVER);
      return undefined;
    } catch (error) {
      if (error instanceof AssayError) return error.code;
      throw error;
    }
  }

  [Symbol.dispose](): void {
    this.#agent.destroy();
  }

  async #send({ method, url, headers, body, signal }: WebRequest): Promise<WebAnswer> {
    const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
    const request = httpsRequest(url, { method, headers, signal, agent: this.#agent }, resolve);
    request.once("error", reject);
    request.end(body);
    const response = await promise;
    return {
      status: response.statusCode ?? 0,
      headers: response.headers,
      body: await buffer(response),
    };
  }
}

const NEVER = new AbortController().signal;
