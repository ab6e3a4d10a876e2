import { describe, expect, it } from "vitest";
import { makeAuthority, makeFactoryKey } from "../../test/fakes/svid-factory.ts";
import { jwkSetBytes, jwkSetText, x509SvidMessage } from "../../test/fakes/workload-messages.ts";
import type { AssayError } from "../errors/assay-error.ts";
import {
  X509BundlesResponseSchema,
  X509SVIDResponseSchema,
} from "../proto/gen/spiffe/workload/workload_pb.ts";
import { create } from "@bufbuild/protobuf";
import { readJwtBundles, readWitBundles, readX509Bundles } from "./read-bundles.ts";
import { readX509Material } from "./read-x509-svids.ts";

const OWN = "spiffe://factory.test";
const BAD = "spiffe://bad.test";
const GOOD = "spiffe://good.test";
const authority = makeAuthority("factory.test");
const foreign = makeAuthority("good.test");
// What another trust domain publishes need not be read here as it is where it is passed on.
const odd = Buffer.concat([foreign.der, Buffer.of(0x30)]);

describe("a bundle that cannot be read, of one trust domain among several", () => {
  const problems: AssayError[] = [];
  const report = (problem: AssayError) => problems.push(problem);

  it("spoils neither X509-SVIDs nor the other bundles of their message", () => {
    const message = create(X509SVIDResponseSchema, {
      svids: [x509SvidMessage(`${OWN}/web`, authority)],
      federatedBundles: { [BAD]: odd, [GOOD]: foreign.der },
    });
    const { svids, bundles } = readX509Material(message, report);
    expect(svids).toHaveLength(1);
    expect([...bundles.keys()]).toEqual(["factory.test", "good.test"]);
    expect(problems.splice(0)).toMatchObject([{ detail: expect.stringContaining("bad.test") as string }]);
  });

  it.each<[string, () => ReadonlyMap<string, unknown>]>([
    [
      "X.509",
      () =>
        readX509Bundles(
          create(X509BundlesResponseSchema, { bundles: { [OWN]: authority.der, [BAD]: odd } }),
          report,
        ),
    ],
    [
      "JWT",
      () => readJwtBundles({ [OWN]: jwkSetBytes({ a: makeFactoryKey() }), [BAD]: Buffer.from("{}") }, report),
    ],
    ["WIT", () => readWitBundles({ [OWN]: jwkSetText({ a: makeFactoryKey() }), [BAD]: "{}" }, report)],
  ])("is left out of %s bundles, and nothing of it is trusted", (_, read) => {
    expect([...read().keys()]).toEqual(["factory.test"]);
    expect(problems.splice(0)).toMatchObject([{ detail: expect.stringContaining("bad.test") as string }]);
  });

  it("is an error where there is no other", () => {
    expect(() => readJwtBundles({ [BAD]: Buffer.from("{}") }, report)).toThrowCode("INVALID_BUNDLE");
    expect(() =>
      readX509Bundles(create(X509BundlesResponseSchema, { bundles: { [BAD]: odd } }), report),
    ).toThrowCode("INVALID_CERTIFICATE");
    expect(problems).toEqual([]);
  });
});
