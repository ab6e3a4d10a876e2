import type { Metadata } from "@grpc/grpc-js";
import type { Clock } from "../clock.ts";
import { AssayError } from "../errors/assay-error.ts";

/** What a handler may know of the call it answers. */
export interface CallContext<Peer, Caller> {
  /** `/package.Service/Method`. */
  readonly method: string;
  /** What was known about the connection when it was handed over. */
  readonly peer: Peer;
  /** What the server's `before` hook made of it. */
  readonly caller: Caller;
  /** Unix milliseconds; undefined if the caller set no deadline. */
  readonly deadline: number | undefined;
  /**
   * Aborted, with an `AssayError` as reason, when nobody waits for the answer any more: CANCELLED,
   * DEADLINE_EXCEEDED or SHUTTING_DOWN. Made on first use.
   */
  readonly signal: AbortSignal;
  /** The text of a metadata key in lower case; undefined if it is absent. Several values come joined by commas. */
  header(name: string): string | undefined;
}

/** The part of the gRPC library's calls that all kinds share. */
export interface AnyServerCall {
  readonly cancelled: boolean;
  readonly metadata: Metadata;
  getDeadline(): Date | number;
  once(event: "cancelled", listener: () => void): unknown;
}

/** The context as the server sees it: it also ends the call. */
export class ServerCallContext<Peer, Caller> implements CallContext<Peer, Caller> {
  readonly method: string;
  readonly peer: Peer;
  readonly #call: AnyServerCall;
  readonly #clock: Clock;
  #caller: Caller | undefined;
  #controller: AbortController | undefined;
  #ended = false;
  #reason: AssayError | undefined;

  constructor(method: string, peer: Peer, call: AnyServerCall, clock: Clock) {
    this.method = method;
    this.peer = peer;
    this.#call = call;
    this.#clock = clock;
  }

  get caller(): Caller {
    return this.#caller as Caller;
  }

  set caller(caller: Caller) {
    this.#caller = caller;
  }

  get deadline(): number | undefined {
    const deadline = this.#call.getDeadline();
    const milliseconds = typeof deadline === "number" ? deadline : deadline.getTime();
    return Number.isFinite(milliseconds) ? milliseconds : undefined;
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#reason !== undefined) this.#controller.abort(this.#reason);
      else if (this.#call.cancelled) this.cancelled();
      else this.#call.once("cancelled", () => this.cancelled());
    }
    return this.#controller.signal;
  }

  /** Why the call ended without its handler; undefined while it has not. */
  get reason(): AssayError | undefined {
    return this.#reason;
  }

  header(name: string): string | undefined {
    const values = this.#call.metadata.get(name);
    return values.length === 0 ? undefined : values.join(",");
  }

  /** The answer is on its way; what happens to the connection from here on concerns nobody. */
  finish(): void {
    this.#ended = true;
  }

  /** The caller went away or its deadline passed. Says which. */
  cancelled(): AssayError {
    // Told twice, by the stream and by its signal; an error with its stack is not made for nothing.
    if (this.#reason !== undefined) return this.#reason;
    const deadline = this.deadline;
    // A timer may fire within the millisecond before its time.
    const late = deadline !== undefined && this.#clock.now() + 1 >= deadline;
    return this.abort(
      late
        ? new AssayError("DEADLINE_EXCEEDED", "the call's deadline has passed")
        : new AssayError("CANCELLED", "the caller has cancelled the call"),
    );
  }

  /** Ends the call for a reason of its own. The first reason stays. */
  abort(reason: AssayError): AssayError {
    if (this.#ended) return this.#reason ?? reason;
    this.#ended = true;
    this.#reason = reason;
    this.#controller?.abort(reason);
    return reason;
  }
}
