import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { X509SVIDResponse } from "../../src/proto/gen/spiffe/workload/workload_pb.ts";
import { SpiffeWorkloadAPI } from "../../src/proto/gen/spiffe/workload/workload_pb.ts";
import { workloadClient } from "../e2e/workload.ts";
import { makeAuthority } from "../fakes/svid-factory.ts";
import { viewCertificates } from "./certificate-view.ts";
import { federate } from "./foreign.ts";
import { eventually, firstOf, makeWorld, SECURED, type World } from "./world.ts";

const OWN = "spiffe://example.org";
let world: World;

beforeAll(async () => {
  world = await makeWorld({ agentFlags: ["--rate-limit=off"] });
  await federate(world, { x509: [makeAuthority("a.test")] }, "a.test");
  await world.createEntry({ path: "/first", federatesWith: ["a.test"] });
});

beforeEach(async () => {
  await eventually(
    () => firstOf(world.api.fetchX509SVID({}, SECURED)),
    ({ svids }) => svids.length === 1,
  );
});

afterAll(() => world?.[Symbol.asyncDispose]());

const idsOf = ({ svids }: X509SVIDResponse) => svids.map(({ spiffeId }) => spiffeId);

/** An open stream of X509-SVIDs. */
class Watch implements AsyncDisposable {
  readonly #stream = world.api.fetchX509SVID({}, SECURED);

  async next(): Promise<X509SVIDResponse> {
    const { value, done } = await this.#stream.next();
    if (done === true) throw new Error("the stream ended with OK");
    return value;
  }

  /** The next message that passes; those before it must be complete too. */
  async until(passes: (message: X509SVIDResponse) => boolean): Promise<X509SVIDResponse> {
    for (;;) {
      const message = await this.next();
      expect(message.svids.length).toBeGreaterThan(0);
      if (passes(message)) return message;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stream.return();
  }
}

describe("messages", () => {
  it("WA-09 are complete after each change, whatever it was that changed", async () => {
    await using watch = new Watch();
    expect(idsOf(await watch.next())).toEqual([`${OWN}/first`]);

    const short = await world.createEntry({ path: "/short", x509SvidTtl: 12 });
    const both = await watch.until(({ svids }) => svids.length === 2);
    const renewed = await watch.until(
      ({ svids }) =>
        !Buffer.from(svids[1]?.x509Svid ?? []).equals(Buffer.from(both.svids[1]?.x509Svid ?? [])),
    );
    expect(idsOf(renewed)).toEqual(idsOf(both));
    expect(renewed.svids[0]?.x509Svid).toEqual(both.svids[0]?.x509Svid);
    expect(Object.keys(renewed.federatedBundles)).toEqual(["spiffe://a.test"]);

    await federate(world, { x509: [makeAuthority("a.test"), makeAuthority("a.test")] }, "a.test");
    const grown = await watch.until(
      ({ federatedBundles }) =>
        viewCertificates(federatedBundles["spiffe://a.test"] ?? Buffer.of()).length === 2,
    );
    expect(idsOf(grown)).toEqual(idsOf(both));

    await world.deleteEntry(short);
    const last = await watch.until(({ svids }) => svids.length === 1);
    expect(idsOf(last)).toEqual([`${OWN}/first`]);
    expect(last.svids[0]?.bundle.length).toBeGreaterThan(0);
    expect(Object.keys(last.federatedBundles)).toEqual(["spiffe://a.test"]);
  });

  it("WA-10 come when something has changed and not otherwise", async () => {
    await using watch = new Watch();
    await watch.next();
    const second = watch.next();
    const quiet = Symbol("quiet");
    const pause = new Promise<typeof quiet>((resolve) => setTimeout(() => resolve(quiet), 3000));
    expect(await Promise.race([second, pause])).toBe(quiet);
    // What others have does not concern this caller.
    const theirs = await world.createEntry({ path: "/theirs", selectors: world.otherSelectors });
    const mine = await world.createEntry({ path: "/mine" });
    expect(idsOf(await second)).toEqual([`${OWN}/first`, `${OWN}/mine`]);
    await world.deleteEntry(theirs, mine);
  });

  it.each(["WA-11", "WA-12"])(
    "%s begin with one at once on every stream, though nothing has changed",
    async () => {
      const before = performance.now();
      for (let i = 0; i < 20; i++) {
        await firstOf(world.api.fetchX509SVID({}, SECURED));
        await firstOf(world.api.fetchX509Bundles({}, SECURED));
        await firstOf(world.api.fetchJWTBundles({}, SECURED));
      }
      // Far above what they take, far below the five seconds after which an agent asks its server again.
      expect((performance.now() - before) / 60).toBeLessThan(1000);
    },
  );

  it("WA-22 never come without an SVID, also while entries come and go", async () => {
    await using watch = new Watch();
    await watch.next();
    for (let i = 0; i < 5; i++) {
      const id = await world.createEntry({ path: `/come-${i}` });
      await watch.until(({ svids }) => svids.length === 2);
      await world.deleteEntry(id);
      await watch.until(({ svids }) => svids.length === 1);
    }
  });
});

describe("many callers", () => {
  it.each(["WA-06", "WA-13"])("%s are served at once, and all of them hear of a change", async () => {
    const clients = Array.from({ length: 10 }, () => workloadClient(world.agentPlace.socket));
    const streams = clients.flatMap((client) =>
      Array.from({ length: 50 }, () => client.service(SpiffeWorkloadAPI).fetchX509SVID({}, SECURED)),
    );
    try {
      const first = await Promise.all(streams.map((stream) => stream.next()));
      expect(first.every(({ value }) => value?.svids.length === 1)).toBe(true);
      const other = world.asOther("FetchX509SVID");
      const id = await world.createEntry({ path: "/for-all" });
      const second = await Promise.all(streams.map((stream) => stream.next()));
      expect(second.every(({ value }) => value?.svids.length === 2)).toBe(true);
      expect((await other).grpcStatus).toBe(7);
      await world.deleteEntry(id);
    } finally {
      for (const client of clients) client[Symbol.dispose]();
    }
  });
});

describe("the end of a stream", () => {
  it("WE-21 is Unavailable and never OK when the agent stops", async () => {
    await using own = await makeWorld();
    await own.createEntry({ path: "/x" });
    await eventually(() => firstOf(own.api.fetchX509SVID({}, SECURED)));
    const streams = [
      own.api.fetchX509SVID({}, SECURED),
      own.api.fetchX509Bundles({}, SECURED),
      own.api.fetchJWTBundles({}, SECURED),
    ];
    for (const stream of streams) await stream.next();
    const stopped = own.agent.program.stop();
    for (const stream of streams)
      await expect(stream.next()).rejects.toMatchObject({ status: "UNAVAILABLE" });
    expect((await stopped).code).toBe(0);
  });
});
