import { create } from "@bufbuild/protobuf";
import fc from "fast-check";
import { describe, it } from "vitest";
import { FakeFinder } from "../../../test/fakes/secret-finder.ts";
import {
  DeltaDiscoveryRequestSchema,
  DiscoveryRequestSchema,
} from "../../proto/gen/envoy/service/discovery/v3/discovery_pb.ts";
import { DeltaSession } from "./delta-session.ts";
import { SotwSession } from "./sotw-session.ts";

const NAMES = ["a", "b", "c"] as const;

/** Something that happens to a secret or to the stream, in any order. */
const step = fc.oneof(
  fc.record({ kind: fc.constant("put" as const), name: fc.constantFrom(...NAMES), content: fc.nat(3) }),
  fc.record({ kind: fc.constantFrom("await" as const, "remove" as const), name: fc.constantFrom(...NAMES) }),
  fc.record({ kind: fc.constant("want" as const), names: fc.subarray([...NAMES], { minLength: 1 }) }),
  fc.record({ kind: fc.constantFrom("acknowledge" as const, "reject" as const, "stale" as const) }),
  fc.record({ kind: fc.constant("read" as const) }),
);
type Step = typeof step extends fc.Arbitrary<infer S> ? S : never;

describe("whatever happens in whatever order, a client that reads to the end", () => {
  it("of a stream of the state of the world has the newest of each secret that it wants and that is there", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const finder = new FakeFinder();
        const client = sotwClient(finder);
        client.want(["a"]);
        for (const one of steps) play(one, finder, client);
        client.acknowledge();
        while (client.read()) client.acknowledge();
        return NAMES.every((name) => upToDate(name, finder, client));
      }),
      { numRuns: 500 },
    );
  });

  it("of an incremental stream has that, too, and nothing that is gone", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const finder = new FakeFinder();
        const client = deltaClient(finder);
        client.want(["a"]);
        for (const one of steps) play(one, finder, client);
        while (client.read()) client.acknowledge();
        return NAMES.every(
          (name) =>
            upToDate(name, finder, client) &&
            !(client.wanted.has(name) && finder.find(name) === "absent" && client.held.has(name)),
        );
      }),
      { numRuns: 500 },
    );
  });
});

interface Client {
  readonly wanted: Set<string>;
  /** Version by name. */
  readonly held: Map<string, string>;
  want(names: readonly string[]): void;
  acknowledge(): void;
  reject(): void;
  stale(): void;
  /** Reads one response, if there is one. */
  read(): boolean;
}

function play(one: Step, finder: FakeFinder, client: Client): void {
  switch (one.kind) {
    case "put":
      finder.have({ [one.name]: String(one.content) });
      return;
    case "await":
      finder.have({ [one.name]: "awaited" });
      return;
    case "remove":
      finder.secrets.delete(one.name);
      return;
    case "want":
      client.want(one.names);
      return;
    default:
      client[one.kind]();
  }
}

/** A version that was rejected is not sent again, so a rejected one counts as held. */
function upToDate(name: string, finder: FakeFinder, { wanted, held }: Client): boolean {
  const found = finder.find(name);
  return !wanted.has(name) || typeof found === "string" || held.get(name) === found.version;
}

function sotwClient(finder: FakeFinder): Client {
  const session = new SotwSession(nonces());
  const client = { wanted: new Set<string>(), held: new Map<string, string>() };
  let nonce = "";
  const say = (responseNonce: string, more = {}) =>
    session.take(
      create(DiscoveryRequestSchema, { resourceNames: [...client.wanted], responseNonce, ...more }),
    );
  return {
    ...client,
    want(names) {
      client.wanted.clear();
      for (const name of names) client.wanted.add(name);
      for (const name of client.held.keys()) if (!client.wanted.has(name)) client.held.delete(name);
      say(nonce);
    },
    acknowledge: () => say(nonce),
    reject: () => say(nonce, { errorDetail: { code: 3, message: "no" } }),
    stale: () => say("an older one", { resourceNames: ["stale"] }),
    read() {
      const answer = session.answer(finder);
      if (answer === undefined) return false;
      nonce = answer.response.nonce ?? "";
      for (const { name, version } of answer.secrets) client.held.set(name, version);
      return true;
    },
  };
}

function deltaClient(finder: FakeFinder): Client {
  const session = new DeltaSession(nonces());
  const client = { wanted: new Set<string>(), held: new Map<string, string>() };
  let nonce = "";
  const say = (responseNonce: string, more = {}) =>
    session.take(create(DeltaDiscoveryRequestSchema, { responseNonce, ...more }));
  return {
    ...client,
    want(names) {
      const resourceNamesSubscribe = names.filter((name) => !client.wanted.has(name));
      const resourceNamesUnsubscribe = [...client.wanted].filter((name) => !names.includes(name));
      for (const name of resourceNamesUnsubscribe) client.held.delete(name);
      client.wanted.clear();
      for (const name of names) client.wanted.add(name);
      // A nonce says nothing about names here.
      say("an older one", { resourceNamesSubscribe, resourceNamesUnsubscribe });
    },
    acknowledge: () => say(nonce),
    reject: () => say(nonce, { errorDetail: { code: 3, message: "no" } }),
    stale: () => say("an older one"),
    read() {
      const { response } = session.answer(finder) ?? {};
      if (response === undefined) return false;
      nonce = response.nonce ?? "";
      for (const { name = "", version = "" } of response.resources ?? []) client.held.set(name, version);
      for (const name of response.removedResources ?? []) client.held.delete(name);
      return true;
    },
  };
}

function nonces(): () => string {
  let count = 0;
  return () => `n${++count}`;
}
