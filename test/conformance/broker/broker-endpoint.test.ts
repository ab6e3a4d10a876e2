import { createConnection } from "node:net";
import { once } from "node:events";
import { readdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { connect } from "node:tls";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parseBrokerAddress } from "../../../src/spiffe/endpoint-address.ts";
import { parseSpiffeId } from "../../../src/spiffe/id.ts";
import { AgentHarness } from "../../fakes/agent-harness.ts";
import { BrokerClient, pidReference } from "../../fakes/broker-client.ts";
import { makeAuthority, makeLeaf } from "../../fakes/svid-factory.ts";
import { type BrokerWorld, makeBrokerWorld, RPCS } from "./broker-world.ts";

let world: BrokerWorld;
let pid: number;
beforeAll(async () => {
  world = await makeBrokerWorld();
  ({ pid } = await world.startWorkload());
});
afterAll(() => world?.[Symbol.asyncDispose]());

describe("where it is", () => {
  it("BE-01 is a socket of its own that not everybody may open, and no workload is served there", async () => {
    expect(world.socket).not.toBe(world.world.agentPlace.socket);
    expect(statSync(world.socket).mode & 0o007).toBe(0);
    const one = await world.client();
    const asked = { "broker.spiffe.io": "true", "workload.spiffe.io": "true" };
    const workloadApi = one.openAny("/SpiffeWorkloadAPI/FetchX509SVID", NOTHING, Buffer.from, asked);
    expect(await workloadApi.status).toMatchObject({ code: 12 });
    using workload = world.world.raw();
    const broker = await workload.call({ path: "/spiffe.broker.API/FetchJWTSVID", headers: asked });
    expect(broker.grpcStatus).toBe(12);
  });

  it("BE-10 has the scheme unix or tcp", () => {
    expect(parseBrokerAddress("unix:///a")).toMatchObject({ scheme: "unix" });
    expect(parseBrokerAddress("tcp://127.0.0.1:1")).toMatchObject({ scheme: "tcp" });
    for (const text of ["http://a:1", "vsock://1:2", "/a", "a:1", ""]) {
      expect(() => parseBrokerAddress(text)).toThrowCode("CONFIG_INVALID");
    }
  });

  it("BE-11 has no authority where it is a Unix socket", () => {
    expect(() => parseBrokerAddress("unix://host/a")).toThrowCode("CONFIG_INVALID");
  });

  it("BE-12 has an absolute path and nothing else where it is a Unix socket", () => {
    for (const text of ["unix:a", "unix:///a?b", "unix:///a#b", "unix://", "unix:///"]) {
      expect(() => parseBrokerAddress(text)).toThrowCode("CONFIG_INVALID");
    }
  });

  it("BE-13 may name its host by DNS, and is reached there", async () => {
    expect(parseBrokerAddress("tcp://broker.example.com:8443")).toMatchObject({
      host: "broker.example.com",
    });
    for (const text of ["tcp://1.2.3:8443", "tcp://a_b:1", "tcp://:1"]) {
      expect(() => parseBrokerAddress(text)).toThrowCode("CONFIG_INVALID");
    }
    // The world's agent listens at tcp://localhost.
    await world.remote();
  });

  it("BE-14 has a port and nothing after it where it is a TCP address", () => {
    for (const text of [
      "tcp://a.example",
      "tcp://a:0",
      "tcp://a:1/",
      "tcp://a:1?x",
      "tcp://a:1#x",
      "tcp://a:65536",
    ]) {
      expect(() => parseBrokerAddress(text)).toThrowCode("CONFIG_INVALID");
    }
  });
});

