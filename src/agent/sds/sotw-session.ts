import type { MessageInitShape } from "@bufbuild/protobuf";
import { AssayError } from "../../errors/assay-error.ts";
import type {
  DiscoveryRequest,
  DiscoveryResponseSchema,
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

type Response = MessageInitShape<typeof DiscoveryResponseSchema>;

/** The part of a request that a stream is led by. */
export type SotwRequest = Pick<DiscoveryRequest, "resourceNames" | "responseNonce" | "errorDetail">;

/** A stream of the state of the world: each response has all secrets that are wanted and there. */
export class SotwSession implements SecretSession<SotwRequest, Response> {
  readonly #newNonce: () => string;
  readonly #subscription = new Subscription();
  /** Version of each secret as it was sent last. */
  readonly #sent = new Map<string, string>();
  #nonce = "";
  #began = false;
  /** Whether an answer is owed though the content may be the same. */
  #due = false;
  #judged = true;

  /** `newNonce` gives one that is unlike all before. */
  constructor(newNonce: () => string) {
    this.#newNonce = newNonce;
  }

  take({ resourceNames, responseNonce, errorDetail }: SotwRequest): string | undefined {
    // The first request is answered whatever nonce it has: one of another stream means nothing here.
    if (this.#began && responseNonce !== this.#nonce) return undefined;
    const words = this.#began && !this.#judged ? clientWords(errorDetail) : undefined;
    this.#judged = true;
    this.#began = true;
    if (this.#subscription.replace(resourceNames)) {
      this.#due = true;
      const { all, names } = this.#subscription;
      for (const name of this.#sent.keys()) if (!all && !names.has(name)) this.#sent.delete(name);
    }
    return words;
  }

  answer(finder: Finder): SessionAnswer<Response> | undefined {
    const { all, names } = this.#subscription;
    const wanted = new Set([...(all ? finder.names() : []), ...names]);
    const secrets = [...wanted].map((name) => finder.find(name)).filter(isSecret);
    const isNews = this.#due || secrets.some(({ name, version }) => this.#sent.get(name) !== version);
    // A response without a resource would be taken for an error: a name that is not there yet is met with silence.
    if (secrets.length === 0 || !isNews) return undefined;
    this.#due = false;
    this.#judged = false;
    this.#nonce = this.#newNonce();
    for (const { name, version } of secrets) this.#sent.set(name, version);
    return {
      secrets,
      response: {
        versionInfo: versionOf(secrets),
        resources: resourcesOf(secrets),
        typeUrl: SECRET_TYPE_URL,
        nonce: this.#nonce,
        controlPlane: { identifier: "assay" },
      },
    };
  }
}

function resourcesOf(secrets: readonly Secret[]): { readonly typeUrl: string; readonly value: Uint8Array }[] {
  let size = 0;
  return secrets.map((secret) => {
    const value = secret.encode();
    size += value.length;
    if (size > MAX_RESPONSE) {
      throw new AssayError("MESSAGE_TOO_LARGE", "resource_names must name fewer secrets than fit into 3 MiB");
    }
    return { typeUrl: SECRET_TYPE_URL, value };
  });
}

function isSecret(found: Secret | string): found is Secret {
  return typeof found !== "string";
}
