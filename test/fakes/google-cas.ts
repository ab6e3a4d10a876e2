import { createPublicKey } from "node:crypto";
import { type Clock, unixSeconds } from "../../src/clock.ts";
import { type CloudCa, makeCloudCa } from "./cloud-ca.ts";
import { type GoogleRequest, googleFailure, googlePage } from "./google-service.ts";

/** What an authority of the fake is like; a good one where nothing is said. */
export interface FakeAuthorityFacts {
  readonly state?: string;
  readonly lifetime?: string;
  readonly labels?: Readonly<Record<string, string>>;
}

/**
 * Certificate Authority Service in this process, its REST face by the documentation of version 1: pools, authorities with
 * labels, and certificates that are really signed, each ID once and each request once.
 */
export class FakeGoogleCas {
  /** What was made, by certificate name. */
  readonly made = new Map<string, Readonly<Record<string, unknown>>>();
  /** What is done to each answer with a certificate. */
  twist: (answer: Readonly<Record<string, unknown>>) => Readonly<Record<string, unknown>> = (answer) =>
    answer;
  readonly #clock: Clock;
  readonly #pools = new Map<string, Map<string, { readonly ca: CloudCa; readonly facts: object }>>();
  readonly #requests = new Map<string, Readonly<Record<string, unknown>>>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Adds an empty pool. */
  addPool(pool: string): void {
    this.#pools.set(pool, new Map());
  }

  /** Adds an authority, and its pool where there is none. */
  add(pool: string, id: string, facts: FakeAuthorityFacts = {}): CloudCa {
    const ca = makeCloudCa(id, unixSeconds(this.#clock));
    if (!this.#pools.has(pool)) this.addPool(pool);
    const { state = "ENABLED", lifetime = "3600s", labels = { "spiffe-root": "true" } } = facts;
    this.#pools.get(pool)?.set(id, {
      ca,
      facts: {
        name: `${pool}/certificateAuthorities/${id}`,
        type: "SUBORDINATE",
        state,
        lifetime,
        labels,
        createTime: new Date(this.#clock.now()).toISOString(),
        pemCaCertificates: ca.pemChain,
      },
    });
    return ca;
  }

  readonly handle = ({ method, path, query, body }: GoogleRequest): unknown => {
    const [, pool = "", member] =
      /^(projects\/[^/]+\/locations\/[^/]+\/caPools\/[^/]+)\/(\w+)$/.exec(path) ?? [];
    if (method === "GET" && path.endsWith("/caPools")) {
      const names = [...this.#pools.keys()].filter((name) => name.startsWith(`${path}/`));
      return googlePage(
        names.map((name) => ({ name })),
        "caPools",
        query,
      );
    }
    const authorities = this.#pools.get(pool);
    if (authorities === undefined) throw googleFailure(404, "NOT_FOUND");
    if (method === "GET" && member === "certificateAuthorities") {
      const [, label = "", value = ""] =
        /^labels\.([a-z0-9_-]+):([a-z0-9_-]+)$/.exec(query.get("filter") ?? "") ?? [];
      if (label === "") throw googleFailure(400, "INVALID_ARGUMENT");
      // A colon asks for a value that has this in it.
      const all = [...authorities.values()].map(({ facts }) => facts as FakeAuthorityFacts);
      const found = all.filter(({ labels }) => labels?.[label]?.includes(value) === true);
      return googlePage(found, "certificateAuthorities", query);
    }
    if (method === "POST" && member === "certificates") return this.#create(pool, query, body);
    throw googleFailure(404, "NOT_FOUND");
  };

  #create(pool: string, query: URLSearchParams, body: Readonly<Record<string, unknown>>): unknown {
    const [id = "", issuer = "", request = ""] = [
      "certificateId",
      "issuingCertificateAuthorityId",
      "requestId",
    ].map((name) => query.get(name) ?? "");
    const before = this.#requests.get(`${pool}/${request}`);
    if (before !== undefined) return before;
    const name = `${pool}/certificates/${id}`;
    if (!/^[a-zA-Z0-9_-]{1,63}$/.test(id)) throw googleFailure(400, "INVALID_ARGUMENT");
    if (this.made.has(name)) throw googleFailure(409, "ALREADY_EXISTS");
    const ca = this.#pools.get(pool)?.get(issuer)?.ca;
    if (ca === undefined) throw googleFailure(404, "NOT_FOUND");
    const { lifetime, config } = body as unknown as CertificateInput;
    if (!/^\d+s$/.test(lifetime) || config.publicKey.format !== "PEM")
      throw googleFailure(400, "INVALID_ARGUMENT");
    if (!config.x509Config.caOptions.isCa || !config.x509Config.keyUsage.baseKeyUsage.certSign) {
      throw googleFailure(400, "INVALID_ARGUMENT");
    }
    const spki = createPublicKey(Buffer.from(config.publicKey.key, "base64")).export({
      format: "der",
      type: "spki",
    });
    const notAfter = unixSeconds(this.#clock) + Number.parseInt(lifetime, 10);
    const answer = this.twist({
      name,
      lifetime,
      pemCertificate: ca.certify(spki, config.subjectConfig.subjectAltName.uris, notAfter),
      pemCertificateChain: ca.pemChain,
    });
    this.made.set(name, answer);
    this.#requests.set(`${pool}/${request}`, answer);
    return answer;
  }
}

interface CertificateInput {
  readonly lifetime: string;
  readonly config: {
    readonly publicKey: { readonly format: string; readonly key: string };
    readonly subjectConfig: { readonly subjectAltName: { readonly uris: readonly string[] } };
    readonly x509Config: {
      readonly caOptions: { readonly isCa: boolean };
      readonly keyUsage: { readonly baseKeyUsage: { readonly certSign: boolean } };
    };
  };
}
