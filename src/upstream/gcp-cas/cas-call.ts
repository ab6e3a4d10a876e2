import type { GoogleCall } from "../../cloud/google/google-client.ts";
import { GoogleError, googleError } from "../../cloud/google/google-error.ts";

/**
 * Makes one call of Certificate Authority Service. `action` is the permission that it needs.
 * @throws AssayError `UPSTREAM_UNAVAILABLE` where it did not answer or cannot now, `UPSTREAM_REFUSED` where it said no.
 */
export type CasCall = <Answer>(
  action: string,
  make: (limits: Pick<GoogleCall, "timeout" | "signal">) => Promise<Answer>,
) => Promise<Answer>;

/** Calls that end with a signal. */
export function casCalls(signal: AbortSignal): CasCall {
  return async (action, make) => {
    try {
      return await make({ timeout: TIMEOUT, signal });
    } catch (error) {
      const isPassing = !(error instanceof GoogleError) || error.isPassing;
      throw googleError(isPassing ? "UPSTREAM_UNAVAILABLE" : "UPSTREAM_REFUSED", action, error);
    }
  };
}

const TIMEOUT = 20_000;
