import { beforeEach, describe, expect, it } from "vitest";
import { FakeAuthority } from "../../../test/fakes/agent-authority.ts";
import { fakeEntry } from "../../../test/fakes/agent-server.ts";
import { FakeServerApi } from "../../../test/fakes/agent-server-api.ts";
import { FakeClock } from "../../../test/fakes/clock.ts";
import { AssayError } from "../../errors/assay-error.ts";
import { parseAudiences } from "../../spiffe/audience.ts";
import type { SpiffeBundle } from "../../spiffe/bundle.ts";
import { parseSpiffeId } from "../../spiffe/id.ts";
import { parseTrustDomain } from "../../spiffe/trust-domain.ts";
import { learningSigner } from "./learning-signer.ts";
import type { SyncUpdate } from "./sync-update.ts";

const trustDomain = parseTrustDomain("example.org");
const agentId = parseSpiffeId("spiffe://example.org/spire/agent/x/1");
const audience = parseAudiences(["a"]);
const { signal } = new AbortController();

let authority: FakeAuthority;
let connections: FakeServerApi[];
let bundle: SpiffeBundle;
let learnt: number;

/** A connection to the server; the newest is the present one. */
function connect(): FakeServerApi {
  const server = new FakeServerApi(authority, agentId);
  server.entries.set("1", fakeEntry(parseSpiffeId("spiffe://example.org/web"), 1, { id: "1" }));
  connections.push(server);
  return server;
}

/** A connection that is replaced while a call waits for it, which fails the call. */
function connectInVain(code: "SERVER_UNAVAILABLE" | "RATE_LIMITED" = "SERVER_UNAVAILABLE"): void {
  const server = connect();
  server.signJwt = async () => {
    connect();
    throw new AssayError(code, "channel closed before the call started");
  };
}

const signer = () =>
  learningSigner(
    () => connections.at(-1) as FakeServerApi,
    () => ({
      table: { bundle } as never,
      apply: (update: SyncUpdate) => {
        learnt += 1;
        bundle = update.bundle ?? bundle;
        return {} as never;
      },
    }),
  );

beforeEach(async () => {
  authority = await FakeAuthority.create(trustDomain, new FakeClock());
  connections = [];
  bundle = authority.bundle();
  learnt = 0;
});

describe("a call to the server", () => {
  it("is made again where the connection was replaced while it waited", async () => {
    connectInVain();
    expect((await signer().signJwt("1", audience, signal)).spiffeId).toBe("spiffe://example.org/web");
    expect(connections).toHaveLength(2);
  });

  it("fails where the connection is the present one still, or the server has answered", async () => {
    connect().failure = new AssayError("SERVER_UNAVAILABLE", "down");
    await expect(signer().signJwt("1", audience, signal)).rejects.toThrowCode("SERVER_UNAVAILABLE");
    expect(connections[0]?.jwtCalls).toHaveLength(1);
    connectInVain("RATE_LIMITED");
    await expect(signer().signJwt("1", audience, signal)).rejects.toThrowCode("RATE_LIMITED");
  });

  it("is not made for ever where every connection is replaced", async () => {
    const inVain = (): void => {
      connect().signJwt = async () => {
        inVain();
        throw new AssayError("SERVER_UNAVAILABLE", "closed");
      };
    };
    inVain();
    await expect(signer().signJwt("1", audience, signal)).rejects.toThrowCode("SERVER_UNAVAILABLE");
    expect(connections).toHaveLength(5);
  });
});

it("the bundle is asked for where a token's key is not in it, before anybody has the token", async () => {
  connect();
  await signer().signJwt("1", audience, signal);
  expect(learnt).toBe(0);
  bundle = { ...bundle, jwtAuthorities: [] };
  await signer().signJwt("1", audience, signal);
  expect(learnt).toBe(1);
  expect(bundle.jwtAuthorities.map(({ keyId }) => keyId)).toEqual([authority.keyId]);
});
