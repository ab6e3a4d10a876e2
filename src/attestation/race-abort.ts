import { AssayError } from "../errors/assay-error.ts";
import type { ErrorCode } from "../errors/codes.ts";

/**
 * The outcome of `work`, or an error as soon as the signal aborts, so that a plugin that does not listen to its
 * signal cannot hold up its caller. An `AssayError` as the signal's reason is thrown as it is, anything else becomes
 * the cause of an error of this code.
 */
export async function raceAbort<T>(work: Promise<T>, signal: AbortSignal, code: ErrorCode): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>();
  const abort = () => reject(abortError(signal, code));
  if (signal.aborted) abort();
  else signal.addEventListener("abort", abort, { once: true });
  try {
    return await Promise.race([work, promise]);
  } finally {
    signal.removeEventListener("abort", abort);
    // Whichever lost the race may still reject, and nobody listens any more.
    work.catch(() => undefined);
    promise.catch(() => undefined);
  }
}

function abortError(signal: AbortSignal, code: ErrorCode): AssayError {
  const reason: unknown = signal.reason;
  if (reason instanceof AssayError) return reason;
  return new AssayError(code, "it was aborted before it was done", { cause: reason });
}
