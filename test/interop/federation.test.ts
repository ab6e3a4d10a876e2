import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import {
  assay,
  type AssayServer,
  placeAgent,
  placeServer,
  startAgent,
  startServer,
  TRUST_DOMAIN,
} from "../e2e/harness.ts";
import { Program, run } from "../e2e/program.ts";
import { freePorts, makeScratch, type Scratch } from "../e2e/scratch.ts";
import { makeCa, makeCredential } from "../fakes/remote-server.ts";
import { BUILD_PATIENCE, buildPeer, describeWith, placeForAll } from "./peers.ts";
import { spireCli, type SpireCli, startSpireAgent, startSpireServer } from "./spire.ts";

const PARTNER = "partner.example";
const OURS = { uid: 61101, id: `spiffe://${TRUST_DOMAIN}/workload/ours` };
const THEIRS = { uid: 61102, id: `spiffe://${PARTNER}/workload/theirs` };
/** Seconds that SVIDs of workloads live, so that a new authority is soon seen at work. */
const TTL = 30;
/** What either agent logs once it has a new SVID of its own. */
const RENEWED = /agent SVID renewed|Successfully rotated agent SVID/;

describeWith(["go", "root"], "federation with SPIRE", () => {
  describe.each(["https_spiffe", "https_web"] as const)("over %s", (profile) => {
    let world: World;

    beforeAll(async () => {
      world = await World.start(profile);
    }, BUILD_PATIENCE);
    afterAll(() => world?.[Symbol.asyncDispose]());

    it("exchanges bundles in both directions", async () => {
      await world.federate();
      const [ours] = await world.server.ask<object[]>("federation", "list");
      expect(ours).toMatchObject({
        trust_domain: PARTNER,
        bundle_endpoint_profile: { type: profile },
        last_error: null,
      });
      expect(ours).not.toMatchObject({ last_success_at: null });
      const known = await world.server.ask<BundleDocument[]>("bundle", "list");
      const served = JSON.parse(
        await world.spire.text("bundle", "show", "-format", "spiffe"),
      ) as BundleDocument;
      expect(known.map(({ trust_domain }) => trust_domain)).toEqual([PARTNER]);
      expect(certificatesOf(known[0])).toEqual(certificatesOf(served));
      const mine = await world.server.ask<BundleDocument>("bundle", "show");
      const theirs = JSON.parse(
        await world.spire.text("bundle", "list", "-id", `spiffe://${TRUST_DOMAIN}`, "-format", "spiffe"),
      ) as BundleDocument;
      expect(certificatesOf(theirs)).toEqual(certificatesOf(mine));
    });

    it("lets a workload of either side do mTLS with one of the other, each as server and as client", async () => {
      await world.startWorkloads();
      await world.meet(OURS);
      await world.meet(THEIRS);
    });

    it("goes on after our authority has rotated, and after the old one is gone", async () => {
      const [active] = await world.server.ask<Authority[]>("authority", "x509", "show");
      const old = active?.authority_id ?? "";
      const { prepared } = await world.server.ask<{ prepared: string }>("authority", "x509", "prepare");
      await world.spire.text("federation", "refresh", "-id", TRUST_DOMAIN);
      const before = await world.meet(OURS);
      const renewed = world.renewalOfAgent("ours");
      await world.server.ask("authority", "x509", "activate", `--authority-id=${prepared}`);
      await world.server.ask("authority", "x509", "taint", `--authority-id=${old}`);
      await world.meetUntilNew(OURS, before);
      await renewed;
      await world.server.ask("authority", "x509", "revoke", `--authority-id=${old}`);
      await world.spire.text("federation", "refresh", "-id", TRUST_DOMAIN);
      await world.meet(OURS);
      await world.meet(THEIRS);
    });

    it("goes on after SPIRE's authority has rotated, and after the old one is gone", async () => {
      const state = await world.spire.json<SpireAuthorities>("localauthority", "x509", "show");
      const prepared = await world.spire.json<{ prepared_authority: { authority_id: string } }>(
        "localauthority",
        "x509",
        "prepare",
      );
      await world.refreshUntil(2);
      const before = await world.meet(THEIRS);
      const id = prepared.prepared_authority.authority_id;
      const old = state.active.authority_id;
      const renewed = world.renewalOfAgent("theirs");
      await world.spire.text("localauthority", "x509", "activate", "-authorityID", id);
      await world.spire.text("localauthority", "x509", "taint", "-authorityID", old);
      await world.meetUntilNew(THEIRS, before);
      await renewed;
      await world.spire.text("localauthority", "x509", "revoke", "-authorityID", old);
      await world.refreshUntil(1);
      await world.meet(THEIRS);
      await world.meet(OURS);
    });

    it("is over for the workloads when relationship and bundle are deleted", async () => {
      const refusal = await assayOf(
        world,
        "federation",
        "delete",
        `--trust-domain=${PARTNER}`,
        "--bundle=restrict",
      );
      expect(refusal.stderr).toMatch(/1 registration entries federate with partner\.example/);
      const flags = [`--trust-domain=${PARTNER}`, "--mode=dissociate"];
      await world.server.ask("bundle", "delete", ...flags);
      await vi.waitFor(
        async () =>
          expect((await world.probe(OURS, "mtls-client", world.address(THEIRS), THEIRS.id)).code).toBe(1),
        {
          timeout: 20_000,
        },
      );
      expect(await world.server.ask("federation", "list")).toEqual([]);
    });
  });
});

