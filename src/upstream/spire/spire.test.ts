import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { makeKey } from "../../../test/fakes/certificates.ts";
import { makeCsr } from "../../../test/fakes/issuance-csr.ts";
import { TestAgent } from "../../../test/fakes/server-agent.ts";
import { ServerBench } from "../../../test/fakes/server-bench.ts";
import { wireEntry } from "../../../test/fakes/server-wire.ts";
import { FakeWorkloadEndpoint } from "../../../test/fakes/workload-endpoint.ts";
import { systemClock } from "../../clock.ts";
import { createCaRequest } from "../../crypto/ca-request.ts";
import { OIDS } from "../../crypto/der/oid.ts";
import { AssayError } from "../../errors/assay-error.ts";
import type { UpstreamAuthority, UpstreamTrust } from "../../plugin/upstream-authority.ts";
import { LocalAuthority } from "../../proto/gen/spire/api/server/localauthority/v1/localauthority_pb.ts";
import { checkUpstreamCa } from "../../signing/upstream/check-answer.ts";
import { parseTrustDomain } from "../../spiffe/trust-domain.ts";
import { spireUpstream } from "./spire.ts";

const trustDomain = parseTrustDomain("example.org");
const patience = () => AbortSignal.timeout(20_000);

describe("a server above", () => {
  let above: ServerBench;
  let endpoint: FakeWorkloadEndpoint;
  beforeAll(async () => {
    above = await ServerBench.start();
    endpoint = await FakeWorkloadEndpoint.open();
    await serve(above, endpoint, { downstream: true });
  });
  afterAll(async () => {
    await endpoint[Symbol.asyncDispose]();
    await above[Symbol.asyncDispose]();
  });

  it("signs an authority that passes every check", async () => {
    const upstream = await open(above, endpoint);
    const { answer, key } = await mint(upstream);
    const now = Math.floor(Date.now() / 1000);
    const checked = checkUpstreamCa(answer, { trustDomain, publicKey: key.spki, now });
    expect(checked.notAfter - now).toBeGreaterThan(590);
    const trusted = (await above.authorities()).map((der) => Uint8Array.from(der));
    expect(answer.roots.map(({ certificate }) => certificate)).toEqual(trusted);
  });

  it("publishes JWT authorities and gives all there are", async () => {
    const upstream = await open(above, endpoint);
    const key = {
      keyId: "nested",
      publicKey: makeKey().spki,
      expiresAt: Math.floor(Date.now() / 1000) + 600,
      tainted: false,
    };
    const keys = (await upstream.publishJwtKey?.(key, patience())) ?? [];
    expect(keys.map(({ keyId }) => keyId)).toContain("nested");
    expect(keys.length).toBeGreaterThan(1);
  });

  it("is looked at for roots and keys, and what is tainted there is told", async () => {
    const upstream = await open(above, endpoint);
    const heard: UpstreamTrust[] = [];
    let wake = (): void => undefined;
    using _ = upstream.watch?.((trust) => {
      heard.push(trust);
      wake();
    });
    const until = async (holds: () => boolean) => {
      while (!holds()) await new Promise<void>((resolve) => void (wake = resolve));
    };
    await until(() => heard.length > 0);
    expect(heard[0]?.roots).toHaveLength(1);
    const authorities = above.admin.service(LocalAuthority);
    const before = (await authorities.getX509AuthorityState({})).active?.authorityId ?? "";
    const { preparedAuthority } = await authorities.prepareX509Authority({});
    await authorities.activateX509Authority({ authorityId: preparedAuthority?.authorityId ?? "" });
    await until(() => heard.at(-1)?.roots.length === 2);
    // Whoever gave us our SVID knows the new root too by now.
    await serve(above, endpoint, { downstream: true });
    await authorities.taintX509Authority({ authorityId: before });
    await until(() => heard.at(-1)?.roots.some(({ tainted }) => tainted) === true);
  }, 30_000);

  it("that restarts is found again", async () => {
    const upstream = await open(above, endpoint);
    await mint(upstream);
    const { port } = above.addresses.api;
    await above.stop();
    await expect(mint(upstream)).rejects.toThrowCode("UPSTREAM_UNAVAILABLE");
    await above.start({ listen: { host: "127.0.0.1", port } });
    await mint(upstream, 10);
  });

  it("that does not take us for a server below refuses", async () => {
    const other = await FakeWorkloadEndpoint.open();
    onTestFinished(() => other[Symbol.asyncDispose]());
    await serve(above, other, {});
    const upstream = await open(above, other);
    await expect(mint(upstream)).rejects.toThrowCode(
      "UPSTREAM_REFUSED",
      /NewDownstreamX509CA: authorization denied/,
    );
  });

  it("that is none of our trust domain's servers is not spoken to", async () => {
    const stranger = await ServerBench.start();
    onTestFinished(() => stranger[Symbol.asyncDispose]());
    const upstream = await open(stranger, endpoint);
    await expect(mint(upstream)).rejects.toThrowCode("UPSTREAM_UNAVAILABLE");
  });

  it("is not reached without an SVID, and a signal ends the wait for one", async () => {
    const silent = await FakeWorkloadEndpoint.open();
    onTestFinished(() => silent[Symbol.asyncDispose]());
    silent.fail("fetchX509SVID", new AssayError("NO_IDENTITY_ISSUED", "no identity issued"));
    const upstream = await open(above, silent);
    await expect(mint(upstream, 1, AbortSignal.timeout(300))).rejects.toThrowCode("UPSTREAM_UNAVAILABLE");
  });
});

