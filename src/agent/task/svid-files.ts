import { mkdir, readdir, rename, rm, symlink } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "../../clock.ts";
import { toPem } from "../../crypto/pem.ts";
import { AssayError, toAssayError } from "../../errors/assay-error.ts";
import { atomicWrite } from "../../files/atomic-write.ts";
import { fileError, isErrno } from "../../files/file-error.ts";
import type { WorkloadEntry } from "../../issuance/workload/workload-entry.ts";
import { FIELD } from "../../observe/fields.ts";
import type { Log } from "../../observe/log.ts";
import type { Audience } from "../../spiffe/audience.ts";
import type { AgentCache } from "../cache/agent-cache.ts";
import type { Spread } from "../cache/rotation.ts";
import { delay } from "../delay.ts";
import { persist } from "./persist.ts";

/** What is kept as files, and where. */
export interface SvidFilesOptions {
  /** A private folder that is there. */
  readonly folder: string;
  readonly cache: AgentCache;
  readonly entry: WorkloadEntry;
  /** Whether the X509-SVID, its key and the bundle are written. */
  readonly x509: boolean;
  /** Names of files with JWT-SVIDs, and the audience of each. */
  readonly jwts: ReadonlyMap<string, Audience>;
  readonly clock: Clock;
  readonly spread: Spread;
  readonly log: Log;
  /** Aborted when the files are to stay as they are. */
  readonly until: AbortSignal;
}

/**
 * Keeps the SVIDs of one identity as files: `svid.pem` (chain), `key.pem` (PKCS#8), `bundle.pem`, and a file for each
 * JWT-SVID. All change in one step, as a link to a folder of them is exchanged, so that at no moment a key lies beside
 * another key's certificate. When this resolves, they are there.
 * @throws AssayError `FILE_UNAVAILABLE`, `SERVER_UNAVAILABLE` where there is nothing to write, what the signal was aborted
 * with.
 */
export async function keepSvidFiles(
  options: SvidFilesOptions,
  signal: AbortSignal,
): Promise<AsyncDisposable> {
  const { cache, entry, clock, log, until } = options;
  await using stack = new AsyncDisposableStack();
  if (options.x509) stack.use(cache.x509.want(entry.id));
  const stop = new AbortController();
  let written = "";
  const write = async () => {
    const files = await contentOf(options);
    if (files === undefined) return;
    const fingerprint = JSON.stringify([...files]);
    if (fingerprint === written) return;
    await writeSet(options.folder, files);
    written = fingerprint;
  };
  // The first time: until there is something, or it is too late.
  const deadline = clock.now() + PATIENCE;
  for (;;) {
    await persist(write, options, signal);
    if (written !== "") break;
    if (clock.now() >= deadline) throw cache.x509.failure(entry.id) ?? NOTHING_SIGNED;
    await delay(clock, FIRST_LOOK, signal);
    signal.throwIfAborted();
  }
  const following = (async () => {
    const over = AbortSignal.any([stop.signal, until]);
    while (!over.aborted) {
      await delay(clock, LOOK_INTERVAL, over);
      if (over.aborted) return;
      try {
        await write();
      } catch (error) {
        log.warn("the files of SVIDs could not be renewed", { [FIELD.detail]: toAssayError(error).detail });
      }
    }
  })();
  stack.defer(async () => {
    stop.abort();
    await following;
  });
  const kept = stack.move();
  return { [Symbol.asyncDispose]: () => kept.disposeAsync() };
}

/** What belongs into the files now, or `undefined` while the X509-SVID is still being signed. */
async function contentOf({
  cache,
  entry,
  x509,
  jwts,
}: SvidFilesOptions): Promise<ReadonlyMap<string, string> | undefined> {
  const files = new Map<string, string>();
  if (x509) {
    const svid = cache.x509.get(entry.id);
    if (svid === undefined) return undefined;
    files.set("svid.pem", svid.chain.map((der) => toPem("CERTIFICATE", der)).join(""));
    files.set("key.pem", toPem("PRIVATE KEY", svid.privateKey));
    const authorities = cache.table.bundle.x509Authorities;
    files.set("bundle.pem", authorities.map(({ certificate }) => toPem("CERTIFICATE", certificate)).join(""));
  }
  for (const [name, audience] of jwts) files.set(name, (await cache.jwt.fetch(entry, [audience])).token);
  return files;
}

async function writeSet(folder: string, files: ReadonlyMap<string, string>): Promise<void> {
  const name = `..${counter++}`;
  const set = join(folder, name);
  try {
    await mkdir(set, { mode: 0o700 });
    for (const [file, text] of files) await atomicWrite(join(set, file), Buffer.from(text));
    await replaceLink(name, join(folder, DATA));
    for (const file of files.keys()) await linkOnce(join(DATA, file), join(folder, file));
    for (const old of await readdir(folder)) {
      if (/^\.\.\d+$/.test(old) && old !== name)
        await rm(join(folder, old), { recursive: true, force: true });
    }
  } catch (cause) {
    throw fileError("write", folder, cause);
  }
}

async function replaceLink(target: string, path: string): Promise<void> {
  await symlink(target, `${path}.new`);
  await rename(`${path}.new`, path);
}

async function linkOnce(target: string, path: string): Promise<void> {
  try {
    await symlink(target, path);
  } catch (error) {
    if (!isErrno(error, "EEXIST")) throw error;
  }
}

let counter = 0;
const DATA = "..data";
const PATIENCE = 20_000;
const FIRST_LOOK = 20;
// A life is minutes long, and what is written was renewed at half of it.
const LOOK_INTERVAL = 2000;
const NOTHING_SIGNED = new AssayError("SERVER_UNAVAILABLE", "no SVID was signed in time");
