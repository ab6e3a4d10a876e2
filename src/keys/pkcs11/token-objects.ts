import type { KeyType } from "../../plugin/key-manager.ts";
import { type Attribute, CK, type Cryptoki, type Handle } from "./cryptoki.ts";
import { cryptokiCode, TokenError } from "./cryptoki-error.ts";
import { type KeyName, readKeyName } from "./key-name.ts";
import { EC_PARAMS, ecPublicKey, type PublicKey, rsaPublicKey } from "./public-key.ts";

/** One half of a key of ours. */
export interface KeyHalf {
  readonly object: Handle;
  readonly half: "private" | "public";
  readonly id: string;
  readonly generation: number;
  /** CKA_ID in hexadecimal: the same for both halves of a key. */
  readonly handle: string;
}

/** The halves of our keys under a prefix, or of those of one id. */
export function findHalves(
  library: Cryptoki,
  session: Handle,
  prefix: string,
  id?: string,
): readonly KeyHalf[] {
  const label = id === undefined ? [] : [{ type: CK.CKA_LABEL, value: `${prefix}/${id}` }];
  return HALVES.flatMap(([half, number]) =>
    find(library, session, [
      { type: CK.CKA_CLASS, value: number },
      { type: CK.CKA_TOKEN, value: true },
      ...label,
    ]).flatMap((object) => {
      const read = readHalf(library, session, prefix, object);
      return read === undefined ? [] : [{ ...read, object, half }];
    }),
  );
}

/** The private half with this CKA_ID. @throws TokenError where it is gone. */
export function findPrivate(library: Cryptoki, session: Handle, id: string, handle: string): Handle {
  const [found] = find(library, session, [
    { type: CK.CKA_CLASS, value: CK.CKO_PRIVATE_KEY },
    { type: CK.CKA_TOKEN, value: true },
    { type: CK.CKA_ID, value: Buffer.from(handle, "hex") },
  ]);
  if (found === undefined) throw new TokenError("refused", `key ${id} is no longer in the token`);
  return found;
}

/** Whether either half with this CKA_ID is there: private ones are not shown to a session that lost its login, public ones are. */
export function hasHalf(library: Cryptoki, session: Handle, handle: string): boolean {
  return HALVES.some(([, number]) => {
    const found = find(library, session, [
      { type: CK.CKA_CLASS, value: number },
      { type: CK.CKA_TOKEN, value: true },
      { type: CK.CKA_ID, value: Buffer.from(handle, "hex") },
    ]);
    return found.length > 0;
  });
}

/** The public key in an object. @throws AssayError `KEY_UNAVAILABLE` where no authority may have it. */
export function readPublicKey(library: Cryptoki, session: Handle, object: Handle): PublicKey {
  const [kind] = values(library, session, object, [CK.CKA_KEY_TYPE]);
  const isRsa = kind?.every((octet) => octet === 0);
  const wanted = isRsa ? [CK.CKA_MODULUS, CK.CKA_PUBLIC_EXPONENT] : [CK.CKA_EC_PARAMS, CK.CKA_EC_POINT];
  const [first = NOTHING, second = NOTHING] = values(library, session, object, wanted);
  return isRsa ? rsaPublicKey(first, second) : ecPublicKey(first, second);
}

/**
 * Looks at a private key that was just made: it must be where it was put, under its name, and beyond reading.
 * @throws TokenError
 */
export function checkUnreadable(library: Cryptoki, session: Handle, object: Handle, name: KeyName): void {
  const [label = NOTHING, ckaId = NOTHING, token, sensitive, extractable] = values(library, session, object, [
    CK.CKA_LABEL,
    CK.CKA_ID,
    CK.CKA_TOKEN,
    CK.CKA_SENSITIVE,
    CK.CKA_EXTRACTABLE,
  ]);
  if (label.toString("utf8") !== name.label || !ckaId.equals(name.ckaId)) {
    throw new TokenError(
      "refused",
      "the token does not keep the label and the id of 18 octets that a key was given",
    );
  }
  if (!isTrue(token) || !isTrue(sensitive) || isTrue(extractable)) {
    throw new TokenError(
      "refused",
      "the token made a key that does not stay or that could be read out of it",
    );
  }
}

