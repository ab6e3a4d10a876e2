import { createPrivateKey, type KeyObject, randomUUID } from "node:crypto";
import { lstat, mkdir, readdir } from "node:fs/promises";
import { createConnection } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { z } from "zod";
import { spkiToJwk } from "../crypto/jose/jwk.ts";
import { generateRsaKeyPair } from "../crypto/keys.ts";
import { AssayError } from "../errors/assay-error.ts";
import { atomicWrite } from "../files/atomic-write.ts";
import { ensurePrivateFolder } from "../files/private-folder.ts";
import { readBounded, readBoundedIfPresent } from "../files/read-bounded.ts";

/** What imitations of CI platforms need to know of the `assay dev` that believes them. */
export interface MockFacts {
  /** Issuer URL of the server, and what a platform's token is for. */
  readonly server: string;
  readonly trustBundle: string;
  /** A socket that answers while the server runs. */
  readonly adminSocket: string;
}

/** The key that imitations sign by. */
export interface MockKey {
  readonly key: KeyObject;
  readonly keyId: string;
}

/** An imitation's folder, and what is in it. */
export interface MockPlace extends MockFacts, MockKey {}

/** Name of the folder in the folder of an `assay dev`. */
export const MOCK_FOLDER = "ci-mock";
/** Name of the file with the keys that its server believes. */
export const MOCK_KEYS_FILE = "jwks.json";

/**
 * Makes the key of all imitations, where there is none yet, and the file of keys that the server reads. The folder is for this
 * user alone: whoever can read it can pass for every platform, on this server and on no other.
 * @returns the file of keys.
 * @throws AssayError `FILE_UNAVAILABLE`.
 */
export async function makeMockKeys(folder: string): Promise<string> {
  const place = join(folder, MOCK_FOLDER);
  await mkdir(folder, { recursive: true });
  await ensurePrivateFolder(place);
  const keysFile = join(place, MOCK_KEYS_FILE);
  const known = await readBoundedIfPresent(join(place, KEY_FILE), MAX_FILE);
  if (known !== undefined) return keysFile;
  const { pkcs8, spki } = await generateRsaKeyPair(2048);
  const jwk = spkiToJwk(spki, { keyId: randomUUID(), use: "sig" });
  await atomicWrite(keysFile, Buffer.from(JSON.stringify({ keys: [jwk] })));
  // The key comes last: while it is not there, all is made anew.
  await atomicWrite(join(place, KEY_FILE), pkcs8);
  return keysFile;
}

/** Writes down where the server is that believes the imitations. @throws AssayError `FILE_UNAVAILABLE`. */
export async function writeMockFacts(folder: string, facts: MockFacts): Promise<void> {
  await atomicWrite(join(folder, MOCK_FOLDER, FACTS_FILE), Buffer.from(JSON.stringify(facts)));
}

/**
 * The place of the `assay dev` in this folder, or of the only one of this user that runs in a temporary folder.
 * @throws AssayError `NOT_FOUND` where there is none that runs, or several.
 */
export async function findMockPlace(folder: string | undefined): Promise<MockPlace> {
  if (folder !== undefined) {
    const found = await readPlace(resolve(folder));
    if (found !== undefined) return found;
    throw new AssayError(
      "NOT_FOUND",
      `no assay dev runs in ${folder}: only its server believes an imitation`,
    );
  }
  const names = (await readdir(tmpdir())).filter((name) => name.startsWith("assay-dev-"));
  const places = await Promise.all(names.map((name) => readPlace(join(tmpdir(), name))));
  const running = places.filter((place) => place !== undefined);
  const [first, second] = running;
  if (first === undefined) {
    throw new AssayError(
      "NOT_FOUND",
      "no assay dev runs, and only its server believes an imitation: start one, or name its folder by --dev",
    );
  }
  if (second !== undefined)
    throw new AssayError("NOT_FOUND", "several assay dev run: name the folder of one by --dev");
  return first;
}

/** What lies in the folder of an `assay dev` of this user that runs, or `undefined`. */
async function readPlace(folder: string): Promise<MockPlace | undefined> {
  const place = join(folder, MOCK_FOLDER);
  try {
    // Anybody can make a folder of this name among temporary files, but not one that is ours.
    const { uid, mode } = await lstat(place);
    if (uid !== process.geteuid?.() || (mode & 0o077) !== 0) return undefined;
    const facts = factsSchema.parse(
      JSON.parse((await readBounded(join(place, FACTS_FILE), MAX_FILE)).toString()),
    );
    if (!(await answers(facts.adminSocket))) return undefined;
    const [jwk] = keysSchema.parse(
      JSON.parse((await readBounded(join(place, MOCK_KEYS_FILE), MAX_FILE)).toString()),
    ).keys;
    const pkcs8 = await readBounded(join(place, KEY_FILE), MAX_FILE);
    const key = createPrivateKey({ key: pkcs8, format: "der", type: "pkcs8" });
    return { ...facts, key, keyId: jwk.kid };
  } catch {
    return undefined;
  }
}

function answers(path: string): Promise<boolean> {
  const { promise, resolve: settle } = Promise.withResolvers<boolean>();
  const socket = createConnection({ path });
  socket.once("connect", () => settle(true));
  socket.once("error", () => settle(false));
  return promise.finally(() => socket.destroy());
}

const factsSchema = z.object({ server: z.string(), trustBundle: z.string(), adminSocket: z.string() });
const keysSchema = z.object({ keys: z.tuple([z.object({ kid: z.string() })]) });
const KEY_FILE = "key.der";
const FACTS_FILE = "dev.json";
const MAX_FILE = 64 * 1024;
