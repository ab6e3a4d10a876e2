import {
  create,
  type DescMessage,
  type DescMethod,
  type DescService,
  fromBinary,
  type Message,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import type { MethodDefinition } from "@grpc/grpc-js";
import { AssayError } from "../errors/assay-error.ts";

/** A request whose bytes are not the message they should be; the handler is never called with one. */
export class Malformed {
  readonly error: AssayError;

  constructor(error: AssayError) {
    this.error = error;
  }
}

/** The path of a method on the wire, `/package.Service/Method`. */
export function methodPath(method: DescMethod): string {
  return `/${method.parent.typeName}/${method.name}`;
}

/**
 * A method as the gRPC library knows it. Responses are expected as bytes of {@link encode}, so that a message that
 * cannot be written is an error of the handler and not of the transport.
 */
export function serverMethod(method: DescMethod): MethodDefinition<Message | Malformed, Buffer> {
  const { input } = method;
  return {
    path: methodPath(method),
    requestStream: method.methodKind === "client_streaming" || method.methodKind === "bidi_streaming",
    responseStream: method.methodKind === "server_streaming" || method.methodKind === "bidi_streaming",
    requestSerialize: () => refuseDirection(),
    requestDeserialize(bytes) {
      try {
        return decode(input, bytes);
      } catch (error) {
        return new Malformed(
          new AssayError("INVALID_REQUEST", `request must be a ${input.typeName} in protobuf's binary form`, {
            cause: error,
          }),
        );
      }
    },
    responseSerialize: (bytes) => bytes,
    responseDeserialize: () => refuseDirection(),
  };
}

/** The bytes of a message, or of what a message can be made from. Throws what protobuf-es throws. */
export function encode<Desc extends DescMessage>(schema: Desc, init: MessageInitShape<Desc>): Buffer {
  const bytes = toBinary(schema, create(schema, init));
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/**
 * The message in some bytes; its `bytes` fields are views on them. Fields that the schema does not know are dropped,
 * so nothing unread is kept or passed on. Throws what protobuf-es throws.
 */
export function decode<Desc extends DescMessage>(schema: Desc, bytes: Uint8Array): MessageShape<Desc> {
  return fromBinary(schema, bytes, { readUnknownFields: false });
}

/** What a message of any type can be made from. */
export type AnyMessageInit = MessageInitShape<DescMessage>;

/** The methods of a service that carry their types: what `protoc-gen-es` generates. */
export type TypedService = Omit<DescService, "method"> & {
  readonly method: Readonly<Record<string, TypedMethod>>;
};

/** One method of a {@link TypedService}. */
export type TypedMethod = DescMethod | Pick<DescMethod, "input" | "output" | "methodKind">;

function refuseDirection(): never {
  throw new AssayError("INTERNAL", "a server neither writes requests nor reads responses");
}
