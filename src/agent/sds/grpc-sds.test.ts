import { fromBinary, type MessageInitShape } from "@bufbuild/protobuf";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { AgentHarness, uid, until } from "../../../test/fakes/agent-harness.ts";
import { fakeEntry } from "../../../test/fakes/agent-server.ts";
import { Status } from "../../proto/gen/assay/api/agent/v1/status_pb.ts";
import { SecretSchema } from "../../proto/gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.ts";
import type {
  DeltaDiscoveryRequestSchema,
  DiscoveryRequestSchema,
  DiscoveryResponse,
} from "../../proto/gen/envoy/service/discovery/v3/discovery_pb.ts";
import { SecretDiscoveryService } from "../../proto/gen/envoy/service/secret/v3/sds_pb.ts";
import { parseSpiffeId } from "../../spiffe/id.ts";
import type { AgentOptions } from "../agent-options.ts";
import { SECRET_TYPE_URL } from "./secret-writer.ts";

const web = parseSpiffeId("spiffe://example.org/web");
const db = parseSpiffeId("spiffe://example.org/db");
let harness: AgentHarness;

beforeEach(async () => {
  harness = await AgentHarness.create();
});

afterEach(() => harness[Symbol.asyncDispose]());

describe("secret discovery on the Workload Endpoint", () => {
  it("delivers secrets by name without a security header, and records them before they leave", async () => {
    await startWith({ web });
    const stream = talk({ resourceNames: ["default", "ROOTCA", "ALL", web, "spiffe://example.org"] });
    expect(namesIn(await stream.next())).toEqual(["default", "ROOTCA", "ALL", web, "spiffe://example.org"]);
    const records = harness.audit();
    expect(
      records.map(({ event, outcome, spiffe_id, trust_domain }) => [
        event,
        outcome,
        spiffe_id ?? trust_domain,
      ]),
    ).toEqual([
      ["svid.x509.delivered", "issued", web],
      ["bundle.delivered", "issued", "example.org"],
    ]);
    expect(records[0]).toMatchObject({
      method: "envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets",
      caller_pid: process.pid,
      caller_uid: uid,
    });
  });

  it("records an SVID only where its key is handed over", async () => {
    await startWith({ web, db });
    await talk({ resourceNames: ["ROOTCA"] }).next();
    await talk({ resourceNames: [db] }).next();
    expect(harness.audit().map(({ event, spiffe_id }) => [event, spiffe_id])).toEqual([
      ["bundle.delivered", undefined],
      ["svid.x509.delivered", db],
    ]);
  });

  it("tells identities apart by their IDs, whatever their hints", async () => {
    harness.server.entries.set("web", fakeEntry(web, uid, { id: "web", createdAt: 1, hint: "same" }));
    harness.server.entries.set("db", fakeEntry(db, uid, { id: "db", createdAt: 2, hint: "same" }));
    await harness.startReady();
    expect(namesIn(await talk({ resourceNames: [web, db] }).next())).toEqual([web, db]);
  });

  it("records bundles once on a stream, however often they are asked for by turns", async () => {
    await startWith({ web });
    const stream = talk({ resourceNames: ["ROOTCA"] });
    for (const name of ["ALL", "default", "ROOTCA"]) {
      const { value } = await stream.next();
      await stream.send({ resourceNames: [name], responseNonce: value?.nonce ?? "" });
    }
    await stream.next();
    expect(harness.audit().map(({ event }) => event)).toEqual(["bundle.delivered", "svid.x509.delivered"]);
  });

  it("sends a client that comes back to another agent only what it has not (SDS-9)", async () => {
    const agent = await startWith({ web });
    const { value } = await talkDelta({ resourceNamesSubscribe: ["default", "ROOTCA"] }).next();
    const initialResourceVersions = Object.fromEntries(
      (value?.resources ?? []).map(({ name, version }) => [name, version]),
    );
    await agent[Symbol.asyncDispose]();
    await harness.startReady();
    const names = ["default", "ROOTCA", web];
    const again = talkDelta({ resourceNamesSubscribe: names, initialResourceVersions });
    expect((await again.next()).value?.resources.map(({ name }) => name)).toEqual([web]);
  });

  it("lets an Envoy wait that is there before its entry, and tells the operator why (SDS-6)", async () => {
    await harness.startReady();
    const stream = talk({ resourceNames: ["default", "ROOTCA"] });
    const answer = stream.next();
    await until(() => harness.audit().length === 1);
    expect(harness.audit()[0]).toMatchObject({ event: "svid.denied", code: "NO_IDENTITY_ISSUED" });
    harness.server.put(fakeEntry(web, uid, { id: "1" }));
    // The bundle needs no signing, so it is there first.
    expect(namesIn(await answer)).toEqual(["ROOTCA"]);
    expect(namesIn(await stream.next())).toEqual(["default", "ROOTCA"]);
    const events = harness.audit().map(({ event }) => event);
    expect(events).toEqual(["svid.denied", "bundle.delivered", "svid.x509.delivered"]);
  });

  it("gives the own bundle to strangers only where the operator said so", async () => {
    await harness.startReady({ allowUnauthenticatedVerifiers: true });
    expect(namesIn(await talk({ resourceNames: ["ROOTCA"] }).next())).toEqual(["ROOTCA"]);
    expect(namesIn(await talk({ resourceNames: [] }).next())).toEqual(["spiffe://example.org"]);
  });

  it("ends when the caller loses its last identity, with the Workload API's words", async () => {
    await startWith({ web });
    const stream = talk({ resourceNames: ["ROOTCA"] });
    await stream.next();
    harness.server.remove("web");
    await expect(stream.next()).rejects.toMatchObject({
      status: "PERMISSION_DENIED",
      detail: expect.stringMatching(/^no identity issued \(decision [0-9a-f-]{36}\)$/) as string,
    });
  });

  it("says nothing more of an identity that is gone while the caller has another", async () => {
    await startWith({ web, db });
    const stream = talkDelta({ resourceNamesSubscribe: [web, db] });
    await stream.next();
    harness.server.remove("web");
    const { value } = await stream.next();
    expect([value?.resources, value?.removedResources]).toEqual([[], [web]]);
  });

  it("pushes an SVID that replaces another, under a new version and nonce (SDS-11)", async () => {
    await startWith({ web });
    const stream = talk({ resourceNames: [web] });
    const one = (await stream.next()).value;
    harness.server.put(fakeEntry(web, uid, { id: "web", revision: 2, x509SvidTtl: 60 }));
    const two = (await stream.next()).value;
    expect(namesOf(two)).toEqual([web]);
    expect(two?.versionInfo).not.toBe(one?.versionInfo);
    expect(two?.nonce).not.toBe(one?.nonce);
    expect(harness.audit().length).toBe(2);
  });

  it("remembers the node of the first message (SDS-5)", async () => {
    await startWith({ web });
    const plain = { metadata: { disable_spiffe_cert_validation: true } };
    const stream = talk({ node: plain, resourceNames: ["ROOTCA"] });
    const one = (await stream.next()).value;
    expect(contextIn(one)).toMatchObject({ trustedCa: expect.anything() as unknown });
    await stream.send({ resourceNames: ["spiffe://example.org"], responseNonce: one?.nonce ?? "" });
    const two = (await stream.next()).value;
    expect(contextIn(two)).toMatchObject({ trustedCa: expect.anything() as unknown });
    await stream.send({ node: {}, resourceNames: ["ROOTCA"], responseNonce: two?.nonce ?? "" });
    expect(contextIn((await stream.next()).value)?.customValidatorConfig).toBeUndefined();
  });

  it("follows the operator's settings", async () => {
    const sds = {
      defaultSvidName: "own",
      defaultBundleName: "roots",
      defaultAllBundlesName: "everyone",
      disableSpiffeCertValidation: true,
    };
    await startWith({ web }, { sds });
    expect(namesIn(await talk({ resourceNames: ["own", "roots", "default"] }).next())).toEqual([
      "own",
      "roots",
    ]);
    await expect(talk({ resourceNames: ["everyone"] }).next()).rejects.toMatchObject({
      status: "INVALID_ARGUMENT",
    });
  });

  it.each([
    [{ typeUrl: "type.googleapis.com/envoy.config.cluster.v3.Cluster" }],
    [{ resourceNames: ["x".repeat(3000)] }],
    [{ node: { metadata: { disable_spiffe_cert_validation: "maybe" } } }],
  ])("refuses a malformed request as such: %#", async (request) => {
    await startWith({ web });
    const invalid = { status: "INVALID_ARGUMENT" };
    await expect(talk(request).next()).rejects.toMatchObject(invalid);
    await expect(sds().fetchSecrets(request)).rejects.toMatchObject(invalid);
    const { resourceNames: resourceNamesSubscribe = [], ...rest } = request as { resourceNames?: string[] };
    await expect(talkDelta({ ...rest, resourceNamesSubscribe }).next()).rejects.toMatchObject(invalid);
  });

  it("refuses in the middle of a stream, too (SDS-5)", async () => {
    await startWith({ web });
    const stream = talk({ typeUrl: SECRET_TYPE_URL, resourceNames: ["default"] });
    await stream.next();
    await stream.send({ typeUrl: "another", resourceNames: ["default"] });
    await expect(stream.next()).rejects.toMatchObject({ status: "INVALID_ARGUMENT" });
  });

  it("answers what a client still wants to know that sends nothing more, and then ends well", async () => {
    await startWith({ web });
    const stream = talk({ resourceNames: ["default"] });
    stream.end();
    expect(namesIn(await stream.next())).toEqual(["default"]);
    expect((await stream.next()).done).toBe(true);
  });

  it("signs on demand what is asked for, and only that", async () => {
    harness.server.entries.set("web", fakeEntry(web, uid, { id: "web", disableX509SvidPrefetch: true }));
    harness.server.entries.set(
      "db",
      fakeEntry(db, uid, { id: "db", createdAt: 9, disableX509SvidPrefetch: true }),
    );
    await harness.startReady();
    expect(namesIn(await talk({ resourceNames: [db] }).next())).toEqual([db]);
    const { cachedX509SvidsCount } = await harness.client("a.sock").service(Status).getInfo({});
    expect(cachedX509SvidsCount).toBe(1);
  });

  it("sheds the load of one caller that opens streams", async () => {
    await startWith({ web }, { rateLimit: { x509Svid: 1, jwtSvid: 1, bundles: 1, validation: 1 } });
    const outcomes = await Promise.allSettled(
      Array.from({ length: 20 }, () => talk({ resourceNames: ["default"] }).next()),
    );
    const shed = outcomes.filter(({ status }) => status === "rejected");
    expect(shed.length).toBe(10);
    expect(shed[0]).toMatchObject({ reason: { status: "UNAVAILABLE" } });
  });

  it("ends streams with Unavailable when the agent stops, those that wait included", async () => {
    const agent = await startWith({ web });
    const served = talk({ resourceNames: ["default"] });
    await served.next();
    const waiting = talkDelta({ resourceNamesSubscribe: ["never"] });
    const ends = Promise.allSettled([served.next(), waiting.next()]);
    await agent[Symbol.asyncDispose]();
    const unavailable = { status: "rejected", reason: { status: "UNAVAILABLE" } };
    expect(await ends).toMatchObject([unavailable, unavailable]);
  });
});

