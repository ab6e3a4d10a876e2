import { type AssayError, toAssayError } from "../errors/assay-error.ts";
import type { ServerCallContext } from "./call-context.ts";
import type { AnyMessageInit } from "./service-definition.ts";
import { type WireStatus, wireStatus } from "./status.ts";

/**
 * The answer of one stream. Takes a message from the handler only when the one before has left for the network, so
 * a slow reader stops its handler and holds one message. Ends exactly once.
 */
export class StreamAnswer {
  readonly #call: OutgoingCall;
  readonly #context: ServerCallContext<unknown, unknown>;
  readonly #encode: (message: AnyMessageInit) => Buffer;
  readonly #ended: (error: AssayError | undefined) => void;
  #messages: AsyncIterator<AnyMessageInit> | undefined;
  #open = true;

  constructor(
    call: OutgoingCall,
    context: ServerCallContext<unknown, unknown>,
    encode: (message: AnyMessageInit) => Buffer,
    ended: (error: AssayError | undefined) => void,
  ) {
    this.#call = call;
    this.#context = context;
    this.#encode = encode;
    this.#ended = ended;
    call.once("cancelled", () => {
      if (this.#open) this.#end(this.#context.cancelled());
    });
  }

  /** Begins to answer. Does nothing if the call has ended meanwhile. */
  run(start: () => AsyncIterable<AnyMessageInit>): void {
    if (!this.#open) return;
    try {
      this.#messages = start()[Symbol.asyncIterator]();
    } catch (error) {
      this.fail(toAssayError(error));
      return;
    }
    this.#next();
  }

  /** Ends the stream with the error's status, unless it has ended. */
  fail(error: AssayError): void {
    if (!this.#open) return;
    this.#context.abort(error);
    // The library's way to end a stream with a status.
    this.#call.emit("error", wireStatus(error));
    this.#end(error);
  }

  // Step by step rather than a loop with races: a race against a long-lived promise keeps every loser in memory.
  #next(): void {
    this.#messages?.next().then(
      (result) => {
        if (this.#open) this.#send(result);
      },
      (error: unknown) => this.fail(toAssayError(error)),
    );
  }

  #send(result: IteratorResult<AnyMessageInit, unknown>): void {
    if (result.done === true) {
      this.#context.finish();
      this.#call.end();
      this.#messages = undefined;
      this.#end(undefined);
      return;
    }
    let bytes: Buffer;
    try {
      bytes = this.#encode(result.value);
    } catch (error) {
      this.fail(toAssayError(error));
      return;
    }
    this.#call.write(bytes, () => {
      if (this.#open) this.#next();
    });
  }

  #end(error: AssayError | undefined): void {
    this.#open = false;
    // Lets the handler's `finally` run. One that waits for something else than its signal hears of it later.
    this.#messages?.return?.().catch(ignore);
    this.#messages = undefined;
    this.#ended(error);
  }
}

/** The part of the gRPC library's streams that an answer needs. */
interface OutgoingCall {
  once(event: "cancelled", listener: () => void): unknown;
  emit(event: "error", status: WireStatus): boolean;
  write(bytes: Buffer, written: () => void): boolean;
  end(): unknown;
}

function ignore(): void {
  // The call has ended: whatever its handler meets while tidying up has nobody to be told to.
}
