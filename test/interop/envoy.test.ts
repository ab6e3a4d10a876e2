import { writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import { request } from "node:https";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { systemClock } from "../../src/clock.ts";
import type { Certificate } from "../../src/crypto/certificate-reader.ts";
import { formatBundleDocument } from "../../src/crypto/bundle-document.ts";
import { toPem } from "../../src/crypto/pem.ts";
import { emptyBundle } from "../../src/spiffe/bundle.ts";
import { parseTrustDomain, trustDomainUri } from "../../src/spiffe/trust-domain.ts";
import { assay, placeAgent, placeServer, startAgent, startServer } from "../e2e/harness.ts";
import { makeScratch } from "../e2e/scratch.ts";
import { makeCertificate, makeKey, type TestKey } from "../fakes/certificates.ts";
import { makeCrl } from "../fakes/crl.ts";
import {
  type Answer,
  cluster,
  Envoy,
  eventually,
  expecting,
  httpGet,
  httpListener,
  type Protocol,
  readSnippets,
  type Snippets,
} from "./envoy.ts";
import { type Issuer, type Make, NODE_ID, startIssuer } from "./issuers.ts";
import { BUILD_PATIENCE, buildPeer, describeWith, placeForAll } from "./peers.ts";

const CLIENT = { uid: 61_501, id: "spiffe://example.org/client" };
const SERVER = { uid: 61_502, id: "spiffe://example.org/server" };
const LATE = { uid: 61_503, id: "spiffe://example.org/late" };
const OTHER = "spiffe://example.org/other";
const PARTNER = parseTrustDomain("partner.example");
const PARTNER_ID = "spiffe://partner.example/workload";
/** Seconds; X509-SVIDs are replaced at half of it. */
const TTL = 16;

const WORLDS: readonly (readonly [Make, Protocol])[] = [
  ["assay", "GRPC"],
  ["assay", "DELTA_GRPC"],
  // SPIRE has no incremental protocol.
  ["spire", "GRPC"],
];

describeWith(["go", "python", "root"], "Envoy 1.40.0", () => {
  describe.each(WORLDS)("served by %s over %s", (make, protocol) => {
    const stack = new AsyncDisposableStack();
    let issuer: Issuer;
    let binary: string;
    let snippets: Snippets;
    let partner: ReturnType<typeof makePartner>;
    let client: Envoy;
    let server: Envoy;
    let clientEntry: string;

    beforeAll(async () => {
      const [spire, envoy] = [await buildPeer("spire"), await buildPeer("envoy")];
      issuer = stack.use(await startIssuer(make, spire, []));
      binary = await placeForAll(join(envoy, "envoy"), issuer.scratch);
      snippets = await readSnippets(protocol, issuer.endpoint.slice("unix://".length));
      partner = makePartner();
      await issuer.server.setBundle(PARTNER, partner.bundleDocument);
      clientEntry = await createEntry(CLIENT, { x509SvidTtl: TTL });
      await createEntry(SERVER, { x509SvidTtl: TTL, federatesWith: PARTNER });

      const backend = stack.use(await startBackend());
      const { downstream, upstream } = snippets;
      server = await startEnvoy("server", SERVER.uid, {
        listeners: [
          httpListener("client_only", "backend", expecting(downstream, [CLIENT.id])),
          httpListener("other_only", "backend", expecting(downstream, [OTHER])),
          httpListener(
            "everyone",
            "backend",
            expecting(downstream, [CLIENT.id, PARTNER_ID], { bundles: "ALL" }),
          ),
        ],
        clusters: [cluster("backend", backend.port)],
      });
      await server.ready();
      const clientOnly = await server.port("client_only");
      client = await startEnvoy("client", CLIENT.uid, {
        listeners: ["to_server", "to_other_door", "to_impostor"].map((name) => httpListener(name, name)),
        clusters: [
          cluster("to_server", clientOnly, expecting(upstream, [SERVER.id])),
          cluster("to_other_door", await server.port("other_only"), expecting(upstream, [SERVER.id])),
          cluster("to_impostor", clientOnly, expecting(upstream, [OTHER])),
        ],
      });
      await client.ready();
    }, BUILD_PATIENCE);

    afterAll(() => stack.disposeAsync());

    it("does mTLS with another Envoy, each knowing the other by its SPIFFE ID", async () => {
      const { status, body } = await through("to_server");
      expect(status, body).toBe(200);
      expect(callerIn(body).uri).toBe(CLIENT.id);
      expect((await server.certificates()).flatMap(({ ids }) => ids)).toContain(SERVER.id);
    });

    it("turns away a client of another ID than the listener names", async () => {
      const before = await server.stat(/^listener\..*fail_verify_san$/);
      expect((await through("to_other_door")).status).toBe(503);
      expect(await server.stat(/^listener\..*fail_verify_san$/)).toBeGreaterThan(before);
    });

    it("turns away a server of another ID than the cluster names", async () => {
      expect((await through("to_impostor")).status).toBe(503);
      expect(await client.stat(/^cluster\.to_impostor\.ssl\.fail_verify_san$/)).toBeGreaterThan(0);
    });

    it("takes each rotation over under traffic, and no request fails", async () => {
      const ofClient = new Set<string>();
      const ofServer = new Set<string>();
      const failures: Answer[] = [];
      const deadline = performance.now() + 15 * TTL * 1000;
      let requests = 0;
      while (Math.min(ofClient.size, ofServer.size) < 3 && performance.now() < deadline) {
        const answer = await through("to_server");
        requests += 1;
        if (answer.status !== 200) failures.push(answer);
        else ofClient.add(callerIn(answer.body).hash);
        for (const { serial, ids } of await server.certificates()) {
          if (ids.includes(SERVER.id)) ofServer.add(serial);
        }
      }
      expect(failures).toEqual([]);
      expect([ofClient.size >= 3, ofServer.size >= 3], `${requests} requests`).toEqual([true, true]);
      expect(await client.stat(/^cluster\.to_server\.ssl\.handshake$/)).toBeGreaterThanOrEqual(requests);
    });

    it("lets a workload of a federated trust domain in by ALL, as long as its bundle is there", async () => {
      const svid = partner.svid(PARTNER_ID);
      await eventually(
        "the federated bundle",
        async () => (await asPartner("everyone", svid)).status === 200,
      );
      expect(callerIn((await asPartner("everyone", svid)).body).uri).toBe(PARTNER_ID);
      // The own trust domain's authorities alone know nothing of it.
      expect((await asPartner("client_only", svid)).status).toBe(0);
    });

    it("does not let a federated trust domain speak for ours", async () => {
      expect((await asPartner("everyone", partner.svid(CLIENT.id))).status).toBe(0);
    });

    // SPIRE has no revocation lists.
    if (make === "assay") {
      it("turns away whom a revocation list names, and nobody else", async () => {
        const [good, bad] = [partner.svid(PARTNER_ID), partner.svid(PARTNER_ID)];
        expect([
          (await asPartner("everyone", good)).status,
          (await asPartner("everyone", bad)).status,
        ]).toEqual([200, 200]);
        const file = issuer.scratch.at("partner.crl");
        await writeFile(file, partner.revoking(bad));
        const flags = [
          `--trust-domain=${PARTNER}`,
          `--file=${file}`,
          `--admin-socket=${issuer.server.adminSocket}`,
        ];
        const { code, stderr } = await assay(["bundle", "crl", "set", ...flags]);
        expect(code, stderr).toBe(0);
        await eventually("the revocation", async () => (await asPartner("everyone", bad)).status === 0);
        expect((await asPartner("everyone", good)).status).toBe(200);
        // A list of one trust domain asks nothing of another.
        expect((await through("to_server")).status).toBe(200);
      });
    }

    it("shuts a federated trust domain out when its bundle is deleted", async () => {
      await issuer.server.deleteBundle(PARTNER);
      await eventually(
        "the end of trust",
        async () => (await asPartner("everyone", partner.svid(PARTNER_ID))).status === 0,
      );
      expect((await through("to_server")).status).toBe(200);
    });

    it("waits for an entry that comes after it, and is served as soon as it is there", async () => {
      await using late = await Envoy.start(binary, issuer.scratch, {
        name: "late",
        uid: LATE.uid,
        listeners: [httpListener("late", "nowhere", expecting(snippets.downstream, [CLIENT.id]))],
        clusters: [snippets.cluster, cluster("nowhere", 1)],
      });
      await eventually(
        "its question",
        async () => (await late.stat(/^cluster\.assay_agent\.upstream_rq_total$/)) >= 2,
      );
      expect(await late.isReady()).toBe(false);
      expect(await late.certificates()).toEqual([]);
      await createEntry(LATE);
      const since = performance.now();
      await eventually("its identity", async () =>
        (await late.certificates()).some(({ ids }) => ids.includes(LATE.id)),
      );
      await late.ready();
      if (make === "spire") return;
      expect(performance.now() - since).toBeLessThan(5000);
      // It never had to ask again: one stream for each secret.
      expect(await late.stat(/^cluster\.assay_agent\.upstream_rq_total$/)).toBe(2);
    });

    it("goes on with what it has when its entry is gone, until that expires, and is served anew", async () => {
      await issuer.server.deleteEntry(clientEntry);
      expect((await through("to_server")).status).toBe(200);
      await eventually("expiry", async () => (await through("to_server")).status === 503, 4 * TTL * 1000);
      if (make === "assay") expect(await client.stat(/^sds\.default\.update_rejected$/)).toBe(0);
      await createEntry(CLIENT, { x509SvidTtl: TTL });
      await eventually("another start", async () => (await through("to_server")).status === 200, 60_000);
    });

    function createEntry(
      { uid, id }: typeof CLIENT,
      more: { readonly x509SvidTtl?: number; readonly federatesWith?: string } = {},
    ): Promise<string> {
      return issuer.server.createEntry({
        parentId: NODE_ID,
        spiffeId: id,
        selectors: [`unix:uid:${uid}`],
        ...more,
      });
    }

    async function startEnvoy(
      name: string,
      uid: number,
      { listeners, clusters }: Pick<Parameters<typeof Envoy.start>[2], "listeners" | "clusters">,
    ): Promise<Envoy> {
      const all = [snippets.cluster, ...clusters];
      return stack.use(await Envoy.start(binary, issuer.scratch, { name, uid, listeners, clusters: all }));
    }

    async function through(listener: string): Promise<Answer> {
      return httpGet({ port: await client.port(listener) });
    }

    /** One request over TLS with an SVID of the partner. */
    async function asPartner(listener: string, { certificate, key }: PartnerSvid): Promise<Answer> {
      const port = await server.port(listener);
      return new Promise((resolve) => {
        const call = request(
          {
            host: "127.0.0.1",
            port,
            agent: false,
            // Only the server's judgement is looked at.
            rejectUnauthorized: false,
            cert: toPem("CERTIFICATE", certificate.der),
            key: toPem("PRIVATE KEY", key.pkcs8),
          },
          (response) => {
            let body = "";
            response.on("data", (chunk: Buffer) => (body += chunk.toString()));
            response.on("end", () => resolve({ status: response.statusCode ?? 0, body }));
            response.on("error", (error) => resolve({ status: 0, body: error.message }));
          },
        );
        call.on("error", (error) => resolve({ status: 0, body: error.message }));
        call.end();
      });
    }
  });
});

describeWith(["python", "root"], "Envoy 1.40.0 without SPIFFE's validator", () => {
  const protocols: readonly Protocol[] = ["GRPC", "DELTA_GRPC"];

  it.each(protocols)(
    "gets CA certificates over %s, and lives through a restart of the agent",
    async (protocol) => {
      await using scratch = await makeScratch();
      const binary = await placeForAll(join(await buildPeer("envoy"), "envoy"), scratch);
      await using server = await startServer(await placeServer(scratch));
      const entry = await server.createEntry({
        parentId: NODE_ID,
        spiffeId: SERVER.id,
        selectors: [`unix:uid:${SERVER.uid}`],
      });
      const wanted = { server: server.place.address, trustBundleFile: await server.trustBundleFile() };
      const joinTokenFile = await server.joinTokenFile(NODE_ID);
      const place = placeAgent(scratch);
      await using agent = await startAgent(place, { ...wanted, joinTokenFile });
      const { downstream, cluster: ofAgent } = await readSnippets(protocol, place.socket);
      await using envoy = await Envoy.start(binary, scratch, {
        name: "plain",
        uid: SERVER.uid,
        metadata: { disable_spiffe_cert_validation: "true" },
        listeners: [httpListener("door", "nowhere", expecting(downstream, [CLIENT.id]))],
        clusters: [ofAgent, cluster("nowhere", 1)],
      });
      await envoy.ready();
      const { body: secrets } = await envoy.ask("/config_dump?resource=dynamic_active_secrets");
      expect(secrets).toContain('"trusted_ca"');
      expect(secrets).not.toContain("envoy.tls.cert_validator.spiffe");
      expect(await taken(envoy)).toEqual([1, 1]);

      await agent.program.stop();
      await using again = await startAgent(place, wanted);
      await eventually("its streams", async () => (await envoy.stat(STREAMS)) === 2);
      const [before] = await envoy.certificates();
      await server.ask("entry", "update", `--id=${entry}`, "--x509-svid-ttl=30m");
      await eventually("another SVID", async () =>
        (await envoy.certificates()).every(({ serial }) => serial !== before?.serial),
      );
      // Whoever says what it has is not sent it again; the other protocol answers each first question.
      if (protocol === "DELTA_GRPC") expect(await taken(envoy)).toEqual([2, 1]);
      else expect((await taken(envoy))[1]).toBe(2);
      expect(again.program.lines.join("\n")).not.toContain("rejected");
    },
  );

  /** How many versions of its SVID and of its roots an Envoy has taken over. */
  async function taken(envoy: Envoy): Promise<readonly number[]> {
    const of = (name: string) => envoy.stat(new RegExp(`sds\\.${name}\\.update_success$`));
    return [await of("default"), await of("ROOTCA")];
  }

  const STREAMS = /^cluster\.assay_agent\.upstream_rq_active$/;
});

/** A server that answers with what it is told of its caller's certificate. */
async function startBackend(): Promise<AsyncDisposable & { readonly port: number }> {
  const server: Server = createServer((incoming, response) => {
    response.end(String(incoming.headers["x-forwarded-client-cert"]));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** A foreign trust domain that signs for whatever ID it likes, and takes it back. */
function makePartner() {
  const now = Math.floor(systemClock.now() / 1000);
  const inForce = { notBefore: now - 60, notAfter: now + 3600 };
  const uris = [trustDomainUri(PARTNER)];
  const authorityKey = makeKey();
  const authority = makeCertificate({ subject: PARTNER, key: authorityKey, ca: true, uris, ...inForce });
  const issuer = { certificate: authority, key: authorityKey };
  return {
    bundleDocument: formatBundleDocument({
      ...emptyBundle(PARTNER),
      x509Authorities: [{ certificate: authority.der, tainted: false }],
    }),
    svid(id: string): PartnerSvid {
      const key = makeKey();
      return {
        key,
        certificate: makeCertificate({ subject: "workload", key, issuer, uris: [id], ...inForce }),
      };
    },
    revoking: ({ certificate }: PartnerSvid): Uint8Array =>
      makeCrl({ issuer, revoked: [certificate.serial], thisUpdate: now - 60, nextUpdate: now + 3600 }),
  };
}

interface PartnerSvid {
  readonly certificate: Certificate;
  readonly key: TestKey;
}

/** Who a backend says has called: the SPIFFE ID, and the hash of the certificate. */
function callerIn(header: string): { readonly uri: string; readonly hash: string } {
  const field = (name: string) => new RegExp(`(?:^|;)${name}=([^;]*)`).exec(header)?.[1] ?? "";
  return { uri: field("URI"), hash: field("Hash") };
}
