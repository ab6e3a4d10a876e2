import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { beforeEach, describe, expect, it } from "vitest";
import { FakeFinder, fakeSecret } from "../../../test/fakes/secret-finder.ts";
import { DeltaDiscoveryRequestSchema } from "../../proto/gen/envoy/service/discovery/v3/discovery_pb.ts";
import { DeltaSession } from "./delta-session.ts";
import { SECRET_TYPE_URL } from "./secret-writer.ts";

let secrets: FakeFinder;
let session: DeltaSession;

beforeEach(() => {
  secrets = new FakeFinder().have({ a: "1", b: "1" });
  let nonces = 0;
  session = new DeltaSession(() => `n${++nonces}`);
});

describe("an incremental stream", () => {
  it("gives the secrets that are asked for, each with a version of its own", () => {
    take({ resourceNamesSubscribe: ["a", "b"] });
    const { response } = session.answer(secrets) ?? {};
    expect(response).toMatchObject({
      typeUrl: SECRET_TYPE_URL,
      nonce: "n1",
      removedResources: [],
      resources: [
        { name: "a", version: "v:1", resource: { typeUrl: SECRET_TYPE_URL } },
        { name: "b", version: "v:1" },
      ],
    });
    expect(response?.systemVersionInfo).not.toBe("");
    expect(answer()).toBeUndefined();
  });

  it("sends what changed and nothing else, acknowledged or not (SDS-11)", () => {
    take({ resourceNamesSubscribe: ["a", "b"] });
    answer();
    secrets.have({ b: "2" });
    expect(answer()).toEqual({ changed: ["b"], removed: [], nonce: "n2" });
    take({ responseNonce: "n1" });
    take({ responseNonce: "n2" });
    expect(answer()).toBeUndefined();
  });

  it("does not repeat what was rejected until it changes (SDS-2)", () => {
    take({ resourceNamesSubscribe: ["a"] });
    answer();
    expect(take({ responseNonce: "n1", errorDetail: { code: 3, message: "bad" } })).toBe("bad");
    expect(take({ responseNonce: "n1", errorDetail: { code: 3, message: "bad" } })).toBeUndefined();
    expect(answer()).toBeUndefined();
    secrets.have({ a: "2" });
    expect(answer()?.changed).toEqual(["a"]);
  });

  it("honours changes of names in a request about an earlier response (SDS-9)", () => {
    take({ resourceNamesSubscribe: ["a"] });
    answer();
    secrets.have({ a: "2" });
    answer();
    take({
      responseNonce: "n1",
      resourceNamesSubscribe: ["b"],
      resourceNamesUnsubscribe: ["a"],
      errorDetail: { message: "of an earlier one" },
    });
    expect(answer()?.changed).toEqual(["b"]);
    secrets.have({ a: "3" });
    expect(answer()).toBeUndefined();
  });

  it("sends a name again that is asked for again (SDS-9)", () => {
    take({ resourceNamesSubscribe: ["a"] });
    answer();
    take({ responseNonce: "n1", resourceNamesSubscribe: ["a"] });
    expect(answer()?.changed).toEqual(["a"]);
    take({ responseNonce: "n2", resourceNamesUnsubscribe: ["a"] });
    take({ resourceNamesSubscribe: ["a"] });
    expect(answer()?.changed).toEqual(["a"]);
  });

  it("is silent about a name that is not there, and pushes it when it appears (SDS-6)", () => {
    take({ resourceNamesSubscribe: ["later"] });
    expect(answer()).toBeUndefined();
    secrets.have({ later: "awaited" });
    expect(answer()).toBeUndefined();
    secrets.have({ later: "1" });
    expect(answer()).toEqual({ changed: ["later"], removed: [], nonce: "n1" });
  });

  it("says once of a secret that it is gone, and pushes it when it is back (SDS-9)", () => {
    take({ resourceNamesSubscribe: ["a", "b"] });
    answer();
    secrets.secrets.delete("a");
    expect(answer()).toEqual({ changed: [], removed: ["a"], nonce: "n2" });
    expect(answer()).toBeUndefined();
    secrets.have({ a: "1" });
    expect(answer()?.changed).toEqual(["a"]);
  });

  it("does not say of a secret that it is gone while it is only on its way", () => {
    take({ resourceNamesSubscribe: ["a"] });
    answer();
    secrets.have({ a: "awaited" });
    expect(answer()).toBeUndefined();
  });

  it("sends a client that comes back only what it has not (SDS-9)", () => {
    secrets.have({ c: "2" });
    take({
      resourceNamesSubscribe: ["a", "b", "c", "gone", "never"],
      initialResourceVersions: { a: "v:1", c: "v:1", gone: "v:1", unasked: "v:1" },
    });
    expect(answer()).toEqual({ changed: ["b", "c"], removed: ["gone"], nonce: "n1" });
  });

  it("believes what a client has in its first request only (SDS-9)", () => {
    take({ resourceNamesSubscribe: ["a"] });
    answer();
    take({ resourceNamesSubscribe: ["b"], initialResourceVersions: { b: "v:1" } });
    expect(answer()?.changed).toEqual(["b"]);
  });

  it("gives everything to whoever names nothing, what comes later and what goes (SDS-8)", () => {
    take({ initialResourceVersions: { a: "v:1", old: "v:1" } });
    expect(answer()).toEqual({ changed: ["b"], removed: ["old"], nonce: "n1" });
    secrets.have({ c: "1" });
    secrets.secrets.delete("b");
    expect(answer()).toEqual({ changed: ["c"], removed: ["b"], nonce: "n2" });
  });

  it("keeps only what is named when the wildcard ends", () => {
    take({ resourceNamesSubscribe: ["*", "a"] });
    answer();
    take({ resourceNamesUnsubscribe: ["*"] });
    secrets.have({ b: "2" });
    expect(answer()).toBeUndefined();
    secrets.have({ a: "2" });
    expect(answer()?.changed).toEqual(["a"]);
  });

  it("spreads what does not fit into one message over several", () => {
    const names = Array.from({ length: 5 }, (_, i) => `large${i}`);
    for (const name of names) secrets.secrets.set(name, fakeSecret(name, "1", 2 ** 20));
    take({ resourceNamesSubscribe: names });
    const told: string[][] = [];
    for (let next = answer(); next !== undefined; next = answer()) told.push([...next.changed]);
    expect(told.map(({ length }) => length)).toEqual([3, 2]);
    expect(told.flat()).toEqual(names);
  });

  it("sends one secret that is larger than a message by itself", () => {
    secrets.secrets.set("huge", fakeSecret("huge", "1", 2 ** 22));
    take({ resourceNamesSubscribe: ["a", "huge", "b"] });
    expect([answer()?.changed, answer()?.changed, answer()?.changed, answer()]).toEqual([
      ["a"],
      ["huge"],
      ["b"],
      undefined,
    ]);
  });
});

function take(request: MessageInitShape<typeof DeltaDiscoveryRequestSchema>) {
  return session.take(create(DeltaDiscoveryRequestSchema, request));
}

function answer() {
  const { response } = session.answer(secrets) ?? {};
  if (response === undefined) return undefined;
  return {
    changed: (response.resources ?? []).map(({ name }) => name ?? ""),
    removed: response.removedResources ?? [],
    nonce: response.nonce,
  };
}
