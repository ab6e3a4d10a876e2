import type { Clock } from "../../clock.ts";
import { awsError, awsErrorName } from "../../cloud/aws/aws-error.ts";
import type { AwsCallOptions } from "../../cloud/aws/sdk.ts";
import { withDeadline } from "../../cloud/deadline.ts";
import { AssayError } from "../../errors/assay-error.ts";
import type { KmsAlias, KmsClient, KmsPage } from "./kms-client.ts";

/** Calls of KMS under a deadline and with errors of ours, until closed. */
export interface KmsCalls {
  /**
   * Makes one call. `action` is the permission it needs, such as `kms:Sign`.
   * @param timeout Milliseconds for the call with its repetitions; 15000 unless told.
   * @throws AssayError `KEY_UNAVAILABLE`; a failure whose name is in `unless` answers `undefined`.
   */
  call<Answer>(
    action: string,
    make: (kms: KmsClient, options: AwsCallOptions) => Promise<Answer>,
    unless?: readonly string[],
    timeout?: number,
  ): Promise<Answer | undefined>;
  /** Every alias of the account and region, or of one key. @throws AssayError `KEY_UNAVAILABLE`. */
  aliases(keyId?: string): AsyncIterable<KmsAlias>;
  /** The ARN of every key of the account and region. @throws AssayError `KEY_UNAVAILABLE`. */
  keys(): AsyncIterable<string>;
  readonly signal: AbortSignal;
  close(): void;
}

/** Puts a client behind calls. */
export function kmsCalls(kms: KmsClient, clock: Clock): KmsCalls {
  const closing = new AbortController();
  const { signal } = closing;

  async function call<Answer>(
    action: string,
    make: (kms: KmsClient, options: AwsCallOptions) => Promise<Answer>,
    unless: readonly string[] = [],
    timeout = CALL_TIMEOUT,
  ): Promise<Answer | undefined> {
    try {
      return await withDeadline({ clock, timeout, signal }, (abortSignal) => make(kms, { abortSignal }));
    } catch (error) {
      if (unless.includes(awsErrorName(error))) return undefined;
      if (signal.aborted) throw new AssayError("KEY_UNAVAILABLE", "key manager is closed");
      throw awsError("KEY_UNAVAILABLE", action, error);
    }
  }

  /** An account can hold a hundred thousand aliases; an answer that never ends must not hold us for ever. */
  async function* paged<Page extends KmsPage>(
    action: string,
    next: (kms: KmsClient, marker: { Marker?: string }, options: AwsCallOptions) => Promise<Page>,
  ): AsyncIterable<Page> {
    let marker: { Marker?: string } = {};
    for (let pages = 0; pages < MAX_PAGES; pages++) {
      const page = await call(action, (client, options) => next(client, marker, options));
      if (page === undefined) return;
      yield page;
      if (page.Truncated !== true || !page.NextMarker) return;
      marker = { Marker: page.NextMarker };
    }
    throw new AssayError("KEY_UNAVAILABLE", `${action} failed: more than ${MAX_PAGES} pages`);
  }

  return {
    call,
    async *aliases(keyId) {
      const of = keyId === undefined ? {} : { KeyId: keyId };
      const pages = paged("kms:ListAliases", (client, marker, options) =>
        client.listAliases({ ...of, Limit: 100, ...marker }, options),
      );
      for await (const { Aliases } of pages) yield* Aliases ?? [];
    },
    async *keys() {
      const pages = paged("kms:ListKeys", (client, marker, options) =>
        client.listKeys({ Limit: 1000, ...marker }, options),
      );
      for await (const { Keys } of pages) {
        for (const { KeyArn } of Keys ?? []) if (KeyArn) yield KeyArn;
      }
    },
    signal,
    close() {
      closing.abort(new Error("the key manager is being closed"));
      kms.destroy();
    },
  };
}

const CALL_TIMEOUT = 15_000;
const MAX_PAGES = 2000;
