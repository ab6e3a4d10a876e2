import { toAssayError } from "../../errors/assay-error.ts";
import { CODES } from "../../errors/codes.ts";
import type { TaskRecord } from "../../store/task-store.ts";
import type { ExchangeOptions } from "./exchange-options.ts";
import { liveCredential } from "./presented-identity.ts";
import { type Presented, readToken, type ReadingOptions } from "./presented.ts";

/** A token that is good now. */
export interface ActiveToken {
  readonly token: Presented;
  /** The live task that it belongs to. */
  readonly task: TaskRecord | undefined;
}

/**
 * What is known of a token of any kind (RFC 7662 §2.2): `undefined` for one that is not ours, has ended or was revoked, or
 * whose task is over, without a word on which.
 * @throws AssayError `STORE_UNAVAILABLE`.
 */
export async function activeToken(
  options: ReadingOptions & Pick<ExchangeOptions, "credentials" | "tasks">,
  text: string,
): Promise<ActiveToken | undefined> {
  try {
    const token = await readToken(options, text);
    const { task } = await liveCredential(options, token);
    return { token, task };
  } catch (thrown) {
    const error = toAssayError(thrown);
    if (CODES[error.code].http >= 500) throw error;
    return undefined;
  }
}