describe("a single question", () => {
  it("is answered with what is there", async () => {
    await startWith({ web });
    const response = await sds().fetchSecrets({ resourceNames: ["default", "never"], responseNonce: "any" });
    expect(namesOf(response)).toEqual(["default"]);
    expect(harness.audit().length).toBe(1);
  });

  it("waits for an SVID that is being signed, but not for ever", async () => {
    harness.server.entries.set("web", fakeEntry(web, uid, { id: "web", disableX509SvidPrefetch: true }));
    harness.server.entries.set("db", fakeEntry(db, uid, { id: "db" }));
    harness.server.unsignable.add("db");
    await harness.startReady({ signingPatience: 300 });
    expect(namesOf(await sds().fetchSecrets({ resourceNames: [web] }))).toEqual([web]);
    expect(namesOf(await sds().fetchSecrets({ resourceNames: [web, db] }))).toEqual([web]);
    await expect(sds().fetchSecrets({ resourceNames: [db] })).rejects.toMatchObject({ status: "NOT_FOUND" });
  });

  it("is refused where the caller has nothing at all, in one record", async () => {
    await harness.startReady();
    await expect(sds().fetchSecrets({ resourceNames: ["default"] })).rejects.toMatchObject({
      status: "PERMISSION_DENIED",
    });
    expect(harness.audit().length).toBe(1);
  });
});

