import { AssayError } from "../errors/assay-error.ts";
import { eachOf } from "./each-of.ts";
import type { RemoteKey } from "./remote-key-manager.ts";

/**
 * Reads the keys of this server that a service has listed, a few at once. One that `read` gives `undefined` for is left out.
 * @throws AssayError `KEY_UNAVAILABLE` where there are more than 64; and what `found` and `read` throw.
 */
export async function readFoundKeys<Found, Handle>(
  found: AsyncIterable<Found>,
  read: (one: Found) => Promise<RemoteKey<Handle> | undefined>,
): Promise<readonly RemoteKey<Handle>[]> {
  // Read only when all are known: what fails meanwhile would be nobody's to catch.
  const all: Found[] = [];
  for await (const one of found) {
    if (all.length >= MAX_KEYS) {
      throw new AssayError("KEY_UNAVAILABLE", `there are more than ${MAX_KEYS} keys of this server`);
    }
    all.push(one);
  }
  const keys = await eachOf(all, AT_ONCE, read);
  return keys.filter((key) => key !== undefined);
}

const MAX_KEYS = 64;
const AT_ONCE = 8;
