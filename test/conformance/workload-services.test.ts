import { type DescService, fromBinary } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ServerReflection } from "../../src/proto/gen/grpc/reflection/v1/reflection_pb.ts";
import { ServerReflection as ServerReflectionV1Alpha } from "../../src/proto/gen/grpc/reflection/v1alpha/reflection_pb.ts";
import { SpiffeWorkloadAPI } from "../../src/proto/gen/spiffe/workload/workload_pb.ts";
import { makeWorld, type World } from "./world.ts";

let world: World;

beforeAll(async () => {
  world = await makeWorld();
});

afterAll(() => world?.[Symbol.asyncDispose]());

describe("services", () => {
  it.each(["WE-27", "WA-04", "WA-05"])(
    "%s are as the standard has them: SpiffeWorkloadAPI and its seven calls",
    () => {
      const service: DescService = SpiffeWorkloadAPI;
      expect(service.typeName).toBe("SpiffeWorkloadAPI");
      expect(service.file.proto.package).toBe("");
      expect(Object.fromEntries(service.methods.map((method) => [method.name, shapeOf(method)]))).toEqual({
        FetchX509SVID:
          "server_streaming {} -> {1 svids {1 spiffe_id, 2 x509_svid, 3 x509_svid_key, 4 bundle, 5 hint}, 2 crl, 3 federated_bundles}",
        FetchX509Bundles: "server_streaming {} -> {1 crl, 2 bundles}",
        FetchJWTSVID: "unary {1 audience, 2 spiffe_id} -> {1 svids {1 spiffe_id, 2 svid, 3 hint}}",
        FetchJWTBundles: "server_streaming {} -> {1 bundles}",
        ValidateJWTSVID: "unary {1 audience, 2 svid} -> {1 spiffe_id, 2 claims}",
        FetchWITSVID:
          "server_streaming {1 spiffe_id} -> {1 svids {1 spiffe_id, 2 wit_svid, 3 wit_svid_key, 4 hint}}",
        FetchWITBundles: "server_streaming {} -> {1 bundles}",
      });
    },
  );
});

describe("reflection", () => {
  const versions = [ServerReflection, ServerReflectionV1Alpha] as const;

  /** What reflection says to one question, by the client of either version. */
  async function reflect(
    version: (typeof versions)[number],
    messageRequest: { readonly case: "listServices" | "fileContainingSymbol"; readonly value: string },
  ) {
    const call = world.workload.service(version as typeof ServerReflection).serverReflectionInfo();
    await call.send({ messageRequest });
    call.end();
    for await (const { messageResponse } of call) return messageResponse;
    throw new Error("there was no answer");
  }

  it.each(["WE-26", "WE-29"])(
    "%s lists the services: the Workload API, and what is new under names of its own",
    async () => {
      for (const version of versions) {
        const { case: kind, value } = await reflect(version, { case: "listServices", value: "" });
        const names = kind === "listServicesResponse" ? value.service.map(({ name }) => name) : [];
        expect(names).toContain("SpiffeWorkloadAPI");
        expect(names).toContain("grpc.reflection.v1.ServerReflection");
        expect(new Set(names).size).toBe(names.length);
        // Whatever else there is stands in a package of its own.
        expect(names.filter((name) => !name.includes("."))).toEqual(["SpiffeWorkloadAPI"]);
      }
    },
  );

  it("WE-29 has the file of a symbol, and needs no header", async () => {
    for (const version of versions) {
      const { case: kind, value } = await reflect(version, {
        case: "fileContainingSymbol",
        value: "SpiffeWorkloadAPI",
      });
      const [file] = kind === "fileDescriptorResponse" ? value.fileDescriptorProto : [];
      const descriptor = fromBinary(FileDescriptorProtoSchema, file ?? Buffer.of());
      expect(descriptor.service.map(({ name }) => name)).toEqual(["SpiffeWorkloadAPI"]);
    }
  });

  it("WE-27 tells of the Workload API no more than the standard has", async () => {
    const { case: kind, value } = await reflect(ServerReflection, {
      case: "fileContainingSymbol",
      value: "SpiffeWorkloadAPI",
    });
    const [file] = kind === "fileDescriptorResponse" ? value.fileDescriptorProto : [];
    const [service] = fromBinary(FileDescriptorProtoSchema, file ?? Buffer.of()).service;
    expect(service?.method.map(({ name }) => name)).toEqual(
      SpiffeWorkloadAPI.methods.map(({ name }) => name),
    );
  });
});

type Method = DescService["methods"][number];

function shapeOf({ methodKind, input, output }: Method): string {
  return `${methodKind} ${fieldsOf(input)} -> ${fieldsOf(output)}`;
}

function fieldsOf(message: Method["input"]): string {
  const fields = message.fields.map((field) => {
    const inner =
      field.fieldKind === "list" && field.listKind === "message" ? ` ${fieldsOf(field.message)}` : "";
    return `${field.number} ${field.name}${inner}`;
  });
  return `{${fields.join(", ")}}`;
}