describe("the settings", () => {
  it.each([
    ["a port as SPIRE writes it", { server_port: "8081" }, true],
    ["a port that is a number", { server_port: 8081 }, true],
    ["port 0", { server_port: 0 }, false],
    ["a word for a port", { server_port: "http" }, false],
    ["no address", { server_port: 1, server_address: "" }, false],
    ["something else", { server_port: 1, experimental: {} }, false],
  ])("with %s", async (_, settings, good) => {
    const result = await spireUpstream.config["~standard"].validate({
      server_address: "above.example.org",
      workload_api_socket: "/run/above/api.sock",
      ...settings,
    });
    expect(result.issues === undefined).toBe(good);
  });
});

/** Gives the server below an X509-SVID of the server above, as its agent would. */
async function serve(bench: ServerBench, endpoint: FakeWorkloadEndpoint, fields: object): Promise<void> {
  const agent = await TestAgent.attest(bench);
  const name = `below-${Math.random().toString(36).slice(2)}`;
  const { results } = await bench.entries.batchCreateEntry({ entries: [wireEntry(name, agent.id, fields)] });
  const key = makeKey();
  const params = [{ entryId: results[0]?.entry?.id ?? "", csr: makeCsr({}, key) }];
  const signed = await agent.svids.batchNewX509SVID({ params });
  endpoint.send("fetchX509SVID", {
    svids: [
      {
        spiffeId: `spiffe://example.org/${name}`,
        x509Svid: Buffer.concat(signed.results[0]?.svid?.certChain ?? []),
        x509SvidKey: key.pkcs8,
        bundle: Buffer.concat(await bench.authorities()),
      },
    ],
  });
}

async function open(bench: ServerBench, endpoint: FakeWorkloadEndpoint): Promise<UpstreamAuthority> {
  const ignore = () => undefined;
  const upstream = await spireUpstream.create(
    {
      server_address: "127.0.0.1",
      server_port: bench.addresses.api.port,
      workload_api_socket: endpoint.address.replace("unix://", ""),
    },
    { trustDomain, clock: systemClock, log: { debug: ignore, info: ignore, warn: ignore, error: ignore } },
  );
  onTestFinished(() => upstream[Symbol.asyncDispose]());
  return upstream;
}

/** Has an authority signed, by as many attempts as it takes a server to be back. */
async function mint(upstream: UpstreamAuthority, attempts = 1, signal = patience()) {
  const key = makeKey();
  const subject = [{ oid: OIDS.organization, value: "SPIFFE" }];
  const csr = await createCaRequest({ trustDomain, spki: key.spki, subject }, "ecdsa-sha256", key.sign);
  for (let left = attempts; ; left--) {
    try {
      return { answer: await upstream.mintX509Ca({ csr, ttl: 600, signal }), key };
    } catch (error) {
      if (left <= 1) throw error;
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
  }
}
