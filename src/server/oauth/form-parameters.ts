import { OAuthError } from "./oauth-error.ts";

/** The parameters that are read; others are ignored (RFC 6749 §3.2). */
export type ParameterName = (typeof NAMES)[number];

/** The parameters of a request, each at most once. */
export interface FormParameters {
  readonly values: Readonly<Partial<Record<ParameterName, string>>>;
  /** `audience` and `resource`, of which RFC 8693 §2.1 allows several. */
  readonly targets: readonly { readonly name: "audience" | "resource"; readonly value: string }[];
}

/**
 * Reads `application/x-www-form-urlencoded`: UTF-8 throughout, at most 32 parameters, none twice but those that may be.
 * Parameters without a value are as if they were not there (RFC 6749 §3.2).
 * @throws OAuthError `invalid_request`.
 */
export function readForm(body: Uint8Array): FormParameters {
  const pairs = textOf(body)
    .split("&")
    .filter((pair) => pair !== "");
  if (pairs.length > MAX_PARAMETERS) fail(`more than ${MAX_PARAMETERS} parameters`);
  const values: Partial<Record<ParameterName, string>> = {};
  const targets: { name: "audience" | "resource"; value: string }[] = [];
  const seen = new Set<string>();
  for (const pair of pairs) {
    const at = pair.indexOf("=");
    const name = decoded(at < 0 ? pair : pair.slice(0, at));
    const value = at < 0 ? "" : decoded(pair.slice(at + 1));
    if (name === "audience" || name === "resource") {
      if (value !== "") targets.push({ name, value });
      continue;
    }
    if (seen.has(name)) fail(`${isKnown(name) ? name : "a parameter"} is there twice`);
    seen.add(name);
    if (isKnown(name) && value !== "") values[name] = value;
  }
  return { values, targets };
}

/** A request without a body. */
export const EMPTY_FORM: FormParameters = { values: {}, targets: [] };

function textOf(body: Uint8Array): string {
  try {
    return UTF8.decode(body);
  } catch {
    return fail("the body is not UTF-8");
  }
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text.replaceAll("+", " "));
  } catch {
    return fail("the body is not form-urlencoded UTF-8");
  }
}

function isKnown(name: string): name is ParameterName {
  return (NAMES as readonly string[]).includes(name);
}

function fail(description: string): never {
  throw new OAuthError("invalid_request", description);
}

const NAMES = [
  "grant_type",
  "client_id",
  "client_secret",
  "client_assertion",
  "client_assertion_type",
  "assertion",
  "scope",
  "subject_token",
  "subject_token_type",
  "actor_token",
  "actor_token_type",
  "requested_token_type",
  "token",
  "token_type_hint",
] as const;
const MAX_PARAMETERS = 32;
const UTF8 = new TextDecoder("utf-8", { fatal: true });
