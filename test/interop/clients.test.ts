import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Program } from "../e2e/program.ts";
import {
  type Client,
  CLIENTS,
  type FaultLine,
  GO_SPIFFE,
  type JwtBundlesLine,
  type JwtLine,
  type MtlsLine,
  Probe,
  type X509Line,
} from "./clients.ts";
import { type ForeignBundle, makeForeignBundle } from "./foreign.ts";
import { type Issuer, MAKES, NODE_ID, SHORT_TTL, startIssuer } from "./issuers.ts";
import { BUILD_PATIENCE, buildPeer, describeWith } from "./peers.ts";

describeWith(["go", "openssl", "root"], "a program on a SPIFFE library", () => {
  describe.each(MAKES)("served by %s", (make) => {
    let issuer: Issuer;
    /** The other end of mTLS, which the first client's tests have shown to work. */
    let go: Probe;

    beforeAll(async () => {
      const entries = CLIENTS.map(workloadsOf).flatMap(({ one, two, rotating, leaving, federating }) => [
        entryOf(one),
        entryOf(two),
        { ...entryOf(rotating), x509SvidTtl: SHORT_TTL[make] },
        entryOf(leaving),
        entryOf(federating),
      ]);
      issuer = await startIssuer(make, await buildPeer("spire"), entries);
      go = await Probe.place(GO_SPIFFE, issuer);
      // SPIRE's agent hears of entries when it asks next, and of all at once; ours has them when it is ready.
      await using watching = go.start(workloadsOf(GO_SPIFFE).one.uid, "watch");
      await watching.json<X509Line>(({ event }) => event === "x509");
    }, BUILD_PATIENCE);

    afterAll(async () => {
      await issuer?.[Symbol.asyncDispose]();
    });

    for (const client of CLIENTS) {
      describeWith(client.needs, client.library, () => {
        const { one, two, rotating, leaving, federating, nobody } = workloadsOf(client);
        const partner = workloadsOf(GO_SPIFFE).one;
        let probe: Probe;

        beforeAll(async () => {
          probe = client === GO_SPIFFE ? go : await Probe.place(client, issuer);
        }, BUILD_PATIENCE);

        it.each([one, two])("gets the X509-SVID of its own uid $uid and no other", async ({ uid, id }) => {
          const { code, stdout } = await probe.once(uid, "x509");
          expect(code, stdout).toBe(0);
          const answer = JSON.parse(stdout) as X509Line;
          expect(answer.identities.map((identity) => identity.id)).toEqual([id]);
          expect(answer.default).toBe(id);
          expect(Object.keys(answer.bundles)).toEqual(["example.org"]);
        });

        it("gets a JWT-SVID that validates through the API and offline, for its own audience only", async () => {
          const { code, stdout } = await probe.once(one.uid, "jwt", "spiffe://example.org/database");
          expect(code, stdout).toBe(0);
          const answer = JSON.parse(stdout) as JwtLine;
          expect(answer).toMatchObject({
            id: one.id,
            audience: ["spiffe://example.org/database"],
            validatedByApi: one.id,
            validatedOffline: one.id,
          });
          expect(answer.foreignAudienceByApi).toMatch(/invalid.?argument/i);
          expect(answer.foreignAudienceOffline).toMatch(/aud/i);
          expect(answer.alteredOffline).toMatch(/signature|verif|cryptographic/i);
        });

        it.each([["x509"], ["jwt", "anybody"]])(
          "is refused with PermissionDenied under a uid without an entry (%s)",
          async (...command) => {
            const { code, stdout } = await probe.once(nobody.uid, ...command);
            expect(code, stdout).toBe(1);
            const refusal = JSON.parse(stdout) as FaultLine;
            expect(refusal.code, stdout).toBe("PermissionDenied");
            expect(refusal.message).toContain("no identity issued");
          },
        );

        it("does mTLS with itself, each side authorising the other by ID", async () => {
          await meet({ probe, ...one }, { probe, ...two });
        });

        if (client !== GO_SPIFFE) {
          it("does mTLS with a go-spiffe program, as the server and as the client", async () => {
            await meet({ probe, ...one }, { probe: go, ...partner });
            await meet({ probe: go, ...partner }, { probe, ...one });
          });
        }

        it("turns away a caller of another ID, and a server of another ID", async () => {
          await using listening = probe.start(one.uid, "mtls-server", "127.0.0.1:0", two.id);
          const address = await addressOf(listening);
          const intruder = await go.once(partner.uid, "mtls-client", address, one.id);
          expect(intruder.code, intruder.stdout).toBe(1);
          await listening.json<MtlsLine>(({ event }) => event === "refused");
          const deceived = await probe.once(two.uid, "mtls-client", address, two.id);
          expect(deceived.code, deceived.stdout).toBe(1);
          expect(heard<MtlsLine>(listening, "peer")).toEqual([]);
        });

        it("hears on its open stream of an entry that is added, and of its end", async () => {
          await using watching = probe.start(one.uid, "watch");
          await watching.json<X509Line>((line) => line.identities?.length === 1);
          const added = `${one.id}/added`;
          const entry = await issuer.server.createEntry(entryOf({ ...one, id: added }));
          const more = await watching.json<X509Line>((line) => line.identities?.length === 2);
          expect(more.identities.map(({ id }) => id).toSorted()).toEqual([one.id, added]);
          if (make === "assay") expect(more.default).toBe(one.id);
          const from = watching.lines.length;
          await issuer.server.deleteEntry(entry);
          const fewer = await watching.json<X509Line>((line) => line.identities?.length === 1, { from });
          expect(fewer.identities.map(({ id }) => id)).toEqual([one.id]);
        });

        it("sees the bundles of a federated trust domain come, change and go", async () => {
          const foreign = `domain-${client.firstUid}.example`;
          const [first, second] = [
            await makeForeignBundle(issuer.scratch, foreign, 1),
            await makeForeignBundle(issuer.scratch, foreign, 2),
          ];
          await using watching = probe.start(federating.uid, "watch");
          await watching.json<X509Line>((line) => line.identities?.length === 1);
          await watching.json<JwtBundlesLine>(({ event }) => event === "jwtBundles");

          await issuer.server.setBundle(foreign, first.document);
          const entry = await issuer.server.createEntry({
            ...entryOf({ ...federating, id: `${federating.id}/abroad` }),
            federatesWith: foreign,
          });
          await holds(watching, first);

          await issuer.server.setBundle(foreign, second.document);
          await holds(watching, second);

          const from = watching.lines.length;
          await issuer.server.deleteBundle(foreign);
          for (const event of ["x509", "jwtBundles"]) {
            const gone = (line: X509Line | JwtBundlesLine) =>
              line.event === event && Object.keys(line.bundles).join() === "example.org";
            await watching.json(gone, { from });
          }
          expect(heard<FaultLine>(watching, "broken")).toEqual([]);
          await issuer.server.deleteEntry(entry);
        });

        it("goes on over a rotation, in an open stream and in TLS", async () => {
          const serialOf = ({ identities }: X509Line) => identities[0]?.serial;
          // The watcher first, so that it has seen whatever the server has.
          await using watching = probe.start(rotating.uid, "watch");
          await watching.json<X509Line>(({ event }) => event === "x509");
          await using serving = probe.start(rotating.uid, "mtls-server", "127.0.0.1:0", partner.id);
          const address = await addressOf(serving);
          const before = await call(address, rotating.id);
          const { length: from } = watching.lines;
          const after = await watching.json<X509Line>(
            (line) => line.event === "x509" && serialOf(line) !== before.peerSerial,
            { from },
          );
          expect(after.identities.map(({ id }) => id)).toEqual([rotating.id]);
          // The two programs hear of it in their own time, and it may have gone on: every call must succeed meanwhile.
          let served = before.peerSerial;
          while (served === before.peerSerial) served = (await call(address, rotating.id)).peerSerial;
          expect(heard<X509Line>(watching, "x509").map(serialOf)).toContain(before.peerSerial);
          expect(heard<FaultLine>(watching, "broken")).toEqual([]);
          expect(heard<MtlsLine>(serving, "refused")).toEqual([]);
        });

        it("is told when its last entry is gone", async () => {
          await using watching = probe.start(leaving.uid, "watch");
          await watching.json<X509Line>((line) => line.identities?.length === 1);
          await watching.json<JwtBundlesLine>(({ event }) => event === "jwtBundles");
          await issuer.server.deleteEntry(issuer.entryIds.get(leaving.id) ?? "");
          for (const ended of ["x509", "jwtBundles"]) {
            const end = await watching.json<FaultLine>(
              ({ event, stream }) => event === "broken" && stream === ended,
            );
            expect(end.code, end.message).toBe("PermissionDenied");
          }
          const { code, stdout } = await probe.once(leaving.uid, "x509");
          expect(code, stdout).toBe(1);
          expect(stdout).toContain("no identity issued");
        });

        /** A go-spiffe program calls a server of an ID, which must answer. */
        async function call(address: string, id: string): Promise<MtlsLine> {
          const { code, stdout } = await go.once(partner.uid, "mtls-client", address, id);
          expect(code, stdout).toBe(0);
          return JSON.parse(stdout) as MtlsLine;
        }
      });
    }
  });
});

