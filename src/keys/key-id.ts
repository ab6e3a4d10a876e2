import { AssayError } from "../errors/assay-error.ts";

/** Whether a text can be the id of a key: 1 to 128 characters of `a-z A-Z 0-9 - _`, so that it can name a file. */
export function isKeyId(text: string): boolean {
  return /^[A-Za-z0-9_-]{1,128}$/.test(text);
}

/**
 * Checks the id of a key, as {@link isKeyId} says.
 * @throws AssayError `KEY_UNAVAILABLE`.
 */
export function checkKeyId(id: string): void {
  if (isKeyId(id)) return;
  throw new AssayError("KEY_UNAVAILABLE", "key id must be 1 to 128 letters, digits, dashes and underscores");
}
