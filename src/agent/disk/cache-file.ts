import { join } from "node:path";
import type { Clock } from "../../clock.ts";
import { AssayError } from "../../errors/assay-error.ts";
import { atomicWrite } from "../../files/atomic-write.ts";
import { readBoundedIfPresent } from "../../files/read-bounded.ts";
import { FIELD } from "../../observe/fields.ts";
import type { Log } from "../../observe/log.ts";
import type { SpiffeId } from "../../spiffe/id.ts";
import type { AgentCache } from "../cache/agent-cache.ts";
import { signedX509Svid } from "../cache/x509-signing.ts";
import { readCertificate } from "../../crypto/certificate-reader.ts";
import { removeFile } from "./remove-file.ts";
import { cacheFile, toJson } from "./disk-format.ts";

/** What keeping the cache on disk needs. */
export interface CacheKeeperOptions {
  readonly dataDir: string;
  readonly clock: Clock;
  readonly log: Log;
}

/**
 * Keeps what workloads are served on disk, so that an agent that restarts while its server is away goes on serving. The
 * file holds private keys: mode 0600, in a folder of mode 0700.
 */
export class CacheKeeper implements AsyncDisposable {
  readonly #options: CacheKeeperOptions;
  readonly #path: string;
  #cache: AgentCache | undefined;
  #agentId: (() => SpiffeId | undefined) | undefined;
  #listening: Disposable | undefined;
  #timer: Disposable | undefined;
  #writing: Promise<void> = Promise.resolve();
  #stale = false;

  constructor(options: CacheKeeperOptions) {
    this.#options = options;
    this.#path = join(options.dataDir, CACHE_FILE);
  }

  /**
   * Fills the cache from the file, if there is one of this agent. One that cannot be used is said in the log and left
   * out: the server has everything in it. Tells whether anything was restored.
   */
  async restore(cache: AgentCache, agentId: SpiffeId): Promise<boolean> {
    try {
      const text = await readBoundedIfPresent(this.#path, MAX_BYTES);
      if (text === undefined) return false;
      const file = cacheFile.parse(JSON.parse(text.toString()));
      if (file.agentId !== agentId) return false;
      const { bundle, entries, federatedBundles } = file;
      if (bundle.trustDomain !== cache.table.bundle.trustDomain) return false;
      cache.x509.restore(
        file.x509Svids.map(({ entryId, revision, replaceAt, chain, privateKey }) => {
          const leaf = readCertificate(chain[0] as Uint8Array);
          const svid = signedX509Svid(chain, { pkcs8: privateKey, spki: leaf.spki }, undefined);
          return [entryId, { svid, revision, replaceAt }] as const;
        }),
      );
      cache.wit.restore(
        file.witSvids.map(({ entryId, revision, replaceAt, jti, ...svid }) => {
          const restored = { ...svid, ...(jti === undefined ? {} : { jti }) };
          return [entryId, { svid: restored, revision, replaceAt }] as const;
        }),
      );
      cache.apply({
        complete: true,
        upserted: entries,
        deleted: [],
        bundle,
        federatedBundles,
        deletedFederatedBundles: [],
        crls: new Map(file.crls.map(({ trustDomain, lists }) => [trustDomain, lists])),
        revokedTokens: { complete: true, ends: new Map(file.revokedTokens) },
      });
      // After the entries, as an entry that is new to the cache makes it forget what was issued for it.
      cache.jwt.restore(
        file.jwtSvids.map(({ entryId, revision, replaceAt, audience, ...svid }) => ({
          entryId,
          revision,
          replaceAt,
          audience,
          svid,
        })),
      );
      return true;
    } catch (error) {
      this.#options.log.warn("stored cache cannot be used and is left out", {
        [FIELD.path]: this.#path,
        [FIELD.error]:
          error instanceof AssayError ? error : new AssayError("FILE_UNAVAILABLE", "not a cache file"),
      });
      return false;
    }
  }

  /** Begins to write the cache after each change, at most once a second. */
  follow(cache: AgentCache, agentId: () => SpiffeId | undefined): void {
    this.#cache = cache;
    this.#agentId = agentId;
    this.#listening = cache.bell.listen(() => this.#changed());
  }

  /** Forgets everything, on disk too. */
  async wipe(): Promise<void> {
    this.#stop();
    await this.#writing;
    await removeFile(this.#path);
  }

  /** Writes what has not been written. */
  async [Symbol.asyncDispose](): Promise<void> {
    const stale = this.#stale;
    const cache = this.#cache;
    this.#stop();
    await this.#writing;
    if (stale && cache !== undefined) await this.#write(cache);
  }

  #stop(): void {
    this.#listening?.[Symbol.dispose]();
    this.#timer?.[Symbol.dispose]();
    this.#timer = undefined;
    this.#cache = undefined;
    this.#stale = false;
  }

  #changed(): void {
    this.#stale = true;
    this.#timer ??= this.#options.clock.schedule(WRITE_DELAY, () => {
      this.#timer = undefined;
      const cache = this.#cache;
      if (!this.#stale || cache === undefined) return;
      this.#stale = false;
      this.#writing = this.#writing.then(() => this.#write(cache));
    });
  }

  async #write(cache: AgentCache): Promise<void> {
    const agentId = this.#agentId?.();
    if (agentId === undefined || !cache.synchronised) return;
    try {
      await atomicWrite(this.#path, Buffer.from(contentOf(cache, agentId)));
    } catch (error) {
      this.#options.log.warn("cache cannot be written, a restart would lose it", { [FIELD.error]: error });
    }
  }
}

function contentOf(cache: AgentCache, agentId: SpiffeId): string {
  const { table } = cache;
  return toJson({
    version: 1,
    agentId,
    bundle: table.bundle,
    federatedBundles: [...table.federated.values()],
    crls: [...table.crls].map(([trustDomain, lists]) => ({ trustDomain, lists })),
    revokedTokens: [...table.revokedTokens.all],
    entries: [...table.entries.values()],
    x509Svids: cache.x509.snapshot().map(([entryId, { svid, revision, replaceAt }]) => ({
      entryId,
      revision,
      replaceAt,
      chain: svid.chain,
      privateKey: svid.privateKey,
    })),
    witSvids: cache.wit.snapshot().map(([entryId, { svid, revision, replaceAt }]) => ({
      entryId,
      revision,
      replaceAt,
      ...svid,
    })),
    jwtSvids: cache.jwt.snapshot().map(({ svid, ...rest }) => ({ ...rest, ...svid })),
  });
}

const CACHE_FILE = "workload-cache.json";
const WRITE_DELAY = 1000;
const MAX_BYTES = 256 * 1024 * 1024;
