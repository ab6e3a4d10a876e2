import {
  constants,
  createPrivateKey,
  generateKeyPairSync,
  type KeyObject,
  privateEncrypt,
} from "node:crypto";
import { derToP1363 } from "../../src/keys/ecdsa-form.ts";
import { type Attribute, CK, type Cryptoki, type Handle } from "../../src/keys/pkcs11/cryptoki.ts";
import { signDigest } from "./sign-digest.ts";

/** An object in a token, by the numbers of its attributes. */
type Attributes = Map<number, Buffer>;

/**
 * A PKCS#11 library with one token, whose keys are real and which fails as it is told. It throws what `pkcs11js` throws.
 * What is in the token outlives the library: give `objects` to the next one.
 */
export class FakeCryptoki implements Cryptoki {
  readonly objects: Map<number, Attributes>;
  /** Calls that fail next, by method: names of return values, used up one by one; `undefined` lets one pass. */
  readonly failures = new Map<keyof Cryptoki, (string | undefined)[]>();
  /** Every call, by its method's name. */
  readonly calls: string[] = [];
  label = "token one";
  flags = 0;
  pin = "1234";
  slots = [7];
  maxSessions = 10;
  /** What signing waits for. */
  pause: Promise<unknown> | undefined;
  /** Changes what the token makes of a new private key. */
  afterGenerate: (attributes: Attributes) => void = () => undefined;
  signing = 0;
  mostSigning = 0;
  #sessions = 0;
  #found: number[] = [];
  #sign: { readonly key: number; readonly mechanism: number } | undefined;
  static #next = 1;

  constructor(objects: Map<number, Attributes> = new Map()) {
    this.objects = objects;
  }

