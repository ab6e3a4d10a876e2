import type { AssayError } from "../errors/assay-error.ts";
import type { Updates } from "./bundles.ts";
import { StreamFollower, type StreamFollowerOptions } from "./stream-follower.ts";
import { WorkloadApi, type WorkloadOptions } from "./workload-api.ts";

/** Which stream of the Workload API a source follows, and how its messages are read. */
export type StreamOf<Message, State> = Pick<StreamFollowerOptions<Message, State>, "what" | "open" | "read">;

/**
 * A source that one stream of the Workload API keeps fresh: what all kinds of source have in common. It owns the stream
 * and the connection that carries it.
 */
export abstract class StreamSource<Message, State> implements Updates, AsyncDisposable {
  protected readonly api: WorkloadApi;
  protected readonly follower: StreamFollower<Message, State>;

  /** Begins the stream that `streamOf` names and does not wait. @throws AssayError `CONFIG_INVALID` for the address. */
  constructor(options: WorkloadOptions, streamOf: (api: WorkloadApi) => StreamOf<Message, State>) {
    this.api = new WorkloadApi(options);
    this.follower = new StreamFollower({ ...this.api.surroundings, ...streamOf(this.api) });
  }

  /**
   * Why this source will hear of no change any more: the endpoint has refused for good, or the source was disposed of;
   * `undefined` while it follows its stream, troubled or not. What it had before a refusal still stands, and goes stale.
   */
  get ended(): AssayError | undefined {
    return this.follower.ended;
  }

  /** Calls back after each change, a withdrawal and the end of the source among them. */
  onUpdate(listener: () => void): Disposable {
    return this.follower.onUpdate(listener);
  }

  /** Waits for the first message, `timeout` in milliseconds. @throws AssayError as the function that opens the source. */
  ready(timeout: number, signal?: AbortSignal): Promise<void> {
    return this.follower.ready(timeout, signal);
  }

  /** Ends the stream and forgets the material. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.follower[Symbol.asyncDispose]();
    this.api[Symbol.dispose]();
  }
}
