import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { connect, type TLSSocket } from "node:tls";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { Program, run } from "../e2e/program.ts";
import { listen } from "../fakes/tls-pair.ts";
import { authorizeId, authorizeMemberOf } from "../../src/workload/authorize.ts";
import { openX509BundleSource } from "../../src/workload/bundle-sources.ts";
import { openJwtSource } from "../../src/workload/jwt-source.ts";
import { tlsClientOptions } from "../../src/workload/tls-client.ts";
import { peerOf } from "../../src/workload/tls-peer.ts";
import { createTlsServer } from "../../src/workload/tls-server.ts";
import { openWitSource } from "../../src/workload/wit-source.ts";
import { openX509Source } from "../../src/workload/x509-source.ts";
import { makeForeignBundle } from "./foreign.ts";
import { type Issuer, MAKES, NODE_ID, SHORT_TTL, startIssuer } from "./issuers.ts";
import { BUILD_PATIENCE, buildPeer, describeWith, placeForAll } from "./peers.ts";

const SELF = { uid: 0, id: "spiffe://example.org/node-client" };
const ROTATING = { uid: 0, id: "spiffe://example.org/node-client/rotating" };
const GO = { uid: 61801, id: "spiffe://example.org/go-peer" };
const PATIENCE = 60_000;

