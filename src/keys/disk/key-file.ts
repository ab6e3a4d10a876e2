import { hash } from "node:crypto";
import { AssayError } from "../../errors/assay-error.ts";
import type { ManagedKey } from "../../plugin/key-manager.ts";
import { importLocalKey, type LocalKey } from "../local-key.ts";

/** The text of a key file: one JSON object that says whose key it is, so that a swapped file shows. Secret. */
export function formatKeyFile(key: ManagedKey, pkcs8: Uint8Array): string {
  const content: KeyFile = {
    version: VERSION,
    id: key.id,
    type: key.type,
    publicKeySha256: fingerprint(key),
    privateKey: Buffer.from(pkcs8).toString("base64"),
  };
  return `${JSON.stringify(content, null, 2)}\n`;
}

/**
 * Reads a key file that was found under the name of key `id`.
 * @throws AssayError `KEY_FILE_INVALID` naming the file, what is wrong with it and what to do. Never quotes content.
 */
export function parseKeyFile(text: string, id: string, path: string): LocalKey {
  const content = parseJson(text, path);
  if (content.version !== VERSION) {
    throw invalid(
      path,
      `has a format other than ${VERSION}; it was written by another version of this program`,
    );
  }
  for (const field of ["id", "type", "publicKeySha256", "privateKey"] as const) {
    if (typeof content[field] !== "string") throw invalid(path, `lacks the field ${field}; ${RESTORE}`);
  }
  const { id: owner, type, publicKeySha256, privateKey } = content as KeyFile;
  if (owner !== id)
    throw invalid(path, `holds another key than ${id}; files were swapped or copied. ${RESTORE}`);
  const key = importKey(id, privateKey, path);
  if (key.type !== type || fingerprint(key) !== publicKeySha256) {
    throw invalid(path, `holds a private key that does not belong to ${id}; ${RESTORE}`);
  }
  return key;
}

/** A `KEY_FILE_INVALID` that names the file. */
export function invalid(path: string, fault: string): AssayError {
  return new AssayError("KEY_FILE_INVALID", `key file ${path} ${fault}`);
}

interface KeyFile {
  readonly version: number;
  readonly id: string;
  readonly type: string;
  /** Lower-case hex SHA-256 of the SubjectPublicKeyInfo. */
  readonly publicKeySha256: string;
  /** PKCS#8 DER in base64. */
  readonly privateKey: string;
}

function parseJson(text: string, path: string): Partial<Record<keyof KeyFile, unknown>> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // The cause stays out: the parser's message quotes the text around the fault.
    throw invalid(path, `is truncated or not JSON; ${RESTORE}`);
  }
  if (typeof value !== "object" || value === null) throw invalid(path, `is not a JSON object; ${RESTORE}`);
  return value;
}

function importKey(id: string, privateKey: string, path: string): LocalKey {
  const pkcs8 = Buffer.from(privateKey, "base64");
  try {
    return importLocalKey(id, pkcs8);
  } catch {
    throw invalid(path, `holds no private key that an authority can have; ${RESTORE}`);
  } finally {
    pkcs8.fill(0);
  }
}

function fingerprint(key: ManagedKey): string {
  return hash("sha256", key.publicKey, "hex");
}

const VERSION = 1;
const RESTORE = "restore it from a backup, or delete it to have a new key made";