/** A server and an agent of each make on one machine, and a workload of each. */
class World implements AsyncDisposable {
  readonly scratch: Scratch;
  readonly server: AssayServer;
  readonly spire: SpireCli;
  readonly #profile: "https_web" | "https_spiffe";
  readonly #urls: { readonly ours: string; readonly theirs: string };
  readonly #endpoints: { readonly [uid: number]: string };
  readonly #probe: string;
  readonly #agents: { readonly ours: Program; readonly theirs: Program };
  readonly #nodes: { readonly ours: string; readonly theirs: string };
  readonly #stack: AsyncDisposableStack;
  readonly #listening = new Map<number, { program: Program; address: string }>();

  private constructor(parts: {
    scratch: Scratch;
    server: AssayServer;
    spire: SpireCli;
    profile: "https_web" | "https_spiffe";
    urls: { ours: string; theirs: string };
    endpoints: { [uid: number]: string };
    probe: string;
    nodes: { ours: string; theirs: string };
    agents: { ours: Program; theirs: Program };
    stack: AsyncDisposableStack;
  }) {
    this.scratch = parts.scratch;
    this.server = parts.server;
    this.spire = parts.spire;
    this.#profile = parts.profile;
    this.#urls = parts.urls;
    this.#endpoints = parts.endpoints;
    this.#probe = parts.probe;
    this.#nodes = parts.nodes;
    this.#agents = parts.agents;
    this.#stack = parts.stack;
  }

