/**
 * upstream/spire/ — an upstream authority that is another server of the same trust domain, SPIRE's or ours (nested topology).
 *
 * Must never take an answer for true: what comes back is checked by who asked.
 * Called by signing, by way of the server's composition.
 */
import { isIPv6 } from "node:net";
import { z } from "zod";
import type { Clock } from "../../clock.ts";
import { toAssayError } from "../../errors/assay-error.ts";
import type { Bundle as BundleMessage, JWTKey } from "../../proto/gen/spire/api/types/bundle_pb.ts";
import type { PluginHost } from "../../plugin/host.ts";
import {
  defineUpstreamAuthority,
  type UpstreamAuthority,
  type UpstreamTrust,
  type UpstreamX509Ca,
  type UpstreamX509CaOrder,
} from "../../plugin/upstream-authority.ts";
import type { JwtAuthorityKey } from "../../spiffe/bundle.ts";
import { ServerConnection } from "./server-connection.ts";

const port = z
  .union([z.int(), z.string().regex(/^\d{1,5}$/)])
  .transform(Number)
  .pipe(z.int().min(1).max(65_535));

/** The `spire` upstream authority plugin. */
export const spireUpstream = defineUpstreamAuthority({
  kind: "upstreamAuthority",
  apiVersion: 1,
  name: "spire",
  config: z.strictObject({
    server_address: z.string().min(1).max(253).describe("DNS name or IP address of the server above"),
    server_port: port.describe("Port of its server API"),
    workload_api_socket: z
      .string()
      .min(1)
      .max(4096)
      .describe("Unix socket of an agent of the server above, at which this server gets its X509-SVID of it"),
  }),
  create: (config, { trustDomain, clock, log }) => {
    const { server_address: address, workload_api_socket: socket } = config;
    const connection = new ServerConnection({
      host: isIPv6(address.replace(/^\[|\]$/g, "")) ? address.replace(/^\[|\]$/g, "") : address,
      port: config.server_port,
      workloadApi: socket.includes("://") ? socket : `unix://${socket}`,
      trustDomain,
      clock,
      onProblem: ({ detail }) => log.warn("the Workload API of the server above is in trouble", { detail }),
    });
    return new SpireUpstream(connection, clock, log);
  },
});

class SpireUpstream implements UpstreamAuthority {
  readonly #connection: ServerConnection;
  readonly #clock: Clock;
  readonly #log: PluginHost["log"];
  readonly #stopped = new AbortController();
  readonly #listeners = new Set<(trust: UpstreamTrust) => void>();
  /** How often we changed something upstream or got to know its roots: a bundle that was asked for before says less than we know. */
  #changes = 0;
  #wait: Disposable | undefined;
  #polling: Promise<void> | undefined;
  #told: { readonly text: string; readonly polls: number } | undefined;
  #isDown = false;

  constructor(connection: ServerConnection, clock: Clock, log: PluginHost["log"]) {
    this.#connection = connection;
    this.#clock = clock;
    this.#log = log;
  }

  async mintX509Ca({ csr, ttl, signal }: UpstreamX509CaOrder): Promise<UpstreamX509Ca> {
    const preferredTtl = Math.min(Math.floor(ttl), MAX_INT32);
    const { caCertChain } = await this.#connection.call("NewDownstreamX509CA", signal, ({ svid }) =>
      svid.newDownstreamX509CA({ csr, preferredTtl }, { signal }),
    );
    // Its own list of roots does not say which are tainted.
    const bundle = await this.#bundle(signal);
    this.#changes++;
    return { chain: caCertChain.map((der) => Uint8Array.from(der)), roots: rootsOf(bundle) };
  }

  async publishJwtKey(key: JwtAuthorityKey, signal: AbortSignal): Promise<readonly JwtAuthorityKey[]> {
    this.#changes++;
    const { jwtAuthorities } = await this.#connection.call("PublishJWTAuthority", signal, ({ bundle }) =>
      bundle.publishJWTAuthority(
        {
          jwtAuthority: {
            keyId: key.keyId,
            publicKey: key.publicKey,
            expiresAt: BigInt(key.expiresAt),
            tainted: false,
          },
        },
        { signal },
      ),
    );
    this.#changes++;
    return jwtAuthorities.map(keyOf);
  }

  watch(listener: (trust: UpstreamTrust) => void): Disposable {
    this.#listeners.add(listener);
    this.#told = undefined;
    if (this.#wait === undefined && this.#polling === undefined) this.#poll();
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopped.abort();
    this.#wait?.[Symbol.dispose]();
    this.#listeners.clear();
    await this.#connection[Symbol.asyncDispose]();
    await this.#polling;
  }

  #poll(): void {
    this.#wait = undefined;
    this.#polling = this.#look().then(() => {
      this.#polling = undefined;
      if (this.#stopped.signal.aborted) return;
      this.#wait = this.#clock.schedule(POLL_MS, () => this.#poll());
    });
  }

  async #look(): Promise<void> {
    const before = this.#changes;
    try {
      const trust = trustOf(await this.#bundle(this.#stopped.signal));
      if (this.#isDown) this.#log.info("the bundle of the server above can be read again");
      this.#isDown = false;
      if (before === this.#changes) this.#tell(trust);
    } catch (error) {
      if (this.#isDown || this.#stopped.signal.aborted) return;
      this.#isDown = true;
      this.#log.warn("the bundle of the server above cannot be read, will be tried again", {
        detail: toAssayError(error).detail,
      });
    }
  }

  // What is the same as before is told again once a minute: whoever could not write it down has another chance then.
  #tell(trust: UpstreamTrust): void {
    const text = JSON.stringify(trust, (_, value: unknown) =>
      value instanceof Uint8Array ? Buffer.from(value).toString("base64") : value,
    );
    const isSame = text === this.#told?.text;
    if (isSame && this.#told !== undefined && this.#told.polls < REPEAT_POLLS) {
      this.#told = { text, polls: this.#told.polls + 1 };
      return;
    }
    this.#told = { text, polls: 1 };
    for (const listener of this.#listeners) listener(trust);
  }

  async #bundle(signal: AbortSignal): Promise<BundleMessage> {
    return this.#connection.call("GetBundle", signal, ({ bundle }) =>
      bundle.getBundle({}, { signal, timeout: POLL_TIMEOUT_MS }),
    );
  }
}

function trustOf(bundle: BundleMessage): UpstreamTrust {
  return { roots: rootsOf(bundle), jwtKeys: bundle.jwtAuthorities.map(keyOf) };
}

function rootsOf({ x509Authorities }: BundleMessage): UpstreamTrust["roots"] {
  return x509Authorities.map(({ asn1, tainted }) => ({ certificate: Uint8Array.from(asn1), tainted }));
}

function keyOf({ keyId, publicKey, expiresAt, tainted }: JWTKey): JwtAuthorityKey {
  // An end that is none stays one as a number: who asked leaves out the one key that has it, and not all the others.
  return { keyId, publicKey: Uint8Array.from(publicKey), expiresAt: Number(expiresAt), tainted };
}

const POLL_MS = 5000;
const POLL_TIMEOUT_MS = 10_000;
const REPEAT_POLLS = 12;
const MAX_INT32 = 2 ** 31 - 1;
