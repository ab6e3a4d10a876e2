import type { Clock } from "../../clock.ts";
import { readBounded } from "../../files/read-bounded.ts";
import { DeadlinePassed, withDeadline } from "../deadline.ts";
import { readSecretFile } from "../secret-file.ts";
import { JsonConnections, type JsonPeer, UnreadableAnswer } from "../json-exchange.ts";
import { VaultError, vaultReasons } from "./vault-error.ts";
import type { VaultSettings } from "./vault-settings.ts";

/** One call of Vault's HTTP API. */
export interface VaultCall {
  readonly method: "GET" | "POST" | "DELETE" | "LIST";
  /** Below `/v1/`; every part escaped already. */
  readonly path: string;
  readonly body?: Readonly<Record<string, unknown>>;
  /** Whether it may be made again where Vault may have done it already; so unless told. */
  readonly repeatable?: boolean;
  /** What must never be seen in an error, the token besides. */
  readonly secrets?: readonly string[];
}

/** What Vault answered with a status below 300, or 404. */
export interface VaultAnswer {
  readonly status: number;
  readonly body: unknown;
}

/** Sends calls to Vault, one at a time or many, and maps how they fail. It knows no session. */
export class VaultTransport implements Disposable {
  readonly #settings: VaultSettings;
  readonly #clock: Clock;
  #connections = new JsonConnections();
  #peer: JsonPeer | undefined;
  #closed = false;

  constructor(settings: VaultSettings, clock: Clock) {
    this.#settings = settings;
    this.#clock = clock;
  }

  /**
   * Sends one call.
   * @param token Sent where it is given.
   * @throws VaultError, AssayError where a file of TLS cannot be read.
   */
  async send(call: VaultCall, token: string | undefined, signal?: AbortSignal): Promise<VaultAnswer> {
    if (this.#closed) throw new VaultError("unavailable", "the client of Vault is closed");
    const peer = (this.#peer ??= await this.#readPeer());
    const { address, namespace } = this.#settings;
    const list = call.method === "LIST";
    const base = `${address.origin}${address.pathname.replace(/\/$/, "")}`;
    const url = new URL(`${base}/v1/${call.path}${list ? "?list=true" : ""}`);
    const what = `${call.method} ${call.path}`;
    const answer = await withDeadline({ clock: this.#clock, timeout: TIMEOUT, signal }, (abort) =>
      this.#connections.ask(
        {
          url,
          method: call.method === "LIST" ? "GET" : call.method,
          headers: {
            "user-agent": "assay",
            "x-vault-request": "true",
            ...(namespace === undefined ? {} : { "x-vault-namespace": namespace }),
            ...(token === undefined ? {} : { "x-vault-token": token }),
          },
          body: call.body,
          maxBytes: MAX_ANSWER,
          signal: abort,
        },
        peer,
      ),
    ).catch((error: unknown) => {
      signal?.throwIfAborted();
      // Whoever is not believed may be so with files that were replaced meanwhile.
      if (this.#peer === peer) this.#peer = undefined;
      throw failureOf(what, error);
    });
    return judged(what, answer, [...(call.secrets ?? []), ...(token === undefined ? [] : [token])]);
  }

  /** Reads the files of TLS anew with the next call, on new connections: they may have been replaced. */
  refreshPeer(): void {
    if (this.#peer === undefined || this.#closed) return;
    this.#peer = undefined;
    // Calls under way end where they began.
    const before = this.#connections;
    this.#connections = new JsonConnections();
    this.#clock.schedule(TIMEOUT, () => before[Symbol.dispose]());
  }

  [Symbol.dispose](): void {
    this.#closed = true;
    this.#connections[Symbol.dispose]();
  }

  async #readPeer(): Promise<JsonPeer> {
    const { caFile, serverName, skipVerify, auth } = this.#settings;
    const read = async (path: string | undefined) =>
      path === undefined ? undefined : readBounded(path, MAX_PEM, { code: "REMOTE_UNAVAILABLE" });
    const isCert = auth.method === "cert";
    return {
      ca: await read(caFile),
      serverName,
      skipVerify,
      certificate: await read(isCert ? auth.certificateFile : undefined),
      key: isCert ? await readSecretFile("client_key_path", auth.keyFile, MAX_PEM) : undefined,
    };
  }
}

function judged(what: string, answer: VaultAnswer, secrets: readonly string[]): VaultAnswer {
  const { status, body } = answer;
  if (status >= 200 && status < 300) return answer;
  const reasons = vaultReasons(body, secrets);
  // Where something is not there, Vault answers without a reason; a reason is given where the path itself is wrong.
  if (status === 404 && reasons === "") return answer;
  const shown = reasons === "" ? "" : `: ${reasons}`;
  if (status >= 300 && status < 400) {
    throw new VaultError("unavailable", `Vault redirects ${what}, set vault_addr to its active node`, status);
  }
  const kind = status >= 500 || status === 412 || status === 429 ? "unavailable" : "refused";
  throw new VaultError(kind, `Vault answers ${what} with ${status}${shown}`, status);
}

function failureOf(what: string, error: unknown): VaultError {
  if (error instanceof VaultError) return error;
  if (error instanceof UnreadableAnswer)
    return new VaultError("refused", `Vault ${error.message} to ${what}`);
  if (error instanceof DeadlinePassed)
    return new VaultError("unavailable", `Vault gave ${what} ${error.message}`);
  const { code, message } = (error instanceof Error ? error : {}) as NodeJS.ErrnoException;
  return new VaultError(
    "unavailable",
    `Vault cannot be asked for ${what}: ${message || code || "unknown reason"}`,
    undefined,
    code,
  );
}

const TIMEOUT = 15_000;
const MAX_ANSWER = 4 * 1024 * 1024;
const MAX_PEM = 1024 * 1024;
