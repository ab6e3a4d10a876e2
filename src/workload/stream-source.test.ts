import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { makeAuthority, makeFactoryKey } from "../../test/fakes/svid-factory.ts";
import { FakeWorkloadEndpoint, REFUSALS } from "../../test/fakes/workload-endpoint.ts";
import {
  jwkSetBytes,
  jwkSetText,
  witSvidMessage,
  x509SvidMessage,
} from "../../test/fakes/workload-messages.ts";
import type { AssayError } from "../errors/assay-error.ts";
import { openWitBundleSource, openX509BundleSource } from "./bundle-sources.ts";
import { openJwtSource } from "./jwt-source.ts";
import { openWitSource } from "./wit-source.ts";
import { openX509Source } from "./x509-source.ts";

const TD = "spiffe://factory.test";
const ID = `${TD}/workload`;
const authority = makeAuthority("factory.test");
const key = makeFactoryKey();

let endpoint: FakeWorkloadEndpoint;
let problems: AssayError[];
beforeEach(async () => {
  endpoint = await FakeWorkloadEndpoint.open();
  problems = [];
});
afterEach(async () => {
  await endpoint[Symbol.asyncDispose]();
});

const options = () => ({
  address: endpoint.address,
  random: () => 0,
  onProblem: (problem: AssayError) => problems.push(problem),
});

const x509 = () => ({ svids: [x509SvidMessage(ID, authority)] });

describe("a source that is refused for good", () => {
  it.each([
    ["X509-SVIDs", "fetchX509SVID", openX509Source, x509],
    ["X.509 bundles", "fetchX509Bundles", openX509BundleSource, () => ({ bundles: { [TD]: authority.der } })],
    ["JWT bundles", "fetchJWTBundles", openJwtSource, () => ({ bundles: { [TD]: jwkSetBytes({ a: key }) } })],
    ["WIT-SVIDs", "fetchWITSVID", openWitSource, () => ({ svids: [witSvidMessage(ID, key)] })],
    [
      "WIT bundles",
      "fetchWITBundles",
      openWitBundleSource,
      () => ({ bundles: { [TD]: jwkSetText({ a: key }) } }),
    ],
  ] as const)("says so to who listens, and why to who asks: %s", async (_, method, begin, message) => {
    endpoint.send(method, message());
    await using source = await begin(options());
    expect(source.ended).toBeUndefined();
    const { promise, resolve } = Promise.withResolvers<void>();
    using _update = source.onUpdate(resolve);
    endpoint.fail(method, REFUSALS.INVALID_ARGUMENT);
    await promise;
    expect(source.ended).toMatchObject({ code: "INVALID_REQUEST" });
    expect(problems).toEqual([source.ended]);
  });

  it("keeps what it has: nothing was said against it", async () => {
    endpoint.send("fetchX509SVID", x509());
    await using source = await openX509Source(options());
    const { serial } = source.x509Svid();
    const { promise, resolve } = Promise.withResolvers<void>();
    using _update = source.onUpdate(resolve);
    endpoint.fail("fetchX509SVID", REFUSALS.INVALID_ARGUMENT);
    await promise;
    expect(source.x509Svid().serial).toBe(serial);
    expect(source.x509Bundles().size).toBe(1);
  });

  it("is not one that is denied, which may have an identity again", async () => {
    endpoint.send("fetchX509SVID", x509());
    await using source = await openX509Source(options());
    const { promise, resolve } = Promise.withResolvers<void>();
    using _update = source.onUpdate(resolve);
    endpoint.fail("fetchX509SVID", REFUSALS.PERMISSION_DENIED);
    await promise;
    expect(source.ended).toBeUndefined();
  });

  it("is told from one that its program has disposed of", async () => {
    endpoint.send("fetchX509SVID", x509());
    const source = await openX509Source(options());
    await source[Symbol.asyncDispose]();
    expect(source.ended).toMatchObject({ code: "CANCELLED" });
  });
});
