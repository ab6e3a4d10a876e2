import type { MessageInitShape } from "@bufbuild/protobuf";
import type {
  DeltaDiscoveryRequest,
  DeltaDiscoveryResponseSchema,
} from "../../proto/gen/envoy/service/discovery/v3/discovery_pb.ts";
import {
  clientWords,
  type Finder,
  MAX_RESPONSE,
  type SecretSession,
  type SessionAnswer,
} from "./secret-session.ts";
import { type Secret, SECRET_TYPE_URL, versionOf } from "./secret-writer.ts";
import { Subscription } from "./subscription.ts";

type Response = MessageInitShape<typeof DeltaDiscoveryResponseSchema>;

/** The part of a request that a stream is led by. */
export type DeltaRequest = Pick<
  DeltaDiscoveryRequest,
  | "resourceNamesSubscribe"
  | "resourceNamesUnsubscribe"
  | "initialResourceVersions"
  | "responseNonce"
  | "errorDetail"
>;

/** An incremental stream: each response has the secrets that changed, and the names of those that are gone. */
export class DeltaSession implements SecretSession<DeltaRequest, Response> {
  readonly #newNonce: () => string;
  readonly #subscription = new Subscription();
  /** Version of each secret that the client has, by its own word or because it was sent. */
  readonly #held = new Map<string, string>();
  #nonce = "";
  #began = false;
  #judged = true;

  /** `newNonce` gives one that is unlike all before. */
  constructor(newNonce: () => string) {
    this.#newNonce = newNonce;
  }

  take(request: DeltaRequest): string | undefined {
    const { resourceNamesSubscribe: subscribe, resourceNamesUnsubscribe: unsubscribe } = request;
    this.#subscription.change(subscribe, unsubscribe);
    // Whoever asks for a name gets it, even if it was sent before.
    for (const name of [...subscribe, ...unsubscribe]) this.#held.delete(name);
    const { all, names } = this.#subscription;
    for (const name of this.#held.keys()) if (!all && !names.has(name)) this.#held.delete(name);
    if (!this.#began) this.#recall(request.initialResourceVersions);
    this.#began = true;
    if (request.responseNonce !== this.#nonce || this.#judged) return undefined;
    this.#judged = true;
    return clientWords(request.errorDetail);
  }

  answer(finder: Finder): SessionAnswer<Response> | undefined {
    const { all, names } = this.#subscription;
    const wanted = new Set([...(all ? [...finder.names(), ...this.#held.keys()] : []), ...names]);
    const resources: { name: string; version: string; resource: { typeUrl: string; value: Uint8Array } }[] =
      [];
    const secrets: Secret[] = [];
    const removed: string[] = [];
    let size = 0;
    for (const name of wanted) {
      const found = finder.find(name);
      if (found === "absent" && this.#held.has(name)) removed.push(name);
      if (typeof found === "string" || this.#held.get(name) === found.version) continue;
      // What does not fit is in the next response.
      if (size > MAX_RESPONSE) continue;
      const value = found.encode();
      size += value.length;
      if (size > MAX_RESPONSE && secrets.length > 0) continue;
      secrets.push(found);
      resources.push({ name, version: found.version, resource: { typeUrl: SECRET_TYPE_URL, value } });
    }
    if (resources.length === 0 && removed.length === 0) return undefined;
    for (const name of removed) this.#held.delete(name);
    for (const { name, version } of resources) this.#held.set(name, version);
    this.#nonce = this.#newNonce();
    this.#judged = false;
    return {
      secrets,
      response: {
        systemVersionInfo: versionOf(secrets),
        resources,
        removedResources: removed,
        typeUrl: SECRET_TYPE_URL,
        nonce: this.#nonce,
        controlPlane: { identifier: "assay" },
      },
    };
  }

  /** What a client that comes back has from an earlier stream. */
  #recall(versions: Readonly<Record<string, string>>): void {
    const { all, names } = this.#subscription;
    const told = Object.entries(versions);
    if (all && told.length > MAX_RECALLED) return;
    for (const [name, version] of told) if (all || names.has(name)) this.#held.set(name, version);
  }
}

const MAX_RECALLED = 1000;
