import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { locateEndpoint } from "../../../src/workload/environment.ts";
import { openWitBundleSource, WorkloadX509Bundles } from "../../../src/workload/bundle-sources.ts";
import { JwtSource, openJwtSource } from "../../../src/workload/jwt-source.ts";
import { openWitSource } from "../../../src/workload/wit-source.ts";
import { openX509Source, X509Source } from "../../../src/workload/x509-source.ts";
import { FakeClock } from "../../fakes/clock.ts";
import { makeAuthority, makeFactoryKey } from "../../fakes/svid-factory.ts";
import { FakeWorkloadEndpoint, REFUSALS } from "../../fakes/workload-endpoint.ts";
import {
  jwkSetBytes,
  jwkSetText,
  jwtSvidMessage,
  witSvidMessage,
  x509SvidMessage,
} from "../../fakes/workload-messages.ts";

const TD = "spiffe://factory.test";
const ID = `${TD}/workload`;
const authority = makeAuthority("factory.test");
const key = makeFactoryKey();
const random = () => 0;

let endpoint: FakeWorkloadEndpoint;
const open: AsyncDisposable[] = [];

beforeEach(async () => {
  endpoint = await FakeWorkloadEndpoint.open();
});
afterEach(async () => {
  vi.unstubAllEnvs();
  for (const source of open.splice(0)) await source[Symbol.asyncDispose]();
  await endpoint[Symbol.asyncDispose]();
});

function sendAll(): void {
  endpoint.send("fetchX509SVID", { svids: [x509SvidMessage(ID, authority)] });
  endpoint.send("fetchX509Bundles", { bundles: { [TD]: authority.der } });
  endpoint.send("fetchJWTBundles", { bundles: { [TD]: jwkSetBytes({ factory: key }) } });
  endpoint.send("fetchJWTSVID", { svids: [jwtSvidMessage(ID, key)] });
  endpoint.send("validateJWTSVID", { spiffeId: ID, claims: { sub: ID } });
  endpoint.send("fetchWITSVID", { svids: [witSvidMessage(ID, key)] });
  endpoint.send("fetchWITBundles", { bundles: { [TD]: jwkSetText({ wit: key }) } });
}

async function callAll(address: string): Promise<void> {
  open.push(await openX509Source({ address }));
  const jwt = await openJwtSource({ address });
  const wit = await openWitSource({ address });
  const witBundles = await openWitBundleSource({ address });
  const x509Bundles = new WorkloadX509Bundles({ address });
  open.push(jwt, wit, witBundles, x509Bundles);
  await x509Bundles.ready(10_000);
  const { token } = await jwt.jwtSvid({ audience: "audience" });
  expect(await jwt.validateRemotely(token, "audience")).toBe(ID);
}

