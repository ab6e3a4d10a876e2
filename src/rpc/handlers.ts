import type { DescMessage, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import type { TypedMethod, TypedService } from "./service-definition.ts";

/** Answers one request. May answer at once, without a promise. */
export type UnaryHandler<Input extends DescMessage, Output extends DescMessage, Context> = (
  request: MessageShape<Input>,
  context: Context,
) => MessageInitShape<Output> | Promise<MessageInitShape<Output>>;

/** Answers one request with messages, each taken only when the one before has left. */
export type ServerStreamHandler<Input extends DescMessage, Output extends DescMessage, Context> = (
  request: MessageShape<Input>,
  context: Context,
) => AsyncIterable<MessageInitShape<Output>>;

/** Answers messages with messages. Iterating the requests fails when the call ends before its time. */
export type BidiHandler<Input extends DescMessage, Output extends DescMessage, Context> = (
  requests: AsyncIterable<MessageShape<Input>>,
  context: Context,
) => AsyncIterable<MessageInitShape<Output>>;

/** The handler that a method of this kind needs. Client streaming has none: no service of ours uses it. */
export type HandlerOf<Method extends TypedMethod, Context> = Method["methodKind"] extends "unary"
  ? UnaryHandler<Method["input"], Method["output"], Context>
  : Method["methodKind"] extends "server_streaming"
    ? ServerStreamHandler<Method["input"], Method["output"], Context>
    : Method["methodKind"] extends "bidi_streaming"
      ? BidiHandler<Method["input"], Method["output"], Context>
      : never;

/** Handlers of a service by the methods' local names. A method without one answers UNIMPLEMENTED. */
export type ServiceHandlers<Service extends TypedService, Context> = {
  readonly [Name in keyof Service["method"]]?: HandlerOf<Service["method"][Name], Context>;
};
