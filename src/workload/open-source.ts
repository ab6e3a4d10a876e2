import type { WorkloadOptions } from "./workload-api.ts";

/** A source that can be waited for. */
interface Waiting extends AsyncDisposable {
  ready(timeout: number, signal?: AbortSignal): Promise<void>;
}

/** Waits until a source has its first state; closes it where that does not come. Throws what `ready` throws. */
export async function openSource<Source extends Waiting>(
  source: Source,
  { timeout = DEFAULT_TIMEOUT_MS, signal }: WorkloadOptions,
): Promise<Source> {
  try {
    await source.ready(timeout, signal);
    return source;
  } catch (error) {
    await source[Symbol.asyncDispose]();
    throw error;
  }
}

const DEFAULT_TIMEOUT_MS = 60_000;
