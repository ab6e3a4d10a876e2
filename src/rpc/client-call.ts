import type { AnyMessageInit } from "./service-definition.ts";
import { rpcErrorFrom } from "./status.ts";

/** What may accompany a call. */
export interface CallOptions {
  /** Milliseconds after which the call fails with DEADLINE_EXCEEDED. Without end unless told. */
  readonly timeout?: number;
  /** Cancels the call; it fails with CANCELLED. */
  readonly signal?: AbortSignal;
  /** Metadata, by key in lower case. */
  readonly headers?: Readonly<Record<string, string>>;
}

/**
 * A conversation. Begins at once. Iterating gives the server's messages and fails with an {@link RpcError} unless the
 * server ended it with OK; leaving the iteration early cancels the call.
 */
export interface BidiCall<Input, Output> extends AsyncIterable<Output> {
  /** Sends a message; resolves when there is room for the next. Rejects with an RpcError if the call has ended. */
  send(message: Input): Promise<void>;
  /** Says that there will be no more messages. */
  end(): void;
  /** Gives the call up. */
  cancel(): void;
  [Symbol.asyncIterator](): AsyncGenerator<Output, void, undefined>;
}

/** The part of the gRPC library's calls that reading needs. */
export interface IncomingCall {
  on(event: "error", listener: (error: unknown) => void): unknown;
  once(event: "close" | "status", listener: () => void): unknown;
  iterator(options: { destroyOnReturn: boolean }): AsyncIterator<unknown> & AsyncIterable<unknown>;
  cancel(): void;
}

/** Remembers why a call failed, from its beginning: the library says it once, perhaps before anyone listens. */
export class CallOutcome {
  #error: unknown;
  #failed = false;
  #ended = false;
  readonly #onEnd = new Set<() => void>();

  constructor(call: IncomingCall) {
    call.on("error", (error) => {
      if (!this.#failed) this.#error = error;
      this.#failed = true;
      this.#end();
    });
    call.once("status", () => this.#end());
  }

  /** Calls back when the call has ended, however it did. */
  whenEnded(callback: () => void): void {
    if (this.#ended) callback();
    else this.#onEnd.add(callback);
  }

  /** Takes {@link whenEnded} back. */
  forget(callback: () => void): void {
    this.#onEnd.delete(callback);
  }

  get ended(): boolean {
    return this.#ended;
  }

  /** Throws why the call failed, if it did. */
  check(): void {
    if (this.#failed) throw rpcErrorFrom(this.#error);
  }

  #end(): void {
    this.#ended = true;
    for (const callback of this.#onEnd) callback();
    this.#onEnd.clear();
  }
}

/** The messages of a call that was begun. */
export async function* messagesOf<Output>(
  call: IncomingCall,
  outcome: CallOutcome,
): AsyncGenerator<Output, void, undefined> {
  try {
    for await (const message of call.iterator({ destroyOnReturn: false })) yield message as Output;
    outcome.check();
  } catch (error) {
    outcome.check();
    throw rpcErrorFrom(error);
  } finally {
    if (!outcome.ended) call.cancel();
  }
}

/** The part of the gRPC library's conversations that writing needs. */
export interface OutgoingCall extends IncomingCall {
  write(message: AnyMessageInit, written: (error?: Error | null) => void): boolean;
  end(): unknown;
}

/** A conversation over the library's call. */
export class LibraryBidiCall<Input extends AnyMessageInit, Output> implements BidiCall<Input, Output> {
  readonly #call: OutgoingCall;
  readonly #outcome: CallOutcome;

  constructor(call: OutgoingCall, outcome: CallOutcome) {
    this.#call = call;
    this.#outcome = outcome;
  }

  async send(message: Input): Promise<void> {
    await new Promise<void>((resolve) => {
      if (this.#outcome.ended) {
        resolve();
        return;
      }
      // A call that ends forgets the messages it was told to write.
      this.#outcome.whenEnded(resolve);
      this.#call.write(message, () => {
        this.#outcome.forget(resolve);
        resolve();
      });
    });
    this.#outcome.check();
  }

  end(): void {
    this.#call.end();
  }

  cancel(): void {
    this.#call.cancel();
  }

  [Symbol.asyncIterator](): AsyncGenerator<Output, void, undefined> {
    return messagesOf<Output>(this.#call, this.#outcome);
  }
}