  load(): void {
    this.#called("load");
  }
  C_Initialize({ flags }: { readonly flags: number }): void {
    this.#called("C_Initialize");
    if (flags !== CK.CKF_OS_LOCKING_OK) throw failure("CKR_CANT_LOCK", 10);
  }
  C_Finalize(): void {
    this.#called("C_Finalize");
  }
  C_GetSlotList(): readonly Handle[] {
    this.#called("C_GetSlotList");
    return this.slots.map(handleOf);
  }
  C_GetTokenInfo(): { label: string; flags: number } {
    this.#called("C_GetTokenInfo");
    return { label: this.label.padEnd(32), flags: this.flags };
  }
  C_OpenSession(): Handle {
    this.#called("C_OpenSession");
    if (this.#sessions >= this.maxSessions) throw failure("CKR_SESSION_COUNT", 0xb1);
    return handleOf(1000 + this.#sessions++);
  }
  C_CloseAllSessions(): void {
    this.#called("C_CloseAllSessions");
  }
  C_Login(_session: Handle, user: number, pin: string): void {
    this.#called("C_Login");
    if (user !== CK.CKU_USER || pin !== this.pin) throw failure("CKR_PIN_INCORRECT", 0xa0);
  }
  C_FindObjectsInit(_session: Handle, template: readonly Attribute[]): void {
    this.#called("C_FindObjectsInit");
    this.#found = [...this.objects]
      .filter(([, attributes]) =>
        template.every(({ type, value }) => attributes.get(type)?.equals(bytesOf(value)) === true),
      )
      .map(([number]) => number);
  }
  C_FindObjects(_session: Handle, max: number): readonly Handle[] {
    this.#called("C_FindObjects");
    return this.#found.splice(0, Math.min(max, 2)).map(handleOf);
  }
  C_FindObjectsFinal(): void {
    this.#called("C_FindObjectsFinal");
  }
  C_GetAttributeValue(_session: Handle, object: Handle, template: readonly Attribute[]) {
    this.#called("C_GetAttributeValue");
    const attributes = this.objects.get(numberOf(object));
    if (attributes === undefined) throw failure("CKR_OBJECT_HANDLE_INVALID", 0x82);
    return template.map(({ type }) => {
      const value = attributes.get(type);
      if (value === undefined) throw failure("CKR_ATTRIBUTE_TYPE_INVALID", 0x12);
      return { type, value };
    });
  }
  async C_GenerateKeyPairAsync(
    _session: Handle,
    { mechanism }: { readonly mechanism: number },
    publicTemplate: readonly Attribute[],
    privateTemplate: readonly Attribute[],
  ) {
    this.#called("C_GenerateKeyPairAsync");
    const pair = (templates: readonly Attribute[], kind: number) =>
      new Map([
        ...templates.map(({ type, value }) => [type, bytesOf(value)] as const),
        [CK.CKA_CLASS, bytesOf(kind)],
      ]);
    const forAll = pair(publicTemplate, CK.CKO_PUBLIC_KEY);
    const hidden = pair(privateTemplate, CK.CKO_PRIVATE_KEY);
    const key = mechanism === CK.CKM_EC_KEY_PAIR_GEN ? makeEc(forAll) : makeRsa(forAll);
    hidden.set(PRIVATE, key.export({ type: "pkcs8", format: "der" }));
    this.afterGenerate(hidden);
    return { publicKey: this.add(forAll), privateKey: this.add(hidden) };
  }
  C_SignInit(_session: Handle, { mechanism }: { readonly mechanism: number }, key: Handle): void {
    this.#called("C_SignInit");
    if (!this.objects.has(numberOf(key))) throw failure("CKR_KEY_HANDLE_INVALID", 0x60);
    this.#sign = { key: numberOf(key), mechanism };
  }
  async C_SignAsync(_session: Handle, data: Buffer): Promise<Buffer> {
    this.#called("C_SignAsync");
    const { key, mechanism } = this.#sign ?? { key: 0, mechanism: 0 };
    this.signing++;
    this.mostSigning = Math.max(this.mostSigning, this.signing);
    try {
      await this.pause;
      const pkcs8 = this.objects.get(key)?.get(PRIVATE) ?? Buffer.alloc(0);
      const privateKey = createPrivateKey({ key: pkcs8, format: "der", type: "pkcs8" });
      if (mechanism === CK.CKM_RSA_PKCS) {
        return privateEncrypt({ key: privateKey, padding: constants.RSA_PKCS1_PADDING }, data);
      }
      return Buffer.from(derToP1363(signDigest(privateKey, data), data.length));
    } finally {
      this.signing--;
    }
  }
  C_DestroyObject(_session: Handle, object: Handle): void {
    this.#called("C_DestroyObject");
    if (!this.objects.delete(numberOf(object))) throw failure("CKR_OBJECT_HANDLE_INVALID", 0x82);
  }

  /** Puts an object into the token. */
  add(attributes: Attributes): Handle {
    const number = FakeCryptoki.#next++;
    this.objects.set(number, attributes);
    return handleOf(number);
  }

  /** The labels of the objects of a class, sorted. */
  labels(kind: "private" | "public"): readonly string[] {
    const wanted = bytesOf(kind === "private" ? CK.CKO_PRIVATE_KEY : CK.CKO_PUBLIC_KEY);
    return [...this.objects.values()]
      .filter((attributes) => attributes.get(CK.CKA_CLASS)?.equals(wanted) === true)
      .map((attributes) => attributes.get(CK.CKA_LABEL)?.toString() ?? "")
      .toSorted();
  }

  #called(method: keyof Cryptoki): void {
    this.calls.push(method);
    const name = this.failures.get(method)?.shift();
    if (name !== undefined) throw failure(name, 0x30);
  }
}

/** What `pkcs11js` throws. */
export function failure(name: string, code: number): Error {
  return Object.assign(new Error(name), { name: "Pkcs11Error", code });
}

function makeEc(forAll: Attributes): KeyObject {
  const p256 = forAll.get(CK.CKA_EC_PARAMS)?.length === 10;
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: p256 ? "P-256" : "P-384" });
  const point = publicKey.export({ type: "spki", format: "der" }).subarray(p256 ? -65 : -97);
  forAll.set(CK.CKA_EC_POINT, Buffer.concat([Buffer.of(4, point.length), point]));
  forAll.set(CK.CKA_KEY_TYPE, bytesOf(CK.CKK_EC));
  return privateKey;
}

function makeRsa(forAll: Attributes): KeyObject {
  const { privateKey, publicKey } = generateKeyPairSync("rsa", {
    modulusLength: Number(forAll.get(CK.CKA_MODULUS_BITS)?.readBigUInt64LE()),
  });
  forAll.set(CK.CKA_MODULUS, Buffer.from(publicKey.export({ format: "jwk" }).n ?? "", "base64url"));
  forAll.set(CK.CKA_KEY_TYPE, bytesOf(CK.CKK_RSA));
  return privateKey;
}

function bytesOf(value: Attribute["value"]): Buffer {
  if (typeof value === "boolean") return Buffer.of(value ? 1 : 0);
  if (typeof value === "number") {
    const bytes = Buffer.alloc(8);
    bytes.writeBigUInt64LE(BigInt(value));
    return bytes;
  }
  return Buffer.from(value ?? "");
}

function handleOf(number: number): Handle {
  return bytesOf(number);
}

function numberOf(handle: Handle): number {
  return Number(handle.readBigUInt64LE());
}

const PRIVATE = -1;
