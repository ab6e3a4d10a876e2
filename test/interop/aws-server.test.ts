import { X509Certificate } from "node:crypto";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { afterAll, beforeAll, expect, it } from "vitest";
import {
  assay,
  type AssayServer,
  placeAgent,
  placeServer,
  type ServerPlace,
  startAgent,
  startServer,
} from "../e2e/harness.ts";
import { makeScratch, type Scratch } from "../e2e/scratch.ts";
import { fetchX509, OWN_SELECTORS } from "../e2e/workload.ts";
import { Dialogue } from "./dialogue.ts";
import { BUILD_PATIENCE, buildPeer, describeWith } from "./peers.ts";

const NODE = "spiffe://example.org/node";
const WORKLOAD = "spiffe://example.org/workload";

let scratch: Scratch;
let cloud: Dialogue;
let config: string;
let root: X509Certificate;

describeWith(
  ["python"],
  "a server whose keys are in moto's KMS, below an authority of moto's Private CA",
  () => {
    beforeAll(async () => {
      scratch = await makeScratch();
      const packages = await buildPeer("aws-sdk");
      const started = await Dialogue.start<{ endpoint: string }>("moto", ["services"]);
      cloud = started.dialogue;
      const authority = await cloud.ask<{ arn: string; root: string }>({
        do: "authority",
        name: "Company Root",
      });
      const { role } = await cloud.ask<{ role: string }>({ do: "role", name: "assay-server" });
      root = new X509Certificate(authority.root);
      await mkdir(scratch.at("svids"));
      await writeFile(scratch.at("secret"), "secret", { mode: 0o600 });
      const aws = {
        region: "eu-central-1",
        access_key_id: "AKIAEXAMPLE",
        secret_access_key_file: scratch.at("secret"),
        assume_role_arn: role,
        endpoint: started.first.endpoint,
        sts_endpoint: started.first.endpoint,
        packages_folder: packages,
      };
      const keyManager = {
        type: "aws_kms",
        config: { ...aws, key_identifier_file: scratch.at("identifier") },
      };
      const upstream = { type: "aws_pca", config: { ...aws, certificate_authority_arn: authority.arn } };
      config = scratch.at("server.yaml");
      await writeFile(config, JSON.stringify({ key_manager: keyManager, upstream_authority: upstream }));
    }, BUILD_PATIENCE);

    afterAll(async () => {
      await cloud?.[Symbol.asyncDispose]();
      await scratch?.[Symbol.asyncDispose]();
    });

    it("issues SVIDs that chain to the company's root, and finds its keys again after a restart", async () => {
      const place = await placeServer(scratch, "cloudy");
      let authority: string | undefined;
      {
        await using server = await start(place);
        await using agent = await startAgent(placeAgent(scratch, "cloudy-agent"), {
          server: server.place.address,
          trustBundleFile: await server.trustBundleFile(),
          joinTokenFile: await server.joinTokenFile(NODE),
        });
        await server.createEntry({ parentId: NODE, spiffeId: WORKLOAD, selectors: OWN_SELECTORS });
        const ids = async () =>
          (await fetchX509(agent.endpoint).catch(() => [])).map((svid) => svid.spiffe_id);
        await expect.poll(ids, { timeout: 60_000 }).toEqual([WORKLOAD]);
        await assay(["fetch", "x509", `--socket=${agent.endpoint}`, `--write=${scratch.at("svids")}`]);
        const chain = await certificatesIn(scratch.at("svids", "svid.0.pem"));
        expect(chain).toHaveLength(2);
        expect(chain[0]?.checkIssued(chain[1]!) && chain[0].verify(chain[1]!.publicKey)).toBe(true);
        expect(chain[1]?.checkIssued(root) && chain[1].verify(root.publicKey)).toBe(true);
        authority = await activeAuthority(server);
        expect(authority).toBeDefined();
      }
      await using again = await start(place);
      expect(await activeAuthority(again)).toBe(authority);
      const { aliases } = await cloud.ask<{ aliases: Readonly<Record<string, string>> }>({ do: "keys" });
      const names = Object.keys(aliases).filter((name) => name.startsWith("alias/SPIRE_SERVER/example_org/"));
      expect(names.map((name) => name.split("/").at(-1))).toEqual(
        expect.arrayContaining(["x509-CA-A", "JWT-Signer-A"]),
      );
    });
  },
);

function start(place: ServerPlace): Promise<AssayServer> {
  return startServer(place, [`--config=${config}`]);
}

async function certificatesIn(file: string): Promise<readonly X509Certificate[]> {
  const pems = (await readFile(file, "utf8")).match(/-----BEGIN[^-]*-----[^-]+-----END[^-]*-----/g) ?? [];
  return pems.map((pem) => new X509Certificate(pem));
}

async function activeAuthority(server: AssayServer): Promise<string | undefined> {
  const all = await server.ask<readonly { state: string; authority_id: string }[]>(
    "authority",
    "x509",
    "show",
  );
  return all.find(({ state }) => state === "active")?.authority_id;
}
