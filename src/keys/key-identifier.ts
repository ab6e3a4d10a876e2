import { randomUUID } from "node:crypto";
import { AssayError } from "../errors/assay-error.ts";
import { atomicWrite } from "../files/atomic-write.ts";
import { readBoundedIfPresent } from "../files/read-bounded.ts";

/** How a server tells its keys from those of others in one account: SPIRE's two settings, exactly one of them given. */
export interface KeyIdentifierChoice {
  /** File that keeps the identifier; it is made with a random one where there is none. */
  readonly file?: string | undefined;
  /** The identifier itself. */
  readonly value?: string | undefined;
}

/**
 * The identifier of this server's keys. A file holds a UUID and nothing else, as SPIRE writes it, so that the file of a
 * SPIRE server can be kept.
 * @throws AssayError `CONFIG_INVALID` where both or neither is given, or the file holds something else.
 */
export async function resolveKeyIdentifier(
  { file, value }: KeyIdentifierChoice,
  newIdentifier: () => string = randomUUID,
): Promise<string> {
  if ((file === undefined) === (value === undefined)) {
    throw new AssayError(
      "CONFIG_INVALID",
      "exactly one of key_identifier_file and key_identifier_value must be given",
    );
  }
  if (value !== undefined) return value;
  return readOrMake(file as string, newIdentifier);
}

async function readOrMake(file: string, newIdentifier: () => string): Promise<string> {
  const held = await readBoundedIfPresent(file, MAX_FILE, { code: "CONFIG_INVALID" });
  if (held === undefined) {
    const made = newIdentifier();
    await atomicWrite(file, Buffer.from(made), { code: "CONFIG_INVALID" });
    return made;
  }
  const text = held.toString("latin1").trim();
  if (!UUID.test(text)) {
    throw new AssayError(
      "CONFIG_INVALID",
      `key_identifier_file ${file} must hold a UUID; put the one back that it held, or delete it to begin with new keys`,
    );
  }
  return text.toLowerCase();
}

const MAX_FILE = 128;
const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