interface Workload {
  readonly uid: number;
  readonly id: string;
}

/** A workload and the program that it runs. */
interface Party extends Workload {
  readonly probe: Probe;
}

/** One party serves and the other calls: each must see the other's ID. */
async function meet(server: Party, client: Party): Promise<void> {
  await using listening = server.probe.start(server.uid, "mtls-server", "127.0.0.1:0", client.id);
  const { code, stdout } = await client.probe.once(
    client.uid,
    "mtls-client",
    await addressOf(listening),
    server.id,
  );
  expect(code, stdout).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({
    own: client.id,
    peer: server.id,
    said: `${server.id} greets ${client.id}`,
  });
  await listening.json<MtlsLine>(({ event, peer }) => event === "peer" && peer === client.id);
}

async function addressOf(listening: Program): Promise<string> {
  const { address } = await listening.json<MtlsLine>(({ event }) => event === "listening");
  return address ?? "";
}

/** Waits until both streams have shown a foreign bundle, beside the own. */
async function holds(watching: Program, { trustDomain, x509Authority, keyId }: ForeignBundle): Promise<void> {
  const x509 = await watching.json<X509Line>(
    ({ event, bundles }) => event === "x509" && bare(bundles[trustDomain]) === x509Authority,
  );
  expect(Object.keys(x509.bundles).toSorted()).toEqual([trustDomain, "example.org"].toSorted());
  const jwt = await watching.json<JwtBundlesLine>(
    ({ event, bundles }) => event === "jwtBundles" && bundles[trustDomain]?.join() === keyId,
  );
  expect(Object.keys(jwt.bundles).toSorted()).toEqual([trustDomain, "example.org"].toSorted());
}

/** The base64 between the marks of a PEM with one certificate. */
function bare(pem: string | undefined): string | undefined {
  return pem?.replaceAll(/-----[A-Z ]+-----|\s/g, "");
}

/** All lines of an event that a program has said so far. */
function heard<T extends { readonly event: string }>(program: Program, event: T["event"]): T[] {
  return program.lines
    .filter((line) => line.startsWith("{"))
    .map((line) => JSON.parse(line) as T)
    .filter((line) => line.event === event);
}

/** The workloads of a client's tests: those that stay as they are, and one for each test that changes something. */
function workloadsOf({ peer, firstUid }: Client) {
  const workload = (place: number, name: string): Workload => ({
    uid: firstUid + place,
    id: `spiffe://example.org/${peer}/${name}`,
  });
  return {
    one: workload(1, "one"),
    two: workload(2, "two"),
    rotating: workload(3, "rotating"),
    leaving: workload(4, "leaving"),
    federating: workload(5, "federating"),
    /** Has no entry. */
    nobody: workload(6, "nobody"),
  };
}

function entryOf({ uid, id }: Workload) {
  return { parentId: NODE_ID, spiffeId: id, selectors: [`unix:uid:${uid}`] };
}
