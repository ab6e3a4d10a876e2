import type { Clock } from "../../clock.ts";
import type { KeyType } from "../../plugin/key-manager.ts";
import type { Cryptoki, Handle } from "./cryptoki.ts";
import { cryptokiCode, TokenError, toTokenError } from "./cryptoki-error.ts";
import { newKeyName } from "./key-name.ts";
import { isKnown, type MakingOrder } from "./known-keys.ts";
import type { OpenToken } from "./open-token.ts";
import { signatureToDer, signingInput } from "./signature.ts";
import {
  checkUnreadable,
  destroyAll,
  findHalves,
  findPrivate,
  hasHalf,
  type KeyHalf,
  pairTemplate,
  readPublicKey,
} from "./token-objects.ts";

/** A key in a token. */
export interface TokenKey {
  readonly id: string;
  readonly type: KeyType;
  /** DER SubjectPublicKeyInfo. */
  readonly publicKey: Uint8Array;
  /** Its CKA_ID in hexadecimal: exactly this key, not a later one of the same id. */
  readonly handle: string;
}

/** The keys under one prefix in a token that is open. What it throws are `TokenError`s. */
export interface TokenKeys {
  /**
   * Every whole key. What a crash left behind is destroyed on the way: of two keys of one id the older, and halves of keys
   * where a whole key of that id is there. A half without a whole one is left to people, since it may be all there is of a key.
   */
  list(): Promise<readonly TokenKey[]>;
  /**
   * Makes a key; when it is in the token, those of ours that had its id before are destroyed. One that cannot be destroyed then is
   * left to the next `list`. Where there is one that is not ours none is made.
   */
  generate(id: string, type: KeyType, order: MakingOrder): Promise<TokenKey>;
  /** Destroys exactly one key of this id. @param handle Its CKA_ID in hexadecimal. */
  destroy(id: string, handle: string): Promise<void>;
  /** Whether a key with this CKA_ID is there, or half of one. */
  exists(handle: string): Promise<boolean>;
  /** Signs a digest: SHA-384 for P-384, else SHA-256. ECDSA answers in DER. */
  sign(key: Pick<TokenKey, "id" | "type" | "handle">, digest: Uint8Array): Promise<Uint8Array>;
}

/** The keys of ours in a token. */
export function tokenKeys(token: OpenToken, prefix: string, clock: Clock): TokenKeys {
  const { library, sessions } = token;
  const privates = new Map<string, Handle>();

  async function run<Result>(
    what: string,
    task: (session: Handle) => Result | Promise<Result>,
  ): Promise<Result> {
    try {
      return await sessions.use(task);
    } catch (error) {
      throw toTokenError(what, error);
    }
  }

  async function signOnce(
    session: Handle,
    { id, type, handle }: Pick<TokenKey, "id" | "type" | "handle">,
    digest: Uint8Array,
  ): Promise<Uint8Array> {
    const { mechanism, data } = signingInput(type, digest);
    const key = privates.get(handle) ?? findPrivate(library, session, id, handle);
    privates.set(handle, key);
    library.C_SignInit(session, { mechanism }, key);
    return library.C_SignAsync(session, data, Buffer.alloc(MAX_SIGNATURE));
  }

  return {
    list: () =>
      run("list the keys of the token", (session) => {
        const halves = findHalves(library, session, prefix);
        return [...new Set(halves.map(({ id }) => id))].flatMap((id) => {
          const ofId = halves.filter((half) => half.id === id);
          const whole = newestWhole(ofId);
          if (whole === undefined) return [];
          const key = { id, handle: whole.handle, ...readPublicKey(library, session, whole.object) };
          destroyAll(
            library,
            session,
            ofId.filter(({ handle }) => handle !== whole.handle),
          );
          return [key];
        });
      }),

    generate: (id, type, { end, known }) =>
      run(`make key ${id} of type ${type}`, async (session) => {
        const before = findHalves(library, session, prefix, id);
        const isOurs = ({ handle }: KeyHalf) => isKnown(handle, known);
        if (newestWhole(before.filter((half) => !isOurs(half))) !== undefined) {
          throw new TokenError(
            "refused",
            `cannot make key ${id}: there is one that this server neither found nor made, so another server uses this prefix (key_label_prefix)`,
          );
        }
        // Greater than all before it, whatever the clock says.
        const generation = Math.max(clock.now(), ...before.map((half) => half.generation + 1));
        const name = newKeyName(prefix, id, generation, end);
        const pair = await library.C_GenerateKeyPairAsync(session, ...pairTemplate(type, name));
        const key = readNew(library, session, pair, () => {
          checkUnreadable(library, session, pair.privateKey, name);
          return {
            id,
            handle: name.ckaId.toString("hex"),
            ...readPublicKey(library, session, pair.publicKey),
          };
        });
        quietly(() => destroyAll(library, session, before.filter(isOurs)));
        return key;
      }),

    destroy: (id, handle) =>
      run(`delete key ${id}`, (session) =>
        destroyAll(
          library,
          session,
          findHalves(library, session, prefix, id).filter((half) => half.handle === handle),
        ),
      ),

    exists: (handle) => run("look for a key", (session) => hasHalf(library, session, handle)),

    sign: (key, digest) =>
      run(`sign with key ${key.id}`, async (session) => {
        let signature: Uint8Array;
        try {
          signature = await signOnce(session, key, digest);
        } catch (error) {
          privates.delete(key.handle);
          // A handle may change while the key stays, as when another process wrote to the token.
          if (!STALE.has(cryptokiCode(error) ?? "")) throw error;
          signature = await signOnce(session, key, digest);
        }
        return signatureToDer(key.type, signature);
      }),
  };
}

/** The public half of the newest key of which both halves are there. */
function newestWhole(halves: readonly KeyHalf[]): KeyHalf | undefined {
  const privates = new Set(halves.filter(({ half }) => half === "private").map(({ handle }) => handle));
  return halves
    .filter(({ half, handle }) => half === "public" && privates.has(handle))
    .toSorted((a, b) => b.generation - a.generation || (a.handle < b.handle ? 1 : -1))[0];
}

/** A pair that is not as it should be does not stay. */
function readNew(
  library: Cryptoki,
  session: Handle,
  { privateKey, publicKey }: { readonly privateKey: Handle; readonly publicKey: Handle },
  read: () => TokenKey,
): TokenKey {
  try {
    return read();
  } catch (error) {
    quietly(() =>
      destroyAll(library, session, [
        { object: privateKey, half: "private" },
        { object: publicKey, half: "public" },
      ]),
    );
    throw error;
  }
}

function quietly(task: () => void): void {
  try {
    task();
  } catch {
    // What is left is found and destroyed by the next opening; what brought us here matters more.
  }
}

const STALE: ReadonlySet<string> = new Set(["CKR_KEY_HANDLE_INVALID", "CKR_OBJECT_HANDLE_INVALID"]);
// RSA-4096.
const MAX_SIGNATURE = 512;