describe("the client and the endpoint", () => {
  it.each(["WE-03", "WE-04"])("%s speaks gRPC, to every method that there is", async () => {
    sendAll();
    await callAll(endpoint.address);
    expect(new Set(endpoint.calls.map(({ method }) => method)).size).toBe(7);
  });

  it("WE-07 sends the security header with each of the seven calls", async () => {
    sendAll();
    await callAll(endpoint.address);
    expect(endpoint.calls.map(({ header }) => header)).toEqual(endpoint.calls.map(() => "true"));
    expect(endpoint.calls.length).toBeGreaterThanOrEqual(7);
  });

  it("WE-12 asks SPIFFE_ENDPOINT_SOCKET where it is told no address", async () => {
    sendAll();
    vi.stubEnv("SPIFFE_ENDPOINT_SOCKET", endpoint.address);
    const source = await openX509Source();
    open.push(source);
    expect(source.x509Svid().spiffeId).toBe(ID);
  });

  it("WE-12 prefers the address that it is told, and says what is missing where there is neither", async () => {
    expect(locateEndpoint("unix:///a", { SPIFFE_ENDPOINT_SOCKET: "unix:///b" })).toMatchObject({
      path: "/a",
    });
    expect(() => locateEndpoint(undefined, {})).toThrowCode("CONFIG_INVALID", "SPIFFE_ENDPOINT_SOCKET");
    vi.stubEnv("SPIFFE_ENDPOINT_SOCKET", undefined);
    await expect(openX509Source()).rejects.toThrowCode("CONFIG_INVALID", "SPIFFE_ENDPOINT_SOCKET");
  });

  it.each([
    ["WE-13", ""],
    ["WE-13", "/a.sock"],
    ["WE-13", "http://127.0.0.1:1"],
    ["WE-13", "UNIX:///a"],
    ["WE-14", "unix://host/p"],
    ["WE-14", "unix://p/q"],
    ["WE-15", "unix:a.sock"],
    ["WE-15", "unix:///a?x"],
    ["WE-15", "unix:///a#x"],
    ["WE-15", "unix://"],
    ["WE-16", "tcp://localhost:1"],
    ["WE-16", "tcp://::1:1"],
    ["WE-17", "tcp://127.0.0.1"],
    ["WE-17", "tcp://127.0.0.1:8000/"],
    ["WE-17", "tcp://127.0.0.1:8000/foo"],
    ["WE-17", "tcp://127.0.0.1:8000?x"],
    ["WE-17", "tcp://u@127.0.0.1:8000"],
  ])("%s refuses the address %j, given or in the environment", (_, address) => {
    expect(() => new X509Source({ address })).toThrowCode("CONFIG_INVALID", "workload endpoint address");
    vi.stubEnv("SPIFFE_ENDPOINT_SOCKET", address);
    expect(() => new X509Source({})).toThrowCode("CONFIG_INVALID", "workload endpoint address");
  });

  it.each([
    ["WE-16", "127.0.0.1"],
    ["WE-17", "::1"],
  ] as const)("%s connects to an IP address and port: %s", async (_, host) => {
    sendAll();
    const source = await openX509Source({ address: await endpoint.startTcp(host) });
    open.push(source);
    expect(source.x509Svid().spiffeId).toBe(ID);
  });

  it("WE-10 calls once and never again after InvalidArgument", async () => {
    endpoint.fail("fetchX509SVID", REFUSALS.INVALID_ARGUMENT);
    const clock = new FakeClock();
    await expect(openX509Source({ address: endpoint.address, clock })).rejects.toThrowCode(
      "INVALID_REQUEST",
      "security header",
    );
    const source = new X509Source({ address: endpoint.address, clock });
    open.push(source);
    await expect(source.ready(1000)).rejects.toThrowCode("INVALID_REQUEST");
    await clock.advance(3_600_000);
    expect(endpoint.count("fetchX509SVID")).toBe(2);
  });

  it.each(["WE-25", "WE-30"])(
    "%s assumes that what is Unimplemented is not there, and asks no reflection for it",
    async () => {
      endpoint.fail("fetchJWTBundles", REFUSALS.UNIMPLEMENTED);
      const clock = new FakeClock();
      await expect(openJwtSource({ address: endpoint.address, clock })).rejects.toThrowCode("UNIMPLEMENTED");
      await clock.advance(3_600_000);
      expect(endpoint.calls.map(({ method }) => method)).toEqual(["fetchJWTBundles"]);
    },
  );

  it.each([
    ["WE-22", "UNAVAILABLE" as const, 200, 10_000],
    ["WE-24", "PERMISSION_DENIED" as const, 1000, 30_000],
  ])(
    "%s tries again after %s, with pauses that double from %d to %d ms",
    async (_, status, first, longest) => {
      endpoint.fail("fetchX509SVID", REFUSALS[status]);
      const clock = new FakeClock();
      const problems: string[] = [];
      const source = new X509Source({
        address: endpoint.address,
        clock,
        random,
        onProblem: ({ code }) => problems.push(code),
      });
      open.push(source);
      for (let attempt = 1, pause = first; attempt <= 8; attempt++, pause = Math.min(pause * 2, longest)) {
        await vi.waitFor(() => {
          expect(problems).toHaveLength(attempt);
          expect(clock.pending).toBe(1);
        });
        await clock.advance(pause - 1);
        expect(endpoint.count("fetchX509SVID")).toBe(attempt);
        await clock.advance(1);
        await vi.waitFor(() => expect(endpoint.count("fetchX509SVID")).toBe(attempt + 1));
      }
      endpoint.send("fetchX509SVID", { svids: [x509SvidMessage(ID, authority)] });
      await vi.waitFor(() => expect(clock.pending).toBe(1));
      await clock.advance(longest);
      await source.ready(10_000);
      expect(source.x509Svid().spiffeId).toBe(ID);
    },
  );

  it("WE-22 comes back to an endpoint that was not there at first", async () => {
    await endpoint.stop();
    const problems: string[] = [];
    const opening = openX509Source({
      address: endpoint.address,
      random,
      onProblem: ({ code }) => problems.push(code),
    });
    await vi.waitFor(() => expect(problems).toContain("SERVER_UNAVAILABLE"), 5000);
    sendAll();
    await endpoint.start();
    const source = await opening;
    open.push(source);
    expect(source.x509Svid().spiffeId).toBe(ID);
  });

  it("WE-24 gives the reason when its patience ends, and its signal cuts it short", async () => {
    endpoint.fail("fetchX509SVID", REFUSALS.PERMISSION_DENIED);
    endpoint.fail("fetchJWTBundles", REFUSALS.UNAVAILABLE);
    const { address } = endpoint;
    await expect(openX509Source({ address, timeout: 300 })).rejects.toThrowCode(
      "NO_IDENTITY_ISSUED",
      "no identity issued",
    );
    await expect(openJwtSource({ address, timeout: 300 })).rejects.toThrowCode("SERVER_UNAVAILABLE");
    await expect(openX509Source({ address, signal: AbortSignal.timeout(200) })).rejects.toThrowCode(
      "CANCELLED",
    );
    await using source = new JwtSource({ address });
    await expect(source.ready(1, AbortSignal.abort())).rejects.toThrowCode("CANCELLED");
  });
});