describeWith(["go", "root"], "the Node client", () => {
  describe.each(MAKES)("served by %s", (make) => {
    let issuer: Issuer;
    let probe: string;
    const entryOf = ({ uid, id }: typeof SELF) => ({
      parentId: NODE_ID,
      spiffeId: id,
      selectors: [`unix:uid:${uid}`],
    });

    beforeAll(async () => {
      const [spire, client] = [await buildPeer("spire"), await buildPeer("go-client")];
      issuer = await startIssuer(make, spire, [
        entryOf(SELF),
        { ...entryOf(ROTATING), x509SvidTtl: SHORT_TTL[make] },
        entryOf(GO),
      ]);
      probe = await placeForAll(join(client, "spiffe-probe"), issuer.scratch);
      // SPIRE's agent hears of entries at its next poll only: the client waits for its own, and for the other's here.
      await using source = await open();
      await vi.waitUntil(() => source.x509Svids().length === 2, { timeout: PATIENCE });
      await using watching = probing("watch");
      await watching.line((line) => line.includes(GO.id));
    }, BUILD_PATIENCE);

    afterAll(async () => {
      await issuer?.[Symbol.asyncDispose]();
    });

    const open = (spiffeId = SELF.id) => openX509Source({ address: issuer.endpoint, spiffeId });

    it("has its X509-SVIDs, the bundle of its trust domain, and the same bundle from the other stream", async () => {
      await using source = await open();
      expect(source.x509Svid().spiffeId).toBe(SELF.id);
      expect(
        source
          .x509Svids()
          .map(({ spiffeId }) => spiffeId)
          .toSorted(),
      ).toEqual([SELF.id, ROTATING.id]);
      await using bundles = await openX509BundleSource({ address: issuer.endpoint });
      const [mine, theirs] = [source.x509Bundles(), bundles.x509Bundles()];
      expect([...theirs.keys()]).toEqual(["example.org"]);
      expect([...mine.values()].map(({ authorities }) => authorities.map(hex))).toEqual(
        [...theirs.values()].map(({ authorities }) => authorities.map(hex)),
      );
    });

    it("has JWT-SVIDs that validate here and at the agent, for their audience only", async () => {
      await using source = await openJwtSource({ address: issuer.endpoint });
      const { token } = await source.jwtSvid({ audience: "database", spiffeId: SELF.id });
      expect((await source.validate(token, { audience: "database" })).spiffeId).toBe(SELF.id);
      expect(await source.validateRemotely(token, "database")).toBe(SELF.id);
      await expect(source.validate(token, { audience: "other" })).rejects.toThrowCode("INVALID_JWT_SVID");
      await expect(source.validateRemotely(token, "other")).rejects.toThrowCode("INVALID_JWT_SVID");
      const [head = "", payload = "", signature = ""] = token.split(".");
      const flipped = `${head}.${payload}.${signature.startsWith("A") ? "B" : "A"}${signature.slice(1)}`;
      await expect(source.validate(flipped, { audience: "database" })).rejects.toThrowCode(
        "INVALID_JWT_SVID",
      );
    });

    it("hears of a rotated X509-SVID on its stream", async () => {
      await using source = await open(ROTATING.id);
      const { serial } = source.x509Svid();
      await vi.waitUntil(() => source.x509Svid().serial !== serial, { timeout: PATIENCE });
      expect(source.x509Svid().spiffeId).toBe(ROTATING.id);
    });

    it("hears of an entry that is added, and of its end", async () => {
      await using source = await open();
      const added = { ...SELF, id: `${SELF.id}/added` };
      const has = () => source.x509Svids().some(({ spiffeId }) => spiffeId === added.id);
      const entry = await issuer.server.createEntry(entryOf(added));
      await vi.waitUntil(has, { timeout: PATIENCE });
      await issuer.server.deleteEntry(entry);
      await vi.waitUntil(() => !has(), { timeout: PATIENCE });
      expect(source.x509Svid().spiffeId).toBe(SELF.id);
    });

    it("sees the bundles of a federated trust domain come and go", async () => {
      const foreign = "abroad.test";
      const bundle = await makeForeignBundle(issuer.scratch, foreign, 1);
      await issuer.server.setBundle(foreign, bundle.document);
      await using source = await open();
      await using jwt = await openJwtSource({ address: issuer.endpoint });
      const entry = await issuer.server.createEntry({
        ...entryOf({ ...SELF, id: `${SELF.id}/abroad` }),
        federatesWith: foreign,
      });
      const names = () =>
        [[...source.x509Bundles().keys()].length, [...jwt.jwtBundles().keys()].length].join();
      await vi.waitUntil(() => names() === "2,2", { timeout: PATIENCE });
      await issuer.server.deleteEntry(entry);
      await vi.waitUntil(() => names() === "1,1", { timeout: PATIENCE });
      await issuer.server.deleteBundle(foreign);
    });

    it("says at once that there is no WIT profile where it is off", async () => {
      await expect(openWitSource({ address: issuer.endpoint })).rejects.toThrowCode("UNIMPLEMENTED");
    });

    it("does mTLS with a go-spiffe program as its client", async () => {
      await using source = await open();
      await using listening = probing("mtls-server", "127.0.0.1:0", SELF.id);
      const { address = "" } = await listening.json<MtlsLine>(({ event }) => event === "listening");
      const socket = await call(address, source, GO.id);
      expect(await talk(socket, "node calls")).toBe(`${GO.id} greets ${SELF.id}`);
      await listening.json<MtlsLine>(({ event, peer }) => event === "peer" && peer === SELF.id);
    });

    it("turns away a go-spiffe server of another ID before it has said a word", async () => {
      await using source = await open();
      await using listening = probing("mtls-server", "127.0.0.1:0", SELF.id);
      const { address = "" } = await listening.json<MtlsLine>(({ event }) => event === "listening");
      await expect(call(address, source, ROTATING.id)).rejects.toThrowCode("PEER_REFUSED", GO.id);
      const { message } = await listening.json<MtlsLine>(({ event }) => event === "refused");
      expect(message).not.toContain("calls");
    });

    it("does mTLS with a go-spiffe program as its server, and turns away whom it does not know", async () => {
      await using source = await open();
      const refusals: string[] = [];
      let authorize = authorizeMemberOf("example.org");
      const server = createTlsServer(
        source,
        { authorize: (peer) => authorize(peer), onRefused: ({ message }) => refusals.push(message) },
        (socket) => {
          const name = peerOf(socket)?.spiffeId ?? "nobody";
          socket.on("error", () => undefined);
          socket.once("data", () => socket.end(`${SELF.id} greets ${name}\n`));
        },
      );
      try {
        const address = `127.0.0.1:${await listen(server)}`;
        const { code, stdout } = await finished("mtls-client", address, SELF.id);
        expect(code, stdout).toBe(0);
        expect(JSON.parse(stdout)).toMatchObject({ peer: SELF.id, said: `${SELF.id} greets ${GO.id}` });
        authorize = authorizeId(SELF.id);
        expect((await finished("mtls-client", address, SELF.id)).code).toBe(1);
        expect(refusals.join()).toContain(`peer ${GO.id} is not authorized`);
      } finally {
        server.close();
      }
    });

    function finished(...args: readonly string[]) {
      return run(probe, args, asGo());
    }

    function probing(...args: readonly string[]): Program {
      return Program.start("spiffe-probe", probe, args, asGo());
    }

    function asGo() {
      return { uid: GO.uid, gid: GO.uid, cwd: "/", env: { SPIFFE_ENDPOINT_SOCKET: issuer.endpoint } };
    }
  });
});

/** Connects by mTLS; rejects with why the other end was not believed. */
async function call(
  address: string,
  source: Awaited<ReturnType<typeof openX509Source>>,
  peer: string,
): Promise<TLSSocket> {
  const [host = "", port = ""] = address.split(":");
  const socket = connect({
    host,
    port: Number(port),
    ...tlsClientOptions(source, { authorize: authorizeId(peer) }),
  });
  await once(socket, "secureConnect");
  return socket;
}

/** Says a line and gives the line that comes back. */
async function talk(socket: TLSSocket, line: string): Promise<string> {
  socket.write(`${line}\n`);
  const lines = createInterface({ input: socket });
  const [answer] = (await once(lines, "line")) as [string];
  socket.destroy();
  return answer;
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}

interface MtlsLine {
  readonly event: string;
  readonly address?: string;
  readonly peer?: string;
  readonly message?: string;
}
