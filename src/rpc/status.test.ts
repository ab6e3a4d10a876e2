import { create, toBinary } from "@bufbuild/protobuf";
import { Metadata, status as GrpcStatus } from "@grpc/grpc-js";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { AssayError } from "../errors/assay-error.ts";
import { CODES, type ErrorCode } from "../errors/codes.ts";
import { EntrySchema } from "../proto/gen/spire/api/types/entry_pb.ts";
import { RpcError, rpcErrorFrom, statusNumber, wireStatus } from "./status.ts";

describe("wireStatus", () => {
  it.each(Object.keys(CODES) as ErrorCode[])("gives %s its number of the table", (code) => {
    expect(wireStatus(new AssayError(code, "d")).code).toBe(GrpcStatus[CODES[code].grpc]);
    expect(statusNumber(code)).toBe(GrpcStatus[CODES[code].grpc]);
  });

  it("shows the detail to a caller only where the table allows it", () => {
    expect(wireStatus(new AssayError("NOT_FOUND", "entry x")).details).toBe("entry x");
    expect(wireStatus(new AssayError("STORE_UNAVAILABLE", "disk /dev/sda is full")).details).not.toContain(
      "sda",
    );
  });

  it("always gives a text that can be sent and is short enough", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 1500 }), (text) => {
        const { details } = wireStatus(new AssayError("INVALID_REQUEST", text));
        expect(encodeURI(details).length).toBeLessThan(4096);
      }),
    );
    expect(wireStatus(new AssayError("INVALID_REQUEST", `a\ud800b`)).details).toBe("a\ufffdb");
    const long = wireStatus(new AssayError("INVALID_REQUEST", "€".repeat(10_000))).details;
    expect(long).toMatch(/^€{400,}\.\.\.$/);
    expect(wireStatus(new AssayError("INVALID_REQUEST", "x".repeat(3900))).details).toHaveLength(3900);
  });
});

describe("rpcErrorFrom", () => {
  it.each([
    "AGENT_EXPIRED",
    "AGENT_NOT_ATTESTED",
    "AGENT_NOT_ACTIVE",
    "AGENT_BANNED",
    "AGENT_MUST_REATTEST",
    "AUTHORIZATION_DENIED",
  ] as const)("brings %s back with its reason", (code) => {
    const sent = wireStatus(new AssayError(code, "authorization denied for method /a.B/C"));
    const error = rpcErrorFrom(serviceError(sent.code, sent.details, sent.metadata));
    expect(error).toBeInstanceOf(RpcError);
    expect(error).toMatchObject({
      code,
      status: "PERMISSION_DENIED",
      reason: code === "AUTHORIZATION_DENIED" ? "UNKNOWN" : code,
      detail: "authorization denied for method /a.B/C",
    });
  });

  it.each([
    ["WORKLOAD_REFERENCE_INVALID", "INVALID_ARGUMENT"],
    ["WORKLOAD_NOT_FOUND", "NOT_FOUND"],
    ["WORKLOAD_NOT_ENTITLED", "PERMISSION_DENIED"],
  ] as const)("brings %s back, and tells it as google.rpc.ErrorInfo", (code, status) => {
    const sent = wireStatus(new AssayError(code, "d"));
    const info = Buffer.concat([
      Buffer.from([10, code.length]),
      Buffer.from(code),
      Buffer.from([18, 9]),
      Buffer.from("spiffe.io"),
    ]);
    const [details] = sent.metadata?.get("grpc-status-details-bin") ?? [];
    expect(Buffer.from(details ?? "").includes(info)).toBe(true);
    expect(rpcErrorFrom(serviceError(sent.code, sent.details, sent.metadata))).toMatchObject({
      code,
      status,
      reason: undefined,
    });
  });

  it("writes the details as other implementations read them", () => {
    const { metadata } = wireStatus(new AssayError("AGENT_BANNED", "d"));
    const type = "type.googleapis.com/spire.api.types.PermissionDeniedDetails";
    const any = Buffer.concat([
      Buffer.from([0x0a, type.length]),
      Buffer.from(type),
      Buffer.from([0x12, 2, 8, 4]),
    ]);
    const expected = Buffer.concat([Buffer.from([8, 7, 0x12, 1, 0x64, 0x1a, any.length]), any]);
    expect(metadata?.get("grpc-status-details-bin")).toEqual([expected]);
  });

  it("attaches no details to other denials", () => {
    expect(wireStatus(new AssayError("NO_IDENTITY_ISSUED", "no identity issued")).metadata).toBeUndefined();
  });

  it("keeps the status when the details cannot be read", () => {
    for (const bytes of [
      Buffer.from([0xff]),
      Buffer.alloc(0),
      Buffer.from(toBinary(EntrySchema, create(EntrySchema, { id: "x" }))),
    ]) {
      const metadata = new Metadata();
      metadata.set("grpc-status-details-bin", bytes);
      expect(rpcErrorFrom(serviceError(7, "no", metadata))).toMatchObject({
        code: "AUTHORIZATION_DENIED",
        reason: undefined,
      });
    }
  });

  it("knows the Workload API's word for no identity", () => {
    expect(rpcErrorFrom(serviceError(7, "no identity issued")).code).toBe("NO_IDENTITY_ISSUED");
  });

  it.each([
    [14, "SERVER_UNAVAILABLE"],
    [4, "DEADLINE_EXCEEDED"],
    [1, "CANCELLED"],
    [12, "UNIMPLEMENTED"],
    [5, "NOT_FOUND"],
    [99, "INTERNAL"],
    [-1, "INTERNAL"],
  ])("reads status %i as %s", (number, code) => {
    expect(rpcErrorFrom(serviceError(number, "x")).code).toBe(code);
  });

  it("hands an AssayError through and makes INTERNAL of what it does not know", () => {
    const known = new AssayError("NOT_FOUND", "x");
    expect(rpcErrorFrom(known)).toBe(known);
    expect(rpcErrorFrom("oops")).toMatchObject({ code: "INTERNAL", detail: "oops" });
  });

  it("is told apart from an AssayError that is none", () => {
    expect(new AssayError("NOT_FOUND", "x")).not.toBeInstanceOf(RpcError);
    expect(new RpcError("NOT_FOUND", "x", "NOT_FOUND")).toBeInstanceOf(AssayError);
  });
});

function serviceError(code: number, details: string, metadata = new Metadata()): Error {
  return Object.assign(new Error(`${code}: ${details}`), { code, details, metadata });
}