async function startWith(ids: Readonly<Record<string, typeof web>>, options: Partial<AgentOptions> = {}) {
  let createdAt = 1;
  for (const [id, spiffeId] of Object.entries(ids)) {
    harness.server.entries.set(id, fakeEntry(spiffeId, uid, { id, createdAt: createdAt++ }));
  }
  return harness.startReady(options);
}

function sds() {
  return harness.client("w.sock").service(SecretDiscoveryService);
}

function talk(request: MessageInitShape<typeof DiscoveryRequestSchema>) {
  return conversation(sds().streamSecrets(), request);
}

function talkDelta(request: MessageInitShape<typeof DeltaDiscoveryRequestSchema>) {
  return conversation(sds().deltaSecrets(), request);
}

/** A stream whose first request is on its way. */
function conversation<Input, Output>(
  call: AsyncIterable<Output> & { send(message: Input): Promise<void>; end(): void },
  request: Input,
) {
  const answers = call[Symbol.asyncIterator]();
  const sent = call.send(request);
  sent.catch(() => undefined);
  return {
    next: async () => answers.next() as Promise<IteratorResult<Output, undefined>>,
    send: (message: Input) => call.send(message),
    end: () => call.end(),
  };
}

function namesIn({ value }: IteratorResult<DiscoveryResponse, undefined>): readonly string[] {
  return namesOf(value);
}

function namesOf(response: DiscoveryResponse | undefined): readonly string[] {
  return (response?.resources ?? []).map(({ value }) => fromBinary(SecretSchema, value).name);
}

function contextIn(response: DiscoveryResponse | undefined) {
  const { type } = fromBinary(SecretSchema, response?.resources[0]?.value ?? new Uint8Array());
  return type?.case === "validationContext" ? type.value : undefined;
}
