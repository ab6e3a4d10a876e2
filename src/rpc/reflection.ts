import { AssayError } from "../errors/assay-error.ts";
import {
  ServerReflection,
  type ServerReflectionRequest,
} from "../proto/gen/grpc/reflection/v1/reflection_pb.ts";
import {
  ServerReflection as ServerReflectionV1Alpha,
  type ServerReflectionRequest as RequestV1Alpha,
} from "../proto/gen/grpc/reflection/v1alpha/reflection_pb.ts";
import type { CallContext } from "./call-context.ts";
import type { ServiceHandlers } from "./handlers.ts";
import { ReflectedFiles } from "./reflected-files.ts";
import type { RpcServer } from "./server.ts";

/**
 * Registers gRPC Server Reflection, `grpc.reflection.v1` and its older name `v1alpha`, for what is registered on a
 * server, itself included, now or later (Workload Endpoint §7). It tells the services and their messages, which are
 * public, and nothing of what they know. Each request gets one answer; names are at most 1024 characters.
 */
export function registerReflection<Peer, Caller>(server: RpcServer<Peer, Caller>): void {
  const files = new ReflectedFiles(() => server.services);
  server.register(ServerReflection, reflectionHandlers(files));
  server.register(ServerReflectionV1Alpha, reflectionHandlers(files));
}

/** The one method of either version; their messages differ in nothing but the package. */
function reflectionHandlers<Peer, Caller>(
  files: ReflectedFiles,
): ServiceHandlers<typeof ServerReflection, CallContext<Peer, Caller>> &
  ServiceHandlers<typeof ServerReflectionV1Alpha, CallContext<Peer, Caller>> {
  return {
    async *serverReflectionInfo(requests: AsyncIterable<ServerReflectionRequest | RequestV1Alpha>) {
      for await (const { host, messageRequest } of requests) {
        requireBounded(host);
        // Without the brands of their version the parts of a request fit either.
        const asked = plain(messageRequest);
        yield {
          validHost: host,
          originalRequest: { host, messageRequest: asked },
          messageResponse: answer(files, asked),
        };
      }
    },
  };
}

function answer(files: ReflectedFiles, asked: Asked): Answer {
  switch (asked.case) {
    case "listServices":
      return {
        case: "listServicesResponse",
        value: { service: files.services().map((name) => ({ name })) },
      };
    case "fileByFilename":
      return found(files.byName(asked.value), "file is not known");
    case "fileContainingSymbol":
      return found(files.bySymbol(asked.value), "symbol is not known");
    case "fileContainingExtension":
      return found(
        files.byExtension(asked.value.containingType, asked.value.extensionNumber),
        "extension is not known",
      );
    case "allExtensionNumbersOfType": {
      const extensionNumber = files.extensionNumbers(asked.value);
      if (extensionNumber === undefined) return failed(NOT_FOUND, "type is not known");
      return {
        case: "allExtensionNumbersResponse",
        value: { baseTypeName: asked.value, extensionNumber: [...extensionNumber] },
      };
    }
    default:
      return failed(INVALID_ARGUMENT, "message_request must be set");
  }
}

function plain(request: ServerReflectionRequest["messageRequest"] | RequestV1Alpha["messageRequest"]): Asked {
  switch (request.case) {
    case undefined:
      return { case: undefined };
    case "fileContainingExtension": {
      const { containingType, extensionNumber } = request.value;
      requireBounded(containingType);
      return { case: request.case, value: { containingType, extensionNumber } };
    }
    default:
      requireBounded(request.value);
      return request;
  }
}

function found(fileDescriptorProto: readonly Uint8Array[] | undefined, otherwise: string): Answer {
  if (fileDescriptorProto === undefined) return failed(NOT_FOUND, otherwise);
  return { case: "fileDescriptorResponse", value: { fileDescriptorProto: [...fileDescriptorProto] } };
}

function failed(errorCode: number, errorMessage: string): Answer {
  return { case: "errorResponse", value: { errorCode, errorMessage } };
}

function requireBounded(name: string): void {
  if (name.length > MAX_NAME) {
    throw new AssayError("INVALID_REQUEST", `names must be at most ${MAX_NAME} characters`);
  }
}

type Answer =
  | { case: "listServicesResponse"; value: { service: { name: string }[] } }
  | { case: "fileDescriptorResponse"; value: { fileDescriptorProto: Uint8Array[] } }
  | { case: "allExtensionNumbersResponse"; value: { baseTypeName: string; extensionNumber: number[] } }
  | { case: "errorResponse"; value: { errorCode: number; errorMessage: string } };

type Asked =
  | {
      case: "listServices" | "fileByFilename" | "fileContainingSymbol" | "allExtensionNumbersOfType";
      value: string;
    }
  | { case: "fileContainingExtension"; value: { containingType: string; extensionNumber: number } }
  | { case: undefined };

const MAX_NAME = 1024;
/** Numbers of gRPC statuses. */
const NOT_FOUND = 5;
const INVALID_ARGUMENT = 3;
