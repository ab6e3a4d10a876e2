import { type Clock, unixSeconds } from "../../clock.ts";
import { readCertificate } from "../../crypto/certificate-reader.ts";
import { validateX509Svid } from "../../crypto/x509-svid.ts";
import { AssayError, toAssayError } from "../../errors/assay-error.ts";
import { Bundle } from "../../proto/gen/spire/api/server/bundle/v1/bundle_pb.ts";
import { SVID } from "../../proto/gen/spire/api/server/svid/v1/svid_pb.ts";
import { RpcClient, type ServiceClient } from "../../rpc/client.ts";
import { RpcError } from "../../rpc/status.ts";
import { serverId } from "../../spiffe/reserved.ts";
import type { TrustDomain } from "../../spiffe/trust-domain.ts";
import { X509Source } from "../../workload/x509-source.ts";

/** Where a server above is, and where this server's own X509-SVID of it comes from. */
export interface ServerConnectionOptions {
  readonly host: string;
  readonly port: number;
  /** Of a Workload API whose agent belongs to that server: `unix:///path` or `tcp://IP:port`. */
  readonly workloadApi: string;
  readonly trustDomain: TrustDomain;
  readonly clock: Clock;
  /** Told of what goes wrong with the Workload API and is tried again. */
  readonly onProblem: (problem: AssayError) => void;
}

/** The services of a server above that a server below calls. */
export interface UpstreamServices {
  readonly svid: ServiceClient<typeof SVID>;
  readonly bundle: ServiceClient<typeof Bundle>;
}

/**
 * The way to a server above: TLS with the X509-SVID that the Workload API gives us on this side, and on the other one that is
 * kept for servers of our trust domain. The connection is made anew with each new SVID or bundle.
 */
export class ServerConnection implements AsyncDisposable {
  readonly #options: ServerConnectionOptions;
  #source: X509Source;
  #updates: Disposable;
  #client: RpcClient | undefined;
  #renewing: Promise<void> | undefined;
  #closed = false;

  /** Begins to follow the Workload API and does not wait. @throws AssayError `CONFIG_INVALID` for its address. */
  constructor(options: ServerConnectionOptions) {
    this.#options = options;
    [this.#source, this.#updates] = this.#follow();
  }

  /**
   * Calls the server above.
   * @throws AssayError `UPSTREAM_UNAVAILABLE` where there is no SVID, no connection or no answer, `UPSTREAM_REFUSED` where the
   * server says no.
   */
  async call<Answer>(
    what: string,
    signal: AbortSignal,
    how: (services: UpstreamServices) => Promise<Answer>,
  ): Promise<Answer> {
    try {
      const client = await this.#connected(signal);
      return await how({ svid: client.service(SVID), bundle: client.service(Bundle) });
    } catch (thrown) {
      throw asUpstreamError(what, thrown);
    }
  }

  /** Ends what is under way; whoever calls later is refused. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    await this.#renewing;
    this.#updates[Symbol.dispose]();
    this.#client?.[Symbol.dispose]();
    await this.#source[Symbol.asyncDispose]();
  }

  async #connected(signal: AbortSignal): Promise<RpcClient> {
    if (this.#source.ended !== undefined && !this.#closed) {
      // Once for all who ask at the same time: a second source would take the first one's place and nobody end that.
      this.#renewing ??= this.#renew().finally(() => {
        this.#renewing = undefined;
      });
      await this.#renewing;
    }
    if (this.#closed) throw new AssayError("UPSTREAM_UNAVAILABLE", "the connection is closed");
    await this.#source.ready(PATIENCE_MS, signal);
    this.#client ??= this.#connect();
    return this.#client;
  }

  async #renew(): Promise<void> {
    this.#updates[Symbol.dispose]();
    await this.#source[Symbol.asyncDispose]();
    if (!this.#closed) [this.#source, this.#updates] = this.#follow();
  }

  #follow(): [X509Source, Disposable] {
    const { workloadApi: address, clock, onProblem } = this.#options;
    const source = new X509Source({ address, clock, onProblem });
    const updates = source.onUpdate(() => {
      // Calls under way may finish; the next one begins with what is new.
      this.#client?.close();
      this.#client = undefined;
    });
    return [source, updates];
  }

  #connect(): RpcClient {
    const { host, port, trustDomain } = this.#options;
    const { chain, privateKey } = this.#source.x509Svid();
    const authorities = this.#source.x509Bundles().get(trustDomain)?.authorities ?? [];
    if (authorities.length === 0) {
      throw new AssayError("UPSTREAM_UNAVAILABLE", `the Workload API has no bundle of ${trustDomain}`);
    }
    return new RpcClient({
      target: {
        kind: "tls",
        host,
        port,
        authorities,
        verifyServer: (shown) => this.#verify(shown, authorities),
        identity: { certificates: chain, privateKey },
      },
      keepaliveTime: KEEPALIVE_TIME,
      keepaliveTimeout: KEEPALIVE_TIMEOUT,
    });
  }

  #verify(shown: readonly Uint8Array[], authorities: readonly Uint8Array[]): void {
    const { trustDomain, clock } = this.#options;
    const { spiffeId } = validateX509Svid(
      shown.map((der) => readCertificate(der)),
      authorities.map((der) => readCertificate(der)),
      unixSeconds(clock),
      { crls: this.#source.crls() },
    );
    const expected = serverId(trustDomain);
    if (spiffeId !== expected) {
      throw new AssayError("INVALID_CERTIFICATE", `the server is ${spiffeId}, expected ${expected}`);
    }
  }
}

function asUpstreamError(what: string, thrown: unknown): AssayError {
  const error = toAssayError(thrown);
  const hasRefused = error instanceof RpcError && REFUSALS.has(error.status);
  const code = hasRefused || error.code === "UPSTREAM_REFUSED" ? "UPSTREAM_REFUSED" : "UPSTREAM_UNAVAILABLE";
  return new AssayError(code, `upstream server: ${what}: ${error.detail}`, { cause: thrown });
}

const REFUSALS: ReadonlySet<string> = new Set([
  "INVALID_ARGUMENT",
  "PERMISSION_DENIED",
  "FAILED_PRECONDITION",
  "UNIMPLEMENTED",
  "UNAUTHENTICATED",
  "OUT_OF_RANGE",
]);
const PATIENCE_MS = 30_000;
const KEEPALIVE_TIME = 30_000;
const KEEPALIVE_TIMEOUT = 20_000;
