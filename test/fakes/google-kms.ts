import { generateKeyPairSync, type KeyObject } from "node:crypto";
import { crc32c } from "../../src/cloud/google/crc32c.ts";
import { type GoogleRequest, googleFailure, googlePage } from "./google-service.ts";
import { signDigest } from "./sign-digest.ts";

/** A CryptoKey of the fake, open to tests. */
export interface FakeCryptoKey {
  readonly name: string;
  labels: Record<string, string>;
  algorithm: string;
  versions: FakeVersion[];
  policy: Readonly<Record<string, unknown>>;
}

/** A CryptoKeyVersion of the fake. */
export interface FakeVersion {
  readonly name: string;
  algorithm: string;
  state: string;
  /** How often it is looked at before it has been generated. */
  pending: number;
  readonly pair: { readonly publicKey: KeyObject; readonly privateKey: KeyObject };
}

/**
 * Cloud KMS in this process, its REST face by the documentation of version 1: names, IDs and labels of the documented
 * form only, filters, states, checksums both ways, and keys that really sign.
 */
export class FakeGoogleKms {
  readonly keys = new Map<string, FakeCryptoKey>();
  /** How often versions made from now on are looked at before they can sign. */
  pending = 0;
  /** What is done to each answer of a signature or a public key. */
  twist: (answer: Record<string, unknown>) => Record<string, unknown> = (answer) => answer;

  readonly handle = (request: GoogleRequest): unknown => {
    const { method, path, query, body } = request;
    const [resource = "", verb] = path.split(":");
    const parts = resource.split("/");
    if (!KEY_RING.test(parts.slice(0, 6).join("/")) || parts[6] !== "cryptoKeys") throw invalid();
    const call = `${method} ${parts.length}${verb === undefined ? "" : ` ${verb}`}`;
    switch (call) {
      case "GET 7":
        return this.#list(parts.slice(0, 6).join("/"), query);
      case "POST 7":
        return this.#create(resource, query, body);
      case "GET 8":
        return shownKey(this.#key(resource));
      case "PATCH 8":
        return this.#update(this.#key(resource), query, body);
      case "GET 8 getIamPolicy":
        return this.#key(resource).policy;
      case "POST 8 setIamPolicy":
        return this.#setPolicy(this.#key(resource), body);
      case "GET 9":
        return this.#listVersions(this.#key(parts.slice(0, 8).join("/")), query);
      case "POST 9":
        return this.#createVersion(this.#key(parts.slice(0, 8).join("/")));
      case "GET 10":
        return this.#look(this.#version(resource));
      case "POST 10 destroy":
        return this.#destroy(this.#version(resource));
      case "POST 10 asymmetricSign":
        return this.#sign(this.#version(resource), body);
      case "GET 11":
        if (parts[10] !== "publicKey") throw invalid();
        return this.#publicKey(this.#version(parts.slice(0, 10).join("/")));
      default:
        throw googleFailure(404, "NOT_FOUND");
    }
  };

  #list(ring: string, query: URLSearchParams): unknown {
    const all = [...this.keys.values()].filter(
      ({ name, labels }) => name.startsWith(`${ring}/`) && fits(query.get("filter") ?? "", labels),
    );
    return googlePage(all.map(shownKey), "cryptoKeys", query);
  }

