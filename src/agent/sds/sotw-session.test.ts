import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { beforeEach, describe, expect, it } from "vitest";
import { FakeFinder, fakeSecret } from "../../../test/fakes/secret-finder.ts";
import { DiscoveryRequestSchema } from "../../proto/gen/envoy/service/discovery/v3/discovery_pb.ts";
import { SotwSession } from "./sotw-session.ts";
import { SECRET_TYPE_URL } from "./secret-writer.ts";

let secrets: FakeFinder;
let session: SotwSession;

beforeEach(() => {
  secrets = new FakeFinder().have({ a: "1", b: "1" });
  let nonces = 0;
  session = new SotwSession(() => `n${++nonces}`);
});

describe("a stream of the state of the world", () => {
  it("answers its first request, also where the client has that version already (SDS-1)", () => {
    const { version } = ask(["a"]);
    session = new SotwSession(() => "other");
    take(["a"], { versionInfo: version });
    expect(answer()).toEqual({ names: ["a"], version, nonce: "other" });
  });

  it("answers its first request whatever nonce another stream left in it (SDS-1, SDS-3)", () => {
    take(["a"], { responseNonce: "of another stream" });
    expect(answer()?.names).toEqual(["a"]);
  });

  it("says nothing after an acknowledgement until the content changes (SDS-2)", () => {
    const first = ask(["a"]);
    take(["a"], { responseNonce: first.nonce, versionInfo: first.version });
    expect(answer()).toBeUndefined();
    secrets.have({ b: "2" });
    expect(answer()).toBeUndefined();
    secrets.have({ a: "2" });
    expect(answer()).toMatchObject({ names: ["a"], nonce: "n2" });
  });

  it("does not repeat what was rejected, and says it was once (SDS-2)", () => {
    const { nonce } = ask(["a"]);
    const rejection = { responseNonce: nonce, errorDetail: { code: 3, message: "bad certificate" } };
    expect(take(["a"], rejection)).toBe("bad certificate");
    expect(answer()).toBeUndefined();
    expect(take(["a"], rejection)).toBeUndefined();
    expect(answer()).toBeUndefined();
    secrets.have({ a: "2" });
    const second = answer();
    expect(second?.names).toEqual(["a"]);
    expect(take(["a"], { responseNonce: second?.nonce ?? "", errorDetail: { code: 3, message: "" } })).toBe(
      "no reason given",
    );
  });

  it("bounds the words that the client rejects with", () => {
    const { nonce } = ask(["a"]);
    const words = take(["a"], { responseNonce: nonce, errorDetail: { message: "x".repeat(10_000) } });
    expect(words?.length).toBe(300);
  });

  it("ignores a request about an earlier response (SDS-3)", () => {
    const { nonce } = ask(["a"]);
    secrets.have({ a: "2" });
    answer();
    take(["b"], { responseNonce: nonce });
    expect(answer()).toBeUndefined();
    take(["b"]);
    expect(answer()).toBeUndefined();
    take(["b"], { responseNonce: "n2" });
    expect(answer()?.names).toEqual(["b"]);
  });

  it("answers a change of names though the content is the same (SDS-4)", () => {
    const first = ask(["a", "b"]);
    take(["b"], { responseNonce: first.nonce });
    expect(answer()).toMatchObject({ names: ["b"], nonce: "n2" });
    take(["b", "b"], { responseNonce: "n2" });
    expect(answer()).toBeUndefined();
    take(["b", "a"], { responseNonce: "n2" });
    expect(answer()).toMatchObject({ names: ["b", "a"], nonce: "n3" });
  });

  it("is silent about a name that is not there, and pushes it when it appears (SDS-6)", () => {
    take(["later"]);
    expect(answer()).toBeUndefined();
    secrets.have({ later: "awaited" });
    expect(answer()).toBeUndefined();
    secrets.have({ later: "1" });
    expect(answer()?.names).toEqual(["later"]);
    expect(answer()).toBeUndefined();
  });

  it("gives what is there of several names and all once the rest appears (SDS-6)", () => {
    take(["a", "later"]);
    expect(answer()?.names).toEqual(["a"]);
    secrets.have({ later: "1" });
    expect(answer()?.names).toEqual(["a", "later"]);
  });

  it("takes new names before the first answer", () => {
    take(["later"]);
    expect(answer()).toBeUndefined();
    take(["later", "a"]);
    expect(answer()?.names).toEqual(["a"]);
  });

  it("does not send the rest again because one secret is gone for a while", () => {
    take(["a", "b"]);
    answer();
    secrets.have({ a: "awaited" });
    expect(answer()).toBeUndefined();
    secrets.have({ a: "1" });
    expect(answer()).toBeUndefined();
  });

  it("changes the version with the content only, and the nonce always (SDS-7)", () => {
    const first = ask(["a"]);
    take(["a", "b"], { responseNonce: first.nonce });
    const second = answer();
    take(["a"], { responseNonce: second?.nonce ?? "" });
    const third = answer();
    expect(third?.version).toBe(first.version);
    expect(second?.version).not.toBe(first.version);
    expect(new Set([first.nonce, second?.nonce, third?.nonce]).size).toBe(3);
  });

  it("names no secret twice in one response (SDS-7)", () => {
    take(["a", "a", "*"]);
    expect(answer()?.names).toEqual(["a", "b"]);
  });

  it("gives everything to whoever names nothing, also what comes later (SDS-8)", () => {
    take([]);
    expect(answer()?.names).toEqual(["a", "b"]);
    secrets.have({ c: "1" });
    expect(answer()?.names).toEqual(["a", "b", "c"]);
  });

  it("gives nothing to whoever gave up its last name", () => {
    const { nonce } = ask(["a"]);
    take([], { responseNonce: nonce });
    expect(answer()).toBeUndefined();
    secrets.have({ a: "2" });
    expect(answer()).toBeUndefined();
  });

  it("says its type, a version and a nonce in each response (SDS-7)", () => {
    take(["a"]);
    const { response } = session.answer(secrets) ?? {};
    expect(response).toMatchObject({ typeUrl: SECRET_TYPE_URL, nonce: "n1" });
    expect(response?.versionInfo).toMatch(/^[0-9a-f]{32}$/);
    expect(response?.resources).toEqual([{ typeUrl: SECRET_TYPE_URL, value: new Uint8Array(10) }]);
  });

  it("refuses more secrets than a message can hold", () => {
    secrets.secrets.set("a", fakeSecret("a", "1", 2 ** 21));
    secrets.secrets.set("b", fakeSecret("b", "1", 2 ** 21));
    take(["a", "b"]);
    expect(() => session.answer(secrets)).toThrowCode("MESSAGE_TOO_LARGE");
  });
});

function take(resourceNames: readonly string[], more: MessageInitShape<typeof DiscoveryRequestSchema> = {}) {
  return session.take(create(DiscoveryRequestSchema, { ...more, resourceNames: [...resourceNames] }));
}

function answer() {
  const told = session.answer(secrets);
  if (told === undefined) return undefined;
  const { versionInfo = "", nonce = "" } = told.response;
  return { names: told.secrets.map(({ name }) => name), version: versionInfo, nonce };
}

/** Takes a request in that is answered. */
function ask(resourceNames: readonly string[]) {
  take(resourceNames);
  const told = answer();
  if (told === undefined) throw new Error("there was no answer");
  return told;
}
