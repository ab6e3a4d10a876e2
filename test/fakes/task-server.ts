import { createPrivateKey, createPublicKey, type KeyObject, randomUUID } from "node:crypto";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Clock, systemClock, unixSeconds } from "../../src/clock.ts";
import { spkiThumbprint } from "../../src/crypto/jose/thumbprint.ts";
import { toPem } from "../../src/crypto/pem.ts";
import { SVID } from "../../src/proto/gen/spire/api/server/svid/v1/svid_pb.ts";
import type { ServerOptions } from "../../src/server/options.ts";
import { makeKey, type TestKey } from "./certificates.ts";
import { CiIssuer, ciClaims, jwksOf } from "./ci-tokens.ts";
import { makeCsr } from "./issuance-csr.ts";
import { Job, JOB_ISSUER, type WebDoor } from "./job.ts";
import { ServerBench } from "./server-bench.ts";
import type { EntryFields } from "./server-wire.ts";
import type { FactoryKey } from "./svid-factory.ts";

/** The operator's name of the attestor of {@link TaskServer}. */
export const INSTANCE = "github-acme";
/** The name of its second attestor, of GitLab's tokens. */
export const GITLAB = "gitlab-acme";
/** An audience that entries of {@link TaskServer} may be exchanged for. */
export const API = "https://api.example";
/** The secret that the platform's messages are signed with. */
export const WEBHOOK_SECRET = "a secret of 32 letters and more, as is asked for";

/** What is different from the usual {@link TaskServer}. */
export interface TaskServerOptions {
  readonly server?: Partial<ServerOptions>;
  /** Settings of the attestor beside preset, issuer and keys. */
  readonly attestor?: Readonly<Record<string, unknown>>;
  /** Where the issuer's keys are; a file of the platform's key unless given. */
  readonly keys?: Readonly<Record<string, unknown>>;
  readonly clock?: Clock;
  readonly preset?: unknown;
}

/** A real server that takes the tokens of one imitated platform, and the platform. */
export class TaskServer implements AsyncDisposable {
  readonly bench: ServerBench;
  /** Signs by RS256. */
  readonly platform: CiIssuer;
  /** The same platform by ES256. */
  readonly platformEc: CiIssuer;
  readonly #folder: string;
  #runs = 0;
  #minted = 0;

  private constructor(bench: ServerBench, platform: CiIssuer, platformEc: CiIssuer, folder: string) {
    this.bench = bench;
    this.platform = platform;
    this.platformEc = platformEc;
    this.#folder = folder;
  }

  static async start(options: TaskServerOptions = {}): Promise<TaskServer> {
    const { clock = systemClock, preset = "github-actions" } = options;
    const folder = mkdtempSync(join(tmpdir(), "task-server-"));
    const platform = new CiIssuer();
    const platformEc = new CiIssuer("ec-p256", "ci-key-2");
    const path = (name: string) => join(folder, name);
    writeFileSync(path("jwks.json"), jwksOf(platform.jwk(), platformEc.jwk()));
    writeFileSync(path("webhook"), WEBHOOK_SECRET, { mode: 0o600 });
    const shared = {
      algorithms: ["RS256", "ES256"],
      webhook_secret_file: path("webhook"),
      ...(options.keys ?? { jwks_file: path("jwks.json") }),
    };
    const github = { preset, allow: { repository_owner_id: ["1000"] }, ...shared, ...options.attestor };
    const gitlab = { preset: "gitlab", allow: { namespace_id: ["72"] }, ...shared };
    const bench = await ServerBench.start(
      {
        jwtIssuer: JOB_ISSUER,
        metricsReaders: "anyone",
        features: ["wit-svid"],
        taskAttestors: [
          { name: INSTANCE, type: "oidc", config: github },
          { name: GITLAB, type: "oidc", config: gitlab },
        ],
        ...options.server,
      },
      clock,
    );
    return new TaskServer(bench, platform, platformEc, folder);
  }

  get clock(): Clock {
    return this.bench.clock;
  }

  get now(): number {
    return unixSeconds(this.clock);
  }

  get door(): WebDoor {
    return this.bench.addresses.web;
  }

  /** Somebody with a fresh key. */
  job(door: WebDoor = this.door): Job {
    return new Job(door, this.clock);
  }

