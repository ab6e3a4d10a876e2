import { createHash, randomUUID } from "node:crypto";
import { isKeyId } from "../key-id.ts";

/** What Key Vault tells of a key's name. */
export interface NamedKey {
  readonly name: string;
  readonly tags: Readonly<Record<string, string>>;
}

/**
 * A new name for the key of an id: `spire-key-<UUID>-<key id>` as SPIRE's. Key Vault takes letters, digits and dashes only, and
 * 127 of them: an id that does not fit is named by its hash, and stands in a tag.
 */
export function newKeyName(id: string): NamedKey {
  const begin = `spire-key-${randomUUID()}-`;
  const name = `${begin}${id}`;
  if (isFit(id)) return { name, tags: {} };
  return { name: `${begin}${hashOf(id)}`, tags: { [ID_TAG]: id } };
}

/** The key id in a name of ours, or `undefined` where it is none or its tag tells another id than the name. */
export function keyIdOf({ name, tags }: NamedKey): string | undefined {
  const named = /^spire-key-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}-([A-Za-z0-9-]{1,80})$/.exec(
    name,
  )?.[1];
  const tagged = tags[ID_TAG];
  if (tagged === undefined || named === undefined) return named;
  return named === hashOf(tagged) && isKeyId(tagged) ? tagged : undefined;
}

function isFit(id: string): boolean {
  return id.length <= 80 && !id.includes("_");
}

function hashOf(id: string): string {
  return `h${createHash("sha256").update(id).digest("hex").slice(0, 31)}`;
}

const ID_TAG = "assay-key-id";
