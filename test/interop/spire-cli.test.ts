import { X509Certificate } from "node:crypto";
import { mkdir, readFile } from "node:fs/promises";
import { decodeJwt, decodeProtectedHeader } from "jose";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { makeScratch, type Scratch } from "../e2e/scratch.ts";
import { MAKES, type Server, startServerOf } from "./issuers.ts";
import { BUILD_PATIENCE, buildPeer, describeWith } from "./peers.ts";
import { type SpireCli, spireCli, startSpireAgent } from "./spire.ts";

const PARENT = "spiffe://example.org/node";

describeWith(["go"], "the command line of spire-server 1.15.3", () => {
  describe.each(MAKES)("on the admin socket of %s", (make) => {
    let programs: string;
    let scratch: Scratch;
    let server: Server;
    let cli: SpireCli;

    beforeAll(async () => {
      programs = await buildPeer("spire");
      scratch = await makeScratch();
      server = await startServerOf(make, programs, scratch);
      cli = spireCli(programs, server.adminSocket);
    }, BUILD_PATIENCE);

    afterAll(async () => {
      await server?.[Symbol.asyncDispose]();
      await scratch?.[Symbol.asyncDispose]();
    });

    it("finds the server healthy", async () => {
      expect(await cli.text("healthcheck")).toContain("Server is healthy.");
    });

    it("creates, shows, updates, counts and deletes an entry", async () => {
      const before = await cli.json<Count>("entry", "count");
      const wanted = [
        "-parentID",
        PARENT,
        "-spiffeID",
        "spiffe://example.org/shop",
        "-selector",
        "unix:uid:7",
      ];
      const made = await cli.json<Results>(
        "entry",
        "create",
        ...wanted,
        "-selector",
        "unix:gid:8",
        "-x509SVIDTTL",
        "600",
        "-jwtSVIDTTL",
        "120",
        "-dns",
        "shop.example",
        "-hint",
        "front",
      );
      const entry = made.results[0]?.entry;
      expect(made.results[0]?.status).toMatchObject({ code: 0, message: "OK" });
      expect(entry).toMatchObject({
        spiffe_id: { trust_domain: "example.org", path: "/shop" },
        parent_id: { trust_domain: "example.org", path: "/node" },
        x509_svid_ttl: 600,
        jwt_svid_ttl: 120,
        dns_names: ["shop.example"],
        hint: "front",
        revision_number: "0",
      });
      const id = entry?.id ?? "";
      expect(await cli.json<Count>("entry", "count")).toEqual({ count: before.count + 1 });

      const shown = await cli.json<Shown>(
        "entry",
        "show",
        "-selector",
        "unix:gid:8",
        "-selector",
        "unix:uid:7",
      );
      expect(shown.entries).toEqual([entry]);
      const byId = await cli.text("entry", "show", "-entryID", id);
      expect(byId).toMatch(/SPIFFE ID\s+: spiffe:\/\/example\.org\/shop/);

      const changed = await cli.json<Results>(
        "entry",
        "update",
        "-entryID",
        id,
        ...wanted,
        "-x509SVIDTTL",
        "900",
      );
      expect(changed.results[0]?.entry).toMatchObject({
        id,
        x509_svid_ttl: 900,
        revision_number: "1",
        selectors: [{ type: "unix", value: "uid:7" }],
      });

      expect(await cli.text("entry", "delete", "-entryID", id)).toContain(id);
      expect(await cli.json<Count>("entry", "count")).toEqual(before);
    });

    it("is told of each entry that cannot be made, and why", async () => {
      const wanted = [
        "-parentID",
        PARENT,
        "-spiffeID",
        "spiffe://example.org/twice",
        "-selector",
        "unix:uid:9",
      ];
      const made = await cli.json<Results>("entry", "create", ...wanted);
      const twice = await cli.try("entry", "create", ...wanted);
      expect(twice.code).toBe(1);
      expect(twice.stdout + twice.stderr).toMatch(/AlreadyExists.*similar entry already exists/);

      const foreign = await cli.try(
        "entry",
        "create",
        "-parentID",
        PARENT,
        "-spiffeID",
        "spiffe://somewhere.else/a",
        "-selector",
        "unix:uid:9",
      );
      expect(foreign.code).toBe(1);
      expect(foreign.stdout + foreign.stderr).toMatch(/InvalidArgument/);

      const nobody = await cli.try("entry", "delete", "-entryID", "00000000-0000-4000-8000-000000000000");
      expect(nobody.code).toBe(1);
      expect(nobody.stdout + nobody.stderr).toMatch(/NotFound/);
      await cli.text("entry", "delete", "-entryID", made.results[0]?.entry.id ?? "");
    });

    it("generates a join token", async () => {
      expect(await cli.text("token", "generate", "-ttl", "60")).toMatch(/^Token: \S+$/m);
      const made = await cli.json<Token>("token", "generate", "-ttl", "60", "-spiffeID", PARENT);
      expect(made.value).toMatch(/^\S{20,}$/);
      expect(Number(made.expires_at)).toBeGreaterThan(0);
    });

    it("shows the bundle as PEM and as a SPIFFE bundle of the same authorities", async () => {
      const pem = new X509Certificate(await cli.text("bundle", "show"));
      expect(pem.ca).toBe(true);
      expect(pem.subjectAltName).toBe("URI:spiffe://example.org");
      const document = JSON.parse(await cli.text("bundle", "show", "-format", "spiffe")) as BundleDocument;
      const [x509] = document.keys.filter(({ use }) => use === "x509-svid");
      expect(x509?.x5c?.[0]).toBe(pem.raw.toString("base64"));
      expect(document.keys.some(({ use, kid }) => use === "jwt-svid" && kid !== "")).toBe(true);
    });

    it("mints an X509-SVID that chains to the bundle", async () => {
      const folder = scratch.at("minted");
      await mkdir(folder);
      await cli.text(
        "x509",
        "mint",
        "-spiffeID",
        "spiffe://example.org/minted",
        "-dns",
        "minted.example",
        "-ttl",
        "10m",
        "-write",
        folder,
      );
      const leaf = new X509Certificate(await readFile(`${folder}/svid.pem`));
      const authority = new X509Certificate(await readFile(`${folder}/bundle.pem`));
      expect(leaf.subjectAltName?.split(", ").toSorted()).toEqual([
        "DNS:minted.example",
        "URI:spiffe://example.org/minted",
      ]);
      expect(leaf.verify(authority.publicKey)).toBe(true);
      expect(leaf.ca).toBe(false);
      const lifetime = leaf.validToDate.getTime() - leaf.validFromDate.getTime();
      expect(lifetime).toBeGreaterThanOrEqual(600_000);
      expect(lifetime).toBeLessThan(630_000);
    });

    it("mints a JWT-SVID for an audience", async () => {
      const line = await cli.text(
        "jwt",
        "mint",
        "-spiffeID",
        "spiffe://example.org/minted",
        "-audience",
        "one",
        "-audience",
        "two",
        "-ttl",
        "2m",
      );
      const jwtSvid = line.trim();
      const claims = decodeJwt(jwtSvid);
      expect(claims).toMatchObject({ sub: "spiffe://example.org/minted", aud: ["one", "two"] });
      expect((claims.exp ?? 0) - (claims.iat ?? 0)).toBe(120);
      expect(decodeProtectedHeader(jwtSvid)).toMatchObject({ alg: "ES256", typ: "JWT" });
    });

    it("refuses to mint an X509-SVID for another trust domain", async () => {
      const refused = await cli.try("x509", "mint", "-spiffeID", "spiffe://somewhere.else/a");
      expect(refused.code).toBe(1);
      expect(refused.stderr + refused.stdout).toMatch(/not a member of/);
    });

    it("lists and shows an agent, evicts it, and bans another", async () => {
      const attested = async (name: string): Promise<string> => {
        const known = (await cli.json<Agents>("agent", "list")).agents.map(idOf);
        await using agent = await startSpireAgent(programs, scratch, {
          name,
          server: server.address,
          trustBundleFile: await server.trustBundleFile(),
          evidence: { joinToken: await server.joinToken(`spiffe://example.org/${name}`) },
        });
        expect(agent.endpoint).toMatch(/^unix:/);
        const now = (await cli.json<Agents>("agent", "list")).agents.map(idOf);
        const added = now.filter((id) => !known.includes(id));
        expect(added).toHaveLength(1);
        return added[0] ?? "";
      };

      const first = await attested("first");
      expect(first).toMatch(/^spiffe:\/\/example\.org\/spire\/agent\/join_token\//);
      const shown = await cli.text("agent", "show", "-spiffeID", first);
      expect(shown).toContain(first);
      expect(shown).toMatch(/Attestation type\s+: join_token/);
      expect(await cli.text("agent", "evict", "-spiffeID", first)).toMatch(/evicted/i);
      const gone = await cli.try("agent", "show", "-spiffeID", first);
      expect(gone.code).toBe(1);
      expect(gone.stderr).toMatch(/NotFound/);

      const second = await attested("second");
      expect(await cli.text("agent", "ban", "-spiffeID", second)).toMatch(/banned/i);
      const banned = await cli.json<Agents>("agent", "list", "-banned", "true");
      expect(banned.agents.map(idOf)).toEqual([second]);
      const { count } = await cli.json<Count>("agent", "count");
      expect(count).toBe((await cli.json<Agents>("agent", "list")).agents.length);
    });

    it.each(["x509", "jwt"])("moves the %s authorities by hand", async (kind) => {
      const command = (...args: readonly string[]) => ["localauthority", kind, ...args] as const;
      const shown = () => cli.json<Authorities>(...command("show"));
      const published = async () => {
        const text = await cli.text("bundle", "show", "-format", "spiffe");
        const { keys } = JSON.parse(text) as BundleDocument;
        return keys.filter(({ use }) => use === `${kind}-svid`).length;
      };
      const first = (await shown()).active.authority_id;
      await cli.text(...command("prepare"));
      const second = (await shown()).prepared?.authority_id ?? "";
      expect(second).not.toBe("");
      expect(await published()).toBe(2);
      const wrong = await cli.try(...command("taint", "-authorityID", second));
      expect(wrong.code).toBe(1);

      await cli.text(...command("activate", "-authorityID", second));
      expect(await shown()).toMatchObject({ active: { authority_id: second }, old: { authority_id: first } });
      const early = await cli.try(...command("revoke", "-authorityID", first));
      expect(early.code).toBe(1);
      await cli.text(...command("taint", "-authorityID", first));
      expect(await published()).toBe(2);
      await cli.text(...command("revoke", "-authorityID", first));
      expect(await published()).toBe(1);
    });
  });
});

function idOf({ id }: Agents["agents"][number]): string {
  return `spiffe://${id.trust_domain}${id.path}`;
}

interface Count {
  readonly count: number;
}

interface Token {
  readonly value: string;
  readonly expires_at: string;
}

interface Entry {
  readonly id: string;
}

interface Results {
  readonly results: readonly {
    readonly entry: Entry;
    readonly status: { readonly code: number; readonly message: string };
  }[];
}

interface Shown {
  readonly entries: readonly Entry[];
}

interface Authorities {
  readonly active: { readonly authority_id: string };
  readonly prepared?: { readonly authority_id: string };
}

interface Agents {
  readonly agents: readonly { readonly id: { readonly trust_domain: string; readonly path: string } }[];
}

interface BundleDocument {
  readonly keys: readonly { readonly use: string; readonly kid?: string; readonly x5c?: readonly string[] }[];
}