/** What a new pair of keys is asked for with: mechanism, public and private attributes. */
export function pairTemplate(
  type: KeyType,
  { label, ckaId }: KeyName,
): [{ readonly mechanism: number }, readonly Attribute[], readonly Attribute[]] {
  const both = [
    { type: CK.CKA_TOKEN, value: true },
    { type: CK.CKA_LABEL, value: label },
    { type: CK.CKA_ID, value: ckaId },
  ];
  const isRsa = type === "rsa-2048" || type === "rsa-4096";
  return [
    { mechanism: isRsa ? CK.CKM_RSA_PKCS_KEY_PAIR_GEN : CK.CKM_EC_KEY_PAIR_GEN },
    [...both, { type: CK.CKA_PRIVATE, value: false }, { type: CK.CKA_VERIFY, value: true }, ...kindOf(type)],
    [
      ...both,
      { type: CK.CKA_PRIVATE, value: true },
      { type: CK.CKA_SENSITIVE, value: true },
      { type: CK.CKA_EXTRACTABLE, value: false },
      { type: CK.CKA_SIGN, value: true },
      // A key that signs does nothing else.
      ...(isRsa ? [CK.CKA_DECRYPT, CK.CKA_UNWRAP] : [CK.CKA_DERIVE]).map((use) => ({
        type: use,
        value: false,
      })),
    ],
  ];
}

/** Destroys objects, private halves first, and counts one that is gone already as destroyed. */
export function destroyAll(
  library: Cryptoki,
  session: Handle,
  halves: readonly Pick<KeyHalf, "object" | "half">[],
): void {
  for (const { object } of halves.toSorted((a, b) => a.half.localeCompare(b.half))) {
    try {
      library.C_DestroyObject(session, object);
    } catch (error) {
      if (cryptokiCode(error) !== "CKR_OBJECT_HANDLE_INVALID") throw error;
    }
  }
}

function kindOf(type: KeyType): readonly Attribute[] {
  if (type === "ec-p256" || type === "ec-p384") return [{ type: CK.CKA_EC_PARAMS, value: EC_PARAMS[type] }];
  return [
    { type: CK.CKA_MODULUS_BITS, value: type === "rsa-2048" ? 2048 : 4096 },
    { type: CK.CKA_PUBLIC_EXPONENT, value: Buffer.of(1, 0, 1) },
  ];
}

function readHalf(library: Cryptoki, session: Handle, prefix: string, object: Handle) {
  try {
    const [label = NOTHING, ckaId = NOTHING] = values(library, session, object, [CK.CKA_LABEL, CK.CKA_ID]);
    const name = readKeyName(prefix, label.toString("utf8"), ckaId);
    return name === undefined ? undefined : { ...name, handle: ckaId.toString("hex") };
  } catch (error) {
    // Others' objects may lack a label, or vanish while they are looked at.
    if (FOREIGN.has(cryptokiCode(error) ?? "")) return undefined;
    throw error;
  }
}

function find(library: Cryptoki, session: Handle, template: readonly Attribute[]): readonly Handle[] {
  library.C_FindObjectsInit(session, template);
  try {
    const found: Handle[] = [];
    for (;;) {
      const some = library.C_FindObjects(session, AT_ONCE);
      found.push(...some);
      if (some.length === 0) return found;
    }
  } finally {
    library.C_FindObjectsFinal(session);
  }
}

function values(
  library: Cryptoki,
  session: Handle,
  object: Handle,
  types: readonly number[],
): readonly Buffer[] {
  return library
    .C_GetAttributeValue(
      session,
      object,
      types.map((type) => ({ type })),
    )
    .map(({ value }) => value);
}

function isTrue(value: Buffer | undefined): boolean {
  return value?.[0] === 1;
}

const HALVES = [
  ["private", CK.CKO_PRIVATE_KEY],
  ["public", CK.CKO_PUBLIC_KEY],
] as const;
const AT_ONCE = 64;
const NOTHING = Buffer.alloc(0);
const FOREIGN: ReadonlySet<string> = new Set([
  "CKR_ATTRIBUTE_TYPE_INVALID",
  "CKR_ATTRIBUTE_SENSITIVE",
  "CKR_OBJECT_HANDLE_INVALID",
]);
