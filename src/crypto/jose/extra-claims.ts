import { AssayError } from "../../errors/assay-error.ts";

/** Claims that a token carries besides those of its profile. Values are JSON. */
export type ExtraClaims = Readonly<Record<string, unknown>>;

/**
 * Checks claims that are to stand beside the others of a token: at most 32, together at most 8192 characters of JSON, each
 * with a name of visible ASCII that begins with a letter, has at most 256 characters and is none of `registered`, which
 * only the profile fills.
 * @throws AssayError `INTERNAL` naming the claim, as it is the caller's order that is wrong.
 */
export function checkExtraClaims(claims: ExtraClaims, registered: ReadonlySet<string>): void {
  const names = Object.keys(claims);
  if (names.length > MAX_CLAIMS) fail(`token must have at most ${MAX_CLAIMS} further claims`);
  for (const name of names) {
    if (!NAME.test(name)) fail("name of a claim must begin with a letter and be visible ASCII");
    if (registered.has(name)) fail(`claim ${name} has a meaning of its own and cannot be set`);
    if (claims[name] === undefined) fail(`claim ${name} has no value`);
  }
  if (JSON.stringify(claims).length > MAX_CHARACTERS) {
    fail(`further claims of a token must be at most ${MAX_CHARACTERS} characters of JSON`);
  }
}

/** Whether each of these claims reads back as it was ordered. */
export function holdsExtraClaims(read: ExtraClaims, ordered: ExtraClaims): boolean {
  return Object.entries(ordered).every(
    ([name, value]) => JSON.stringify(read[name]) === JSON.stringify(value),
  );
}

function fail(detail: string): never {
  throw new AssayError("INTERNAL", detail);
}

const MAX_CLAIMS = 32;
const MAX_CHARACTERS = 8192;
const NAME = /^[A-Za-z][\x21-\x7e]{0,255}$/;
