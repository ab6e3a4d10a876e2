import { create, createFileRegistry, fromBinary } from "@bufbuild/protobuf";
import {
  FileDescriptorProtoSchema,
  type FileDescriptorSet,
  FileDescriptorSetSchema,
} from "@bufbuild/protobuf/wkt";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { systemClock } from "../clock.ts";
import { Health } from "../proto/gen/grpc/health/v1/health_pb.ts";
import { ServerReflection } from "../proto/gen/grpc/reflection/v1/reflection_pb.ts";
import { ServerReflection as ServerReflectionV1Alpha } from "../proto/gen/grpc/reflection/v1alpha/reflection_pb.ts";
import { SpiffeWorkloadAPI } from "../proto/gen/spiffe/workload/workload_pb.ts";
import { RpcClient } from "./client.ts";
import { HealthBoard } from "./health.ts";
import { registerReflection } from "./reflection.ts";
import { RpcServer } from "./server.ts";

let server: RpcServer<null>;
let client: RpcClient;
let stop: () => Promise<void>;

beforeEach(async () => {
  server = new RpcServer<null>({ clock: systemClock, before: () => undefined });
  registerReflection(server);
  server.register(Health, new HealthBoard({}).handlers());
  const folder = mkdtempSync(join(tmpdir(), "reflection-"));
  const listener = net.createServer((socket) => server.injectConnection(socket, null));
  listener.listen({ path: join(folder, "s") });
  await once(listener, "listening");
  client = new RpcClient({ target: { kind: "unix", path: join(folder, "s") } });
  stop = async () => {
    client[Symbol.dispose]();
    listener.close();
    await server.shutdown(0);
    rmSync(folder, { recursive: true });
  };
});
afterEach(() => stop());

describe.each([
  ["v1", ServerReflection],
  ["v1alpha", ServerReflectionV1Alpha],
] as const)("server reflection %s", (_version, service) => {
  async function ask(messageRequest: NonNullable<Asked>) {
    const call = client.service(service as typeof ServerReflection).serverReflectionInfo();
    await call.send({ host: "h", messageRequest });
    const { value } = await call[Symbol.asyncIterator]().next();
    call.cancel();
    expect(value).toMatchObject({ validHost: "h", originalRequest: { host: "h", messageRequest } });
    return value?.messageResponse;
  }

  async function files(messageRequest: NonNullable<Asked>) {
    const response = await ask(messageRequest);
    if (response?.case !== "fileDescriptorResponse") throw new Error("expected files");
    return response.value.fileDescriptorProto.map((bytes) => fromBinary(FileDescriptorProtoSchema, bytes));
  }

  it("lists the services, itself included, also those registered later", async () => {
    const expected = [
      "grpc.health.v1.Health",
      "grpc.reflection.v1.ServerReflection",
      "grpc.reflection.v1alpha.ServerReflection",
    ];
    const list = async () => {
      const response = await ask({ case: "listServices", value: "" });
      return response?.case === "listServicesResponse" ? response.value.service.map(({ name }) => name) : [];
    };
    expect(await list()).toEqual(expected);
    server.register(SpiffeWorkloadAPI, { fetchJWTSVID: () => ({}) });
    expect(await list()).toEqual(["SpiffeWorkloadAPI", ...expected]);
  });

  it("tells the file of a service, method, message and field with all it imports, so that a client can use it", async () => {
    server.register(SpiffeWorkloadAPI, { fetchJWTSVID: () => ({}) });
    for (const symbol of [
      "SpiffeWorkloadAPI",
      "SpiffeWorkloadAPI.FetchX509SVID",
      "X509SVIDResponse",
      "X509SVIDResponse.svids",
    ]) {
      const found = await files({ case: "fileContainingSymbol", value: symbol });
      expect(found[0]?.service[0]?.name).toBe("SpiffeWorkloadAPI");
      expect(found.map(({ name }) => name)).toContain("google/protobuf/struct.proto");
      const set: FileDescriptorSet = create(FileDescriptorSetSchema, { file: found.toReversed() });
      expect(createFileRegistry(set).getService("SpiffeWorkloadAPI")?.methods.length).toBeGreaterThan(4);
    }
  });

  it("tells a file by its name, of an import too", async () => {
    const [own] = await files({ case: "fileByFilename", value: "grpc/health/v1/health.proto" });
    expect(own?.package).toBe("grpc.health.v1");
    server.register(SpiffeWorkloadAPI, { fetchJWTSVID: () => ({}) });
    const imported = await files({ case: "fileByFilename", value: "google/protobuf/struct.proto" });
    expect(imported.map(({ name }) => name)).toEqual(["google/protobuf/struct.proto"]);
  });

  it("tells that a message has no extensions", async () => {
    const value = "grpc.health.v1.HealthCheckRequest";
    expect(await ask({ case: "allExtensionNumbersOfType", value })).toMatchObject({
      value: { baseTypeName: value, extensionNumber: [] },
    });
  });

  it.each([
    { case: "fileByFilename", value: "a.proto" },
    { case: "fileContainingSymbol", value: "toString" },
    { case: "fileContainingSymbol", value: "" },
    {
      case: "fileContainingExtension",
      value: { containingType: "grpc.health.v1.HealthCheckRequest", extensionNumber: 7 },
    },
    { case: "allExtensionNumbersOfType", value: "x.Y" },
  ] as const)("answers NOT_FOUND to $case of the unknown, and the stream goes on", async (unknown) => {
    const call = client.service(service as typeof ServerReflection).serverReflectionInfo();
    const answers = call[Symbol.asyncIterator]();
    for (let i = 0; i < 3; i++) {
      await call.send({ messageRequest: unknown });
      expect((await answers.next()).value?.messageResponse).toMatchObject({
        case: "errorResponse",
        value: { errorCode: 5 },
      });
    }
    call.cancel();
  });

  it("answers INVALID_ARGUMENT to a request that asks nothing", async () => {
    expect(await ask({ case: undefined })).toMatchObject({ case: "errorResponse", value: { errorCode: 3 } });
  });

  it("takes no name of more than 1024 characters", async () => {
    const call = client.service(service as typeof ServerReflection).serverReflectionInfo();
    await call.send({ messageRequest: { case: "fileContainingSymbol", value: "x".repeat(1025) } });
    await expect(call[Symbol.asyncIterator]().next()).rejects.toThrowCode("INVALID_REQUEST", /1024/);
  });
});

type Asked =
  | {
      readonly case: "listServices" | "fileByFilename" | "fileContainingSymbol" | "allExtensionNumbersOfType";
      readonly value: string;
    }
  | {
      readonly case: "fileContainingExtension";
      readonly value: { readonly containingType: string; readonly extensionNumber: number };
    }
  | { readonly case: undefined };