  static async start(profile: "https_web" | "https_spiffe"): Promise<World> {
    const [programs, client] = [await buildPeer("spire"), await buildPeer("go-client")];
    await using stack = new AsyncDisposableStack();
    const scratch = stack.use(await makeScratch());
    const [ourPort = 0, theirPort = 0] = await freePorts(2);
    const web = await webFiles(scratch);

    const config = scratch.at("server.yaml");
    const endpoint = {
      listen: `127.0.0.1:${ourPort}`,
      profile,
      refresh_hint: "5s",
      ...(profile === "https_web" ? { certificate_file: web.certificate, key_file: web.key } : {}),
    };
    // JSON is YAML.
    await writeFile(
      config,
      JSON.stringify({
        federation: {
          bundle_endpoint: endpoint,
          trusted_ca_file: web.ca,
          allowed_addresses: ["127.0.0.0/8", "::1"],
        },
      }),
    );
    const server = stack.use(await startServer(await placeServer(scratch), [`--config=${config}`]));
    const spireServer = stack.use(
      await startSpireServer(programs, scratch, {
        trustDomain: PARTNER,
        federation: {
          bundle_endpoint: {
            address: "127.0.0.1",
            port: theirPort,
            refresh_hint: "10s",
            profile: [
              profile === "https_spiffe"
                ? { https_spiffe: {} }
                : {
                    https_web: {
                      serving_cert_file: {
                        cert_file_path: web.certificate,
                        key_file_path: web.key,
                        file_sync_interval: "1h",
                      },
                    },
                  },
            ],
          },
        },
        // It has no other way to be told of a CA than the system's own list.
        env: { SSL_CERT_FILE: web.ca },
      }),
    );
    const spire = spireCli(programs, spireServer.adminSocket);
    const nodes = { ours: `spiffe://${TRUST_DOMAIN}/node`, theirs: `spiffe://${PARTNER}/node` };
    const ourAgent = stack.use(
      await startAgent(placeAgent(scratch), {
        server: server.place.address,
        trustBundleFile: await server.trustBundleFile(),
        joinTokenFile: await server.joinTokenFile(nodes.ours),
      }),
    );
    const theirAgent = stack.use(
      await startSpireAgent(programs, scratch, {
        server: spireServer.address,
        trustBundleFile: await spireServer.trustBundleFile(),
        trustDomain: PARTNER,
        evidence: { joinToken: await spireServer.joinToken(nodes.theirs) },
      }),
    );
    return new World({
      scratch,
      server,
      spire,
      profile,
      urls: { ours: `https://localhost:${ourPort}/`, theirs: `https://localhost:${theirPort}/` },
      endpoints: { [OURS.uid]: ourAgent.endpoint, [THEIRS.uid]: theirAgent.endpoint },
      probe: await placeForAll(join(client, "spiffe-probe"), scratch),
      nodes,
      agents: { ours: ourAgent.program, theirs: theirAgent.program },
      stack: stack.move(),
    });
  }

  /** Makes a relationship on each side; over `https_spiffe` with the other's bundle to begin with. */
  async federate(): Promise<void> {
    const [ourBundle, theirBundle] = [this.scratch.at("ours.json"), this.scratch.at("theirs.json")];
    await writeFile(theirBundle, await this.spire.text("bundle", "show", "-format", "spiffe"));
    const shown = await assayOf(this, "bundle", "show", "--format=spiffe");
    await writeFile(ourBundle, shown.stdout);
    const isSpiffe = this.#profile === "https_spiffe";
    await this.server.ask(
      "federation",
      "create",
      `--trust-domain=${PARTNER}`,
      `--url=${this.#urls.theirs}`,
      `--profile=${this.#profile}`,
      ...(isSpiffe
        ? [
            `--endpoint-spiffe-id=spiffe://${PARTNER}/spire/server`,
            `--bundle-file=${theirBundle}`,
            "--bundle-format=spiffe",
          ]
        : []),
    );
    await this.server.ask("federation", "refresh", `--trust-domain=${PARTNER}`);
    await this.spire.text(
      "federation",
      "create",
      "-trustDomain",
      TRUST_DOMAIN,
      "-bundleEndpointURL",
      this.#urls.ours,
      "-bundleEndpointProfile",
      this.#profile,
      ...(isSpiffe
        ? [
            "-endpointSpiffeID",
            `spiffe://${TRUST_DOMAIN}/spire/server`,
            "-trustDomainBundlePath",
            ourBundle,
            "-trustDomainBundleFormat",
            "spiffe",
          ]
        : []),
    );
    await this.spire.text("federation", "refresh", "-id", TRUST_DOMAIN);
  }