  #create(parent: string, query: URLSearchParams, body: Readonly<Record<string, unknown>>): unknown {
    const id = query.get("cryptoKeyId") ?? "";
    const { purpose, versionTemplate, labels } = body as unknown as KeyInput;
    const algorithm = algorithmIn(versionTemplate);
    if (!/^[a-zA-Z0-9_-]{1,63}$/.test(id) || (purpose !== "ASYMMETRIC_SIGN" && purpose !== 5))
      throw invalid();
    checkLabels(labels);
    const name = `${parent}/${id}`;
    if (this.keys.has(name)) throw googleFailure(409, "ALREADY_EXISTS");
    const key: FakeCryptoKey = {
      name,
      labels: { ...labels },
      algorithm,
      versions: [],
      policy: { etag: "ACAB" },
    };
    this.keys.set(name, key);
    if (query.get("skipInitialVersionCreation") !== "true") this.#createVersion(key);
    return shownKey(key);
  }

  #update(key: FakeCryptoKey, query: URLSearchParams, body: Readonly<Record<string, unknown>>): unknown {
    const { labels, versionTemplate } = body as unknown as KeyInput;
    for (const field of (query.get("updateMask") ?? "").split(",")) {
      if (field === "labels") {
        checkLabels(labels);
        key.labels = { ...labels };
      } else if (field === "versionTemplate.algorithm") {
        key.algorithm = algorithmIn(versionTemplate);
      } else throw invalid();
    }
    return shownKey(key);
  }

  #setPolicy(key: FakeCryptoKey, body: Readonly<Record<string, unknown>>): unknown {
    const policy = body["policy"] as Readonly<Record<string, unknown>>;
    // A policy that was read before is only replaced while it is the one that was read.
    if (policy["etag"] !== undefined && policy["etag"] !== key.policy["etag"])
      throw googleFailure(409, "ABORTED");
    key.policy = policy;
    return policy;
  }

  #listVersions(key: FakeCryptoKey, query: URLSearchParams): unknown {
    const [, state] = /^state = (\w+)$/.exec(query.get("filter") ?? "") ?? [];
    const all = key.versions.filter((version) => version.state === state);
    return googlePage(all.map(shownVersion), "cryptoKeyVersions", query);
  }

  #createVersion(key: FakeCryptoKey): unknown {
    const version: FakeVersion = {
      name: `${key.name}/cryptoKeyVersions/${key.versions.length + 1}`,
      algorithm: key.algorithm,
      state: this.pending > 0 ? "PENDING_GENERATION" : "ENABLED",
      pending: this.pending,
      pair: pairOf(key.algorithm),
    };
    key.versions.push(version);
    return shownVersion(version);
  }

  #look(version: FakeVersion): unknown {
    if (version.state === "PENDING_GENERATION" && --version.pending <= 0) version.state = "ENABLED";
    return shownVersion(version);
  }

  #destroy(version: FakeVersion): unknown {
    if (version.state !== "ENABLED" && version.state !== "DISABLED")
      throw googleFailure(400, "FAILED_PRECONDITION");
    version.state = "DESTROY_SCHEDULED";
    return shownVersion(version);
  }

  #publicKey({ name, algorithm, state, pair }: FakeVersion): unknown {
    if (state !== "ENABLED") throw googleFailure(400, "FAILED_PRECONDITION");
    const pem = pair.publicKey.export({ format: "pem", type: "spki" }).toString();
    return this.twist({
      name,
      algorithm,
      pem,
      pemCrc32c: String(crc32c(Buffer.from(pem))),
      protectionLevel: "SOFTWARE",
    });
  }

  #sign({ name, algorithm, state, pair }: FakeVersion, body: Readonly<Record<string, unknown>>): unknown {
    if (state !== "ENABLED") throw googleFailure(400, "FAILED_PRECONDITION");
    const hash = algorithm === "EC_SIGN_P384_SHA384" ? "sha384" : "sha256";
    const { digest, digestCrc32c } = body as { digest?: Record<string, string>; digestCrc32c?: string };
    if (Object.keys(digest ?? {}).join() !== hash) throw invalid();
    const bytes = Buffer.from(digest?.[hash] ?? "", "base64");
    if (bytes.length !== (hash === "sha384" ? 48 : 32)) throw invalid();
    if (digestCrc32c !== undefined && digestCrc32c !== String(crc32c(bytes))) throw invalid();
    const signature = Buffer.from(signDigest(pair.privateKey, bytes));
    return this.twist({
      name,
      signature: signature.toString("base64"),
      signatureCrc32c: String(crc32c(signature)),
      ...(digestCrc32c === undefined ? {} : { verifiedDigestCrc32c: true }),
      protectionLevel: "SOFTWARE",
    });
  }

  #key(name: string): FakeCryptoKey {
    const key = this.keys.get(name);
    if (key === undefined) throw googleFailure(404, "NOT_FOUND");
    return key;
  }

  #version(name: string): FakeVersion {
    const key = this.#key(name.slice(0, name.indexOf("/cryptoKeyVersions/")));
    const version = key.versions.find((one) => one.name === name);
    if (version === undefined) throw googleFailure(404, "NOT_FOUND");
    return version;
  }
}

interface KeyInput {
  readonly purpose: string | number;
  readonly labels: Readonly<Record<string, string>>;
  readonly versionTemplate: { readonly algorithm: string | number };
}

function shownKey({ name, labels, algorithm }: FakeCryptoKey) {
  return {
    name,
    labels,
    purpose: "ASYMMETRIC_SIGN",
    versionTemplate: { algorithm, protectionLevel: "SOFTWARE" },
  };
}

/** Google's JSON takes an enumeration by name or by number. */
function algorithmIn({ algorithm }: KeyInput["versionTemplate"]): string {
  for (const [name, number] of ALGORITHMS) if (algorithm === name || algorithm === number) return name;
  throw invalid();
}

function shownVersion({ name, state, algorithm }: FakeVersion) {
  return { name, state, algorithm, protectionLevel: "SOFTWARE" };
}

/** As much of Google's filters as keys are looked for by: comparisons of labels joined by AND. */
function fits(filter: string, labels: Readonly<Record<string, string>>): boolean {
  if (filter === "") return true;
  return filter.split(" AND ").every((term) => {
    const [, name, operator, value = ""] = /^labels\.([a-z0-9-]+) (=|!=|<) (\S+)$/.exec(term) ?? [];
    if (name === undefined) throw invalid();
    const held = labels[name];
    switch (operator) {
      case "=":
        return held === value;
      case "!=":
        return held !== value;
      default:
        return held !== undefined && Number(held) < Number(value);
    }
  });
}

function checkLabels(labels: Readonly<Record<string, string>>): void {
  const all = Object.entries(labels);
  if (all.length > 64) throw invalid();
  for (const [name, value] of all) {
    if (!/^[a-z][a-z0-9_-]{0,62}$/.test(name) || !/^[a-z0-9_-]{0,63}$/.test(value)) throw invalid();
  }
}

function pairOf(algorithm: string): FakeVersion["pair"] {
  switch (algorithm) {
    case "EC_SIGN_P256_SHA256":
      return generateKeyPairSync("ec", { namedCurve: "P-256" });
    case "EC_SIGN_P384_SHA384":
      return generateKeyPairSync("ec", { namedCurve: "P-384" });
    case "RSA_SIGN_PKCS1_2048_SHA256":
      return generateKeyPairSync("rsa", { modulusLength: 2048 });
    default:
      return generateKeyPairSync("rsa", { modulusLength: 4096 });
  }
}

function invalid(): Error {
  return googleFailure(400, "INVALID_ARGUMENT");
}

const KEY_RING = /^projects\/[^/]+\/locations\/[^/]+\/keyRings\/[a-zA-Z0-9_-]{1,63}$/;
const ALGORITHMS: ReadonlyMap<string, number> = new Map([
  ["RSA_SIGN_PKCS1_2048_SHA256", 5],
  ["RSA_SIGN_PKCS1_4096_SHA256", 7],
  ["EC_SIGN_P256_SHA256", 12],
  ["EC_SIGN_P384_SHA384", 13],
]);
