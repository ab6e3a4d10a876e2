import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { describe, expect, it } from "vitest";
import { NodeSchema } from "../../proto/gen/envoy/config/core/v3/base_pb.ts";
import { validationFor } from "./envoy-node.ts";

describe("how an Envoy validates its peers", () => {
  it("is by SPIFFE's rules unless the operator says otherwise, whatever else the node tells", () => {
    expect(validationFor(undefined, false)).toBe("spiffe");
    expect(validationFor(undefined, true)).toBe("plain");
    expect(validationFor(node({ id: "a", metadata: { other: true } }), false)).toBe("spiffe");
    expect(validationFor(node({ id: "a", metadata: { other: true } }), true)).toBe("plain");
  });

  it.each([
    [true, "plain"],
    ["true", "plain"],
    ["1", "plain"],
    ["T", "plain"],
    [false, "spiffe"],
    ["false", "spiffe"],
    ["False", "spiffe"],
    ["0", "spiffe"],
  ])("is what the node's metadata says: %j", (value, expected) => {
    const told = node({ metadata: { disable_spiffe_cert_validation: value } });
    expect([validationFor(told, false), validationFor(told, true)]).toEqual([expected, expected]);
  });

  it.each([[1], ["yes"], [""], [null], [["true"]], [{}]])("is not guessed from metadata of %j", (value) => {
    const told = node({ metadata: { disable_spiffe_cert_validation: value } });
    expect(() => validationFor(told, false)).toThrowCode("INVALID_REQUEST", /disable_spiffe_cert_validation/);
  });

  it.each([
    [1, 17, "plain"],
    [1, 18, "spiffe"],
    [1, 40, "spiffe"],
    [2, 0, "spiffe"],
  ])(
    "is plain for an Envoy that is too old for the validator: %i.%i",
    (majorNumber, minorNumber, expected) => {
      const told = node({
        userAgentVersionType: {
          case: "userAgentBuildVersion",
          value: { version: { majorNumber, minorNumber } },
        },
      });
      expect(validationFor(told, false)).toBe(expected);
    },
  );

  it("is not read off a version that is only a text", () => {
    const told = node({ userAgentVersionType: { case: "userAgentVersion", value: "1.0.0" } });
    expect(validationFor(told, false)).toBe("spiffe");
  });
});

function node(init: MessageInitShape<typeof NodeSchema>) {
  return create(NodeSchema, init);
}