describe("how it is spoken to", () => {
  it("BE-02 speaks gRPC: what it does not serve is Unimplemented", async () => {
    const one = await world.client();
    const call = one.openAny("/spiffe.broker.API/Surely_Not", NOTHING, Buffer.from);
    expect(await call.status).toMatchObject({ code: 12 });
  });

  it("BE-21 serves each method of the Broker API", async () => {
    const one = await world.client();
    for (const rpc of RPCS) {
      const { message } = await one.first(rpc, world.about(rpc, pid));
      expect(message, rpc).toBeDefined();
    }
  });

  it.each(["BE-05", "BE-06"])(
    "%s refuses a request without the security header as InvalidArgument",
    async () => {
      for (const who of [world.broker, world.stranger]) {
        const one = await world.client(who);
        for (const headers of [
          {},
          { "broker.spiffe.io": "false" },
          { "broker.spiffe.io": "True" },
          { "broker.spiffe.io": ["true", "true"] },
          { "workload.spiffe.io": "true" },
        ]) {
          for (const rpc of RPCS) {
            const call = one.open(rpc, world.about(rpc, pid), headers);
            expect(await call.next()).toBeUndefined();
            expect(await call.status).toMatchObject({ code: 3 });
          }
        }
      }
    },
  );

  it.each([
    ["a Unix socket", () => ({ path: world.socket })],
    ["TCP", () => ({ port: world.port, host: "localhost" })],
  ] as const)("BE-08 wants X509-SVIDs of both ends, over TLS 1.2 or later, on %s", async (_, target) => {
    const plain = createConnection(target());
    plain.on("error", () => {});
    plain.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    plain.resume();
    await once(plain, "close");

    const nobody = connect({ ...target(), ALPNProtocols: ["h2"], rejectUnauthorized: false });
    nobody.on("error", () => {});
    nobody.resume();
    await once(nobody, "close");

    for (const version of ["TLSv1.2", "TLSv1.3"] as const) {
      using one = await BrokerClient.connect(target(), world.broker, {
        minVersion: version,
        maxVersion: version,
      });
      const { subjectaltname } = one.socket.getPeerCertificate();
      expect(subjectaltname).toMatch(/^URI:spiffe:\/\/example\.org\/spire\/agent\//);
      expect(await one.open("fetchJWTSVID", {}).status).toMatchObject({ code: 3 });
    }
    const old = connect({
      ...target(),
      rejectUnauthorized: false,
      minVersion: "TLSv1.1",
      maxVersion: "TLSv1.1",
      ciphers: "DEFAULT@SECLEVEL=0",
    });
    await expect(once(old, "secureConnect")).rejects.toThrow();
  });

  it.each(["BE-15", "BE-20"])("%s is PermissionDenied to whoever is not on the operator's list", async () => {
    const one = await world.client(world.stranger);
    for (const rpc of RPCS) {
      expect(await one.open(rpc, world.about(rpc, pid)).status).toMatchObject({ code: 7 });
    }
  });

  it("BE-17 is Unavailable before the agent knows its workloads", async () => {
    await using harness = await AgentHarness.create();
    const path = harness.path("b.sock");
    const id = parseSpiffeId("spiffe://example.org/broker");
    const broker = {
      addresses: [{ scheme: "unix", path }],
      socketMode: 0o600,
      brokers: [{ id, references: [{ type: "workload_pid", allowOverTcp: false }] }],
    } as const;
    // An agent that has its SVID and knows nothing else, as its server is away.
    const before = await harness.startReady();
    await before[Symbol.asyncDispose]();
    await harness.server.stop();
    for (const file of readdirSync(harness.path("data"))) {
      if (file.includes("cache")) rmSync(join(harness.path("data"), file));
    }
    await harness.start({ features: ["broker"], broker });
    const { certificate, privateKey } = harness.authority.credential(id);
    using one = await BrokerClient.connect({ path }, { chain: [certificate], key: privateKey });
    const call = one.open("subscribeToX509SVID", { reference: pidReference(process.pid) });
    expect(await call.status).toMatchObject({ code: 14 });
  });

  it("BE-18 breaks off with a client that nobody it trusts vouches for", async () => {
    const leaf = makeLeaf("spiffe://unknown.test/broker", makeAuthority("unknown.test"));
    const shown = { chain: [leaf.der], key: leaf.key.privateKey };
    const asked = (async () => {
      using one = await BrokerClient.connect({ path: world.socket }, shown);
      return await one.open("subscribeToX509SVID", world.about("subscribeToX509SVID", pid)).status;
    })();
    await expect(asked).rejects.toThrow();
  });

  it("BE-22 tells by reflection what it serves", async () => {
    const one = await world.client();
    // ServerReflectionRequest { list_services: "" }
    const call = one.openAny(
      "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
      Uint8Array.of(0x3a, 0),
      (bytes) => Buffer.from(bytes).toString("latin1"),
    );
    expect(await call.next()).toContain("spiffe.broker.API");
  });
});

const NOTHING = new Uint8Array();