  /** Claims of a job of the usual repository, in a run of its own unless told. */
  claims(changes: Readonly<Record<string, unknown>> = {}): Record<string, unknown> {
    const run = String(70_000 + ++this.#runs);
    const own = { aud: JOB_ISSUER, jti: randomUUID(), run_id: run, check_run_id: run };
    return ciClaims("github-actions", { ...own, ...changes }, this.now);
  }

  /** The platform's token of {@link claims}. */
  token(changes: Readonly<Record<string, unknown>> = {}, header: object = {}): string {
    return this.platform.token(this.claims(changes), header);
  }

  /** A token of a GitLab job. */
  gitlabToken(changes: Readonly<Record<string, unknown>> = {}): string {
    const own = { aud: JOB_ISSUER, jti: randomUUID(), job_id: String(90_000 + ++this.#runs) };
    return this.platform.token(ciClaims("gitlab", { ...own, ...changes }, this.now));
  }

  /** Registers an entry of the platform's jobs. */
  async taskEntry(path: string, fields: EntryFields = {}): Promise<string> {
    return this.entry(path, `/spire/task/${INSTANCE}`, {
      selectors: [{ type: "github", value: "repository-id:2000" }],
      ...fields,
    });
  }

  /** Registers an entry; gives its id. */
  async entry(path: string, parent = "/spire/agent/x509pop/one", fields: EntryFields = {}): Promise<string> {
    const { results } = await this.bench.entries.batchCreateEntry({
      entries: [
        {
          spiffeId: { trustDomain: "example.org", path },
          parentId: { trustDomain: "example.org", path: parent },
          selectors: [{ type: "unix", value: `path:${path}` }],
          assay: { idTemplate: "", maxTaskDuration: 0, exchangeAudiences: [API] },
          ...fields,
        },
      ],
    });
    const [result] = results;
    if (result?.status?.code !== 0) throw new Error(`no entry: ${JSON.stringify(result?.status)}`);
    return result.entry?.id ?? "";
  }

  /** A JWT-SVID that an operator minted, good for about five minutes: no two are the same. */
  async jwtSvid(path: string, audience: readonly string[] = [JOB_ISSUER]): Promise<string> {
    const id = { trustDomain: "example.org", path };
    const ttl = 300 - (this.#minted++ % 200);
    const { svid } = await this.#svids.mintJWTSVID({ id, audience: [...audience], ttl });
    return svid?.token ?? "";
  }

  /** A WIT-SVID that an operator minted. */
  async witSvid(path: string, publicKey: Uint8Array): Promise<string> {
    const id = { trustDomain: "example.org", path };
    const { svid } = await this.#svids.mintWITSVID({ id, publicKey, ttl: 300, signingAlgorithm: "ES256" });
    return svid?.token ?? "";
  }

  /** An X509-SVID that an operator minted: DER, leaf first. */
  async x509Svid(path: string, key: TestKey = makeKey()): Promise<readonly Uint8Array[]> {
    const csr = makeCsr({ uris: [`spiffe://example.org${path}`] }, key);
    const { svid } = await this.#svids.mintX509SVID({ csr, ttl: 600 });
    return svid?.certChain ?? [];
  }

  /** The web port for a client that shows an X509-SVID. */
  async doorOf(path: string): Promise<WebDoor> {
    const key = makeKey();
    const chain = await this.x509Svid(path, key);
    return {
      ...this.door,
      cert: chain.map((der) => toPem("CERTIFICATE", der)).join(""),
      key: key.privateKey.export({ format: "pem", type: "pkcs8" }).toString(),
    };
  }

  /**
   * The key by which the server signs JWT-SVIDs and access tokens, read from its disk, with its `kid`: what it could sign
   * but never does is signed by this.
   */
  async jwtKey(): Promise<{ readonly key: FactoryKey; readonly keyId: string }> {
    const answer = await this.job().send("GET", "/keys");
    const keys = answer.json["keys"] as readonly Record<string, string>[];
    for (const privateKey of this.#keys()) {
      const publicKey = createPublicKey(privateKey);
      const spki = publicKey.export({ format: "der", type: "spki" });
      const own = keys.find((jwk) => spkiThumbprint(spki) === spkiThumbprint(spkiOf(jwk)));
      if (own !== undefined) {
        return { key: { kind: "ec-p256", privateKey, publicKey, spki }, keyId: own["kid"] ?? "" };
      }
    }
    throw new Error("the server's JWT key is not on its disk");
  }

  get #svids() {
    return this.bench.admin.service(SVID);
  }

  *#keys(): Generator<KeyObject> {
    const files = readdirSync(this.bench.path("data"), { recursive: true, withFileTypes: true });
    for (const file of files) {
      if (!file.isFile() || !file.name.endsWith(".json")) continue;
      const { privateKey } = JSON.parse(readFileSync(join(file.parentPath, file.name), "utf8")) as {
        readonly privateKey?: string;
      };
      if (privateKey === undefined) continue;
      yield createPrivateKey({ key: Buffer.from(privateKey, "base64"), format: "der", type: "pkcs8" });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.bench[Symbol.asyncDispose]();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** The platform's message that the run of these claims has ended. */
export function endMessage({ run_id: run, run_attempt: attempt }: Readonly<Record<string, unknown>>): string {
  return JSON.stringify({
    action: "completed",
    repository: { id: 2000 },
    workflow_run: { id: Number(run), run_attempt: Number(attempt), status: "completed" },
  });
}

function spkiOf(jwk: Readonly<Record<string, string>>): Uint8Array {
  return createPublicKey({ key: jwk, format: "jwk" }).export({ format: "der", type: "spki" });
}
