/**
 * What a failure asks for: `config` a change of the configuration, `pin` another PIN, `lost` a new beginning with the
 * device, `refused` nothing: the device is well and will not do it.
 */
export type FailureKind = "config" | "pin" | "lost" | "refused";

/** A failure as it crosses from the process that speaks with the device. Plain data. */
export interface TokenFailure {
  readonly kind: FailureKind;
  /** For the operator: what was tried, the code, and what to look at. Holds no PIN. */
  readonly detail: string;
}

/** What is thrown beside the device: a failure as an error. */
export class TokenError extends Error implements TokenFailure {
  readonly kind: FailureKind;
  readonly detail: string;

  constructor(kind: FailureKind, detail: string) {
    super(detail);
    this.name = "TokenError";
    this.kind = kind;
    this.detail = detail;
  }
}

/** The name of the PKCS #11 return value that an error of `pkcs11js` stands for, or `undefined` for any other error. */
export function cryptokiCode(error: unknown): string | undefined {
  return error instanceof Error ? CODE.exec(error.message)?.[0] : undefined;
}

/** A failed call as a failure. @param what What was tried: `sign with key a`. */
export function toTokenError(what: string, error: unknown): TokenError {
  if (error instanceof TokenError) return error;
  const name = cryptokiCode(error);
  if (name === undefined) {
    return new TokenError(
      "lost",
      `cannot ${what}: ${error instanceof Error ? firstLine(error) : "unknown reason"}`,
    );
  }
  const hint = HINTS.get(name);
  const kind = PIN_CODES.has(name) ? "pin" : REFUSALS.has(name) ? "refused" : "lost";
  return new TokenError(
    kind,
    `cannot ${what}: ${shown(name, error)}${hint === undefined ? "" : `, ${hint}`}`,
  );
}

/** The name, and for what the vendor made up or nobody knows the number. */
function shown(name: string, error: unknown): string {
  const numbered = /CKR_\w+:(\d+)/.exec((error as Error).message)?.[1] ?? (error as { code?: unknown }).code;
  if (REFUSALS.has(name) || PIN_CODES.has(name) || HINTS.has(name) || numbered === undefined) return name;
  return `${name} (0x${Number(numbered).toString(16)})`;
}

function firstLine(error: Error): string {
  return error.message.split("\n", 1)[0] as string;
}

const CODE = /\bCKR_[A-Z0-9_]+/;
const PIN_CODES: ReadonlySet<string> = new Set([
  "CKR_PIN_INCORRECT",
  "CKR_PIN_INVALID",
  "CKR_PIN_LEN_RANGE",
  "CKR_PIN_EXPIRED",
  "CKR_PIN_LOCKED",
  "CKR_USER_PIN_NOT_INITIALIZED",
]);
// Everything else, what nobody thought of included, is answered with a new beginning: the safe side.
const REFUSALS: ReadonlySet<string> = new Set([
  "CKR_MECHANISM_INVALID",
  "CKR_MECHANISM_PARAM_INVALID",
  "CKR_TEMPLATE_INCONSISTENT",
  "CKR_TEMPLATE_INCOMPLETE",
  "CKR_ATTRIBUTE_VALUE_INVALID",
  "CKR_ATTRIBUTE_TYPE_INVALID",
  "CKR_ATTRIBUTE_READ_ONLY",
  "CKR_CURVE_NOT_SUPPORTED",
  "CKR_DOMAIN_PARAMS_INVALID",
  "CKR_KEY_SIZE_RANGE",
  "CKR_KEY_FUNCTION_NOT_PERMITTED",
  "CKR_ACTION_PROHIBITED",
  "CKR_FUNCTION_NOT_SUPPORTED",
  "CKR_TOKEN_WRITE_PROTECTED",
  "CKR_DEVICE_MEMORY",
]);
const HINTS: ReadonlyMap<string, string> = new Map([
  ["CKR_PIN_INCORRECT", "the PIN in pin_file is wrong; it is not tried again until the file changes"],
  [
    "CKR_PIN_INVALID",
    "the PIN in pin_file is none that the token takes; it is not tried again until the file changes",
  ],
  ["CKR_PIN_LEN_RANGE", "the PIN in pin_file is too short or too long for the token"],
  ["CKR_PIN_EXPIRED", "the PIN must be changed with the tools of the device"],
  ["CKR_PIN_LOCKED", "the PIN is locked after too many wrong ones; the security officer unlocks it"],
  ["CKR_USER_PIN_NOT_INITIALIZED", "the token has no user PIN yet; the security officer sets it"],
  ["CKR_DEVICE_REMOVED", "the device was taken away"],
  ["CKR_TOKEN_NOT_PRESENT", "the token is not in its slot"],
  ["CKR_TOKEN_NOT_RECOGNIZED", "the token in the slot cannot be read"],
  ["CKR_DEVICE_ERROR", "the device has a fault: see its own log"],
  ["CKR_DEVICE_MEMORY", "the device has no room for another key"],
  ["CKR_SESSION_HANDLE_INVALID", "the device has forgotten the session, as after a restart"],
  ["CKR_USER_NOT_LOGGED_IN", "the device has forgotten the login, as after a restart"],
  ["CKR_TOKEN_WRITE_PROTECTED", "the token is read-only"],
  ["CKR_CRYPTOKI_NOT_INITIALIZED", "the library has lost its state"],
]);