  /** Registers a workload on each side and starts it as a server that only the other may call. */
  async startWorkloads(): Promise<void> {
    await this.server.createEntry({
      parentId: this.#nodes.ours,
      spiffeId: OURS.id,
      selectors: [`unix:uid:${OURS.uid}`],
      flags: [`--federates-with=${PARTNER}`, `--x509-svid-ttl=${TTL}s`],
    });
    await this.spire.text(
      "entry",
      "create",
      "-parentID",
      this.#nodes.theirs,
      "-spiffeID",
      THEIRS.id,
      "-selector",
      `unix:uid:${THEIRS.uid}`,
      "-federatesWith",
      `spiffe://${TRUST_DOMAIN}`,
      "-x509SVIDTTL",
      String(TTL),
    );
    for (const [one, other] of [
      [OURS, THEIRS],
      [THEIRS, OURS],
    ] as const) {
      await vi.waitFor(async () => expect((await this.probe(one, "x509")).code).toBe(0), { timeout: 30_000 });
      const program = this.#stack.use(
        Program.start(
          `workload of uid ${one.uid}`,
          this.#probe,
          ["mtls-server", "127.0.0.1:0", other.id],
          this.#as(one),
        ),
      );
      const { address = "" } = await program.json<MtlsLine>(({ event }) => event === "listening");
      this.#listening.set(one.uid, { program, address });
    }
  }

  address({ uid }: typeof OURS): string {
    return this.#listening.get(uid)?.address ?? "";
  }

  /** Calls a workload from the other side; gives the serial number of the SVID that it showed. */
  async meet(server: typeof OURS): Promise<string> {
    const client = server === OURS ? THEIRS : OURS;
    const { code, stdout } = await this.probe(client, "mtls-client", this.address(server), server.id);
    expect(code, stdout).toBe(0);
    const line = JSON.parse(stdout) as MtlsLine;
    expect(line).toMatchObject({ own: client.id, peer: server.id, said: `${server.id} greets ${client.id}` });
    return line.peerSerial ?? "";
  }

  /** Calls a workload again and again, without a failure, until it shows another SVID. */
  async meetUntilNew(server: typeof OURS, before: string): Promise<void> {
    for (const deadline = performance.now() + 2 * TTL * 1000; (await this.meet(server)) === before; ) {
      if (performance.now() > deadline) throw new Error(`${server.id} has not rotated its SVID`);
    }
  }

  /** Resolves when an agent has renewed its own SVID from now on: revoke an authority before that, and it is shut out. */
  async renewalOfAgent(side: "ours" | "theirs"): Promise<void> {
    const agent = this.#agents[side];
    await agent.line((line) => RENEWED.test(line), { from: agent.lines.length, patience: 90_000 });
  }

  /** Has our server ask for the partner's bundle until it has so many X.509 authorities: SPIRE's endpoint lags a second. */
  async refreshUntil(authorities: number): Promise<void> {
    await vi.waitFor(
      async () => {
        await this.server.ask("federation", "refresh", `--trust-domain=${PARTNER}`);
        const [bundle] = await this.server.ask<BundleDocument[]>("bundle", "list");
        expect(certificatesOf(bundle)).toHaveLength(authorities);
      },
      { timeout: 20_000, interval: 200 },
    );
  }

  probe(who: typeof OURS, ...args: readonly string[]) {
    return run(this.#probe, args, this.#as(who));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#stack.disposeAsync();
  }

  #as({ uid }: typeof OURS) {
    return { uid, gid: uid, cwd: "/", env: { SPIFFE_ENDPOINT_SOCKET: this.#endpoints[uid] ?? "" } };
  }
}

/** A certificate of the web for `localhost`, and the CA that neither side knows unless it is told. */
async function webFiles(scratch: Scratch): Promise<{ ca: string; certificate: string; key: string }> {
  const ca = makeCa("web CA");
  const { cert, key } = makeCredential(ca, { dnsNames: ["localhost"] });
  const files = {
    ca: scratch.at("web-ca.pem"),
    certificate: scratch.at("web.pem"),
    key: scratch.at("web.key"),
  };
  await writeFile(files.ca, ca.pem);
  await writeFile(files.certificate, cert);
  await writeFile(files.key, key, { mode: 0o600 });
  return files;
}

function assayOf(world: World, ...args: readonly string[]) {
  return assay([...args, `--admin-socket=${world.server.place.adminSocket}`]);
}

function certificatesOf(
  bundle: { readonly keys: readonly { readonly x5c?: readonly string[] }[] } | undefined,
) {
  return (bundle?.keys ?? []).flatMap(({ x5c }) => x5c ?? []).toSorted();
}

interface MtlsLine {
  readonly event: string;
  readonly address?: string;
  readonly peer?: string;
  readonly peerSerial?: string;
}

interface Authority {
  readonly authority_id: string;
}

interface SpireAuthorities {
  readonly active: { readonly authority_id: string };
}

interface BundleDocument {
  readonly trust_domain: string;
  readonly keys: readonly { readonly x5c?: readonly string[] }[];
}
