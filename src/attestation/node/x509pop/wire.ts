import { AssayError } from "../../../errors/assay-error.ts";

/** One half of a proof: what the server asks, per kind of key. The other kind's field is null or absent. */
export type KeyKind = "rsa" | "ec";

/** The agent's answer to a challenge. */
export type Proof =
  | { readonly kind: "rsa"; readonly nonce: Buffer; readonly signature: Buffer }
  | { readonly kind: "ec"; readonly nonce: Buffer; readonly r: Buffer; readonly s: Buffer };

/** Bytes of each side's nonce. */
export const NONCE_BYTES = 32;

/** The first message: the certificate chain, leaf first. */
export function writePayload(certificates: readonly Uint8Array[]): Buffer {
  return write({ certificates: certificates.map(base64) });
}

/**
 * Reads the first message: at least one and at most `most` certificates in DER, not looked into.
 * @throws AssayError `ATTESTATION_FAILED`.
 */
export function readPayload(bytes: Uint8Array, most: number): readonly Buffer[] {
  const { certificates } = readObject(bytes, "payload", ["certificates"]);
  if (!Array.isArray(certificates) || certificates.length === 0) fail("payload has no certificates");
  const list: readonly unknown[] = certificates;
  if (list.length > most) fail(`payload has more than ${most - 1} intermediate certificates`);
  return list.map((certificate) => readBytes(certificate, "certificate of the payload"));
}

/** The server's challenge for a key of this kind. */
export function writeChallenge(kind: KeyKind, nonce: Uint8Array): Buffer {
  const asked = { nonce: base64(nonce) };
  return write({
    rsa_signature: kind === "rsa" ? asked : null,
    ecdsa_signature: kind === "ec" ? asked : null,
  });
}

/**
 * Reads the server's challenge: the nonce for a key of this kind.
 * @throws AssayError `ATTESTATION_FAILED`, also where the challenge is for another kind of key.
 */
export function readChallenge(bytes: Uint8Array, kind: KeyKind): Buffer {
  const outer = readObject(bytes, "challenge", FIELDS);
  return readNonce(members(outer[FIELD[kind]], `challenge for ${FIELD[kind]}`, ["nonce"]));
}

/** The agent's answer. */
export function writeProof(proof: Proof): Buffer {
  const nonce = base64(proof.nonce);
  if (proof.kind === "rsa") {
    return write({ rsa_signature: { nonce, signature: base64(proof.signature) }, ecdsa_signature: null });
  }
  return write({ rsa_signature: null, ecdsa_signature: { nonce, r: base64(proof.r), s: base64(proof.s) } });
}

/**
 * Reads the agent's answer for a key of this kind; an answer for another kind is refused.
 * @throws AssayError `ATTESTATION_FAILED`.
 */
export function readProof(bytes: Uint8Array, kind: KeyKind): Proof {
  const outer = readObject(bytes, "answer", FIELDS);
  const what = `answer for ${FIELD[kind]}`;
  if (kind === "rsa") {
    const fields = members(outer[FIELD.rsa], what, ["nonce", "signature"]);
    return { kind, nonce: readNonce(fields), signature: readBytes(fields["signature"], "signature") };
  }
  const fields = members(outer[FIELD.ec], what, ["nonce", "r", "s"]);
  return { kind, nonce: readNonce(fields), r: readBytes(fields["r"], "r"), s: readBytes(fields["s"], "s") };
}

function readObject(bytes: Uint8Array, what: string, allowed: readonly string[]): Record<string, unknown> {
  let text: string;
  let value: unknown;
  try {
    text = UTF8.decode(bytes);
    value = JSON.parse(text);
  } catch (cause) {
    throw new AssayError("ATTESTATION_FAILED", `${what} is not JSON`, { cause });
  }
  const object = members(value, what, allowed);
  // Only base64 and fixed names are expected, so the value has one spelling but for white space. Anything else (a
  // name that comes twice, an escaped one) is a text that two parsers could read as two different things.
  if (JSON.stringify(value) !== text.replace(/[ \t\r\n]/g, "")) fail(`${what} is not in its plain JSON form`);
  return object;
}

function members(value: unknown, what: string, allowed: readonly string[]): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    return fail(`${what} is no JSON object`);
  const unknown = Object.keys(value).find((key) => !allowed.includes(key));
  if (unknown !== undefined) fail(`${what} has an unknown member`);
  return value as Record<string, unknown>;
}

function readNonce(fields: Record<string, unknown>): Buffer {
  const nonce = readBytes(fields["nonce"], "nonce");
  return nonce.length === NONCE_BYTES ? nonce : fail(`nonce must have ${NONCE_BYTES} bytes`);
}

function readBytes(value: unknown, what: string): Buffer {
  if (typeof value !== "string") return fail(`${what} is missing or no string`);
  const bytes = Buffer.from(value, "base64");
  // Node's decoder skips what it does not know; what does not come back the same had such characters.
  return bytes.toString("base64") === value ? bytes : fail(`${what} is not base64`);
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("base64");
}

function write(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value), "utf8");
}

function fail(detail: string): never {
  throw new AssayError("ATTESTATION_FAILED", detail);
}

const FIELD = { rsa: "rsa_signature", ec: "ecdsa_signature" } as const;
const FIELDS: readonly string[] = [FIELD.rsa, FIELD.ec];
const UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
