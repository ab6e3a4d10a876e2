import { AssayError } from "../../errors/assay-error.ts";
import type { ErrorCode } from "../../errors/codes.ts";

/** Why Vault did not do what was asked. The message names the call and holds no credential. */
export class VaultError extends Error {
  /** `refused`: Vault said no, or something that cannot be read. `unavailable`: it did not answer, or cannot now. */
  readonly kind: "refused" | "unavailable";
  /** The HTTP status, where there was an answer. */
  readonly status: number | undefined;
  /** Whether it is certain that Vault did nothing: the call never came to it, or it said that it cannot now. */
  readonly isUndone: boolean;

  constructor(kind: "refused" | "unavailable", message: string, status?: number, code?: string) {
    super(message);
    this.isUndone = UNDONE_STATUS.has(status ?? 0) || UNSENT.has(code ?? "");
    this.name = "VaultError";
    this.kind = kind;
    this.status = status;
  }
}

/** Which of our codes stand for Vault's two ways of failing. */
export interface VaultCodes {
  readonly refused: ErrorCode;
  readonly unavailable: ErrorCode;
}

/** An error of a call to Vault in the words of a plugin's contract. */
export function vaultFailure(error: unknown, codes: VaultCodes): AssayError {
  if (error instanceof VaultError) return new AssayError(codes[error.kind], error.message);
  if (error instanceof AssayError) return new AssayError(codes.unavailable, error.detail);
  const reason = error instanceof Error ? error.message : "unknown reason";
  return new AssayError(codes.unavailable, `Vault cannot be asked: ${reason}`, { cause: error });
}

/**
 * The reasons in the body of a Vault error, on one line of at most 300 characters, with whatever looks like a token of
 * Vault's, and each of the secrets given, taken out.
 */
export function vaultReasons(body: unknown, secrets: readonly string[]): string {
  const errors = (body as { readonly errors?: unknown } | null | undefined)?.errors;
  if (!Array.isArray(errors)) return "";
  let text = errors.filter((line) => typeof line === "string").join("; ");
  for (const secret of secrets) if (secret.length >= 4) text = text.replaceAll(secret, "[hidden]");
  const line = text.replace(TOKEN, "[hidden]").replace(/[\p{C}\s]+/gu, " ");
  return line.slice(0, 300).toWellFormed().trim();
}

const TOKEN = /\b(?:hv[a-z]|[sbr])\.[A-Za-z0-9_-]{16,}/g;

const UNDONE_STATUS: ReadonlySet<number> = new Set([412, 429, 503]);
const UNSENT: ReadonlySet<string> = new Set([
  "ECONNREFUSED",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "ENOTFOUND",
  "EAI_AGAIN",
]);
