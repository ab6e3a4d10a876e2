import { createPrivateKey, X509Certificate } from "node:crypto";
import { chown, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Program, run, type RunOptions } from "../e2e/program.ts";
import { makeForeignBundle } from "./foreign.ts";
import { type Issuer, MAKES, NODE_ID, SHORT_TTL, startIssuer } from "./issuers.ts";
import { BUILD_PATIENCE, buildPeer, describeWith, placeForAll } from "./peers.ts";

const ONCE = { uid: 61501, id: "spiffe://example.org/helped/once" };
const DAEMON = { uid: 61502, id: "spiffe://example.org/helped/daemon" };
const NOBODY = { uid: 61503 };

describeWith(["go", "openssl", "root"], "an unmodified spiffe-helper 0.11.0", () => {
  describe.each(MAKES)("served by %s", (make) => {
    let issuer: Issuer;
    let helper: string;

    beforeAll(async () => {
      const shortLived = { x509SvidTtl: SHORT_TTL[make], jwtSvidTtl: 10 };
      issuer = await startIssuer(make, await buildPeer("spire"), [
        entryOf(ONCE),
        { ...entryOf(DAEMON), ...shortLived },
      ]);
      helper = await placeForAll(join(await buildPeer("spiffe-helper"), "spiffe-helper"), issuer.scratch);
    }, BUILD_PATIENCE);

    afterAll(async () => {
      await issuer?.[Symbol.asyncDispose]();
    });

    it("writes an X509-SVID with its key and bundle, JWT-SVIDs and the JWT bundle, and ends", async () => {
      const files = await configure("once", ONCE.uid, { daemon_mode: false });
      const { code, stderr, stdout } = await run(helper, ["-config", files.config], as(ONCE.uid));
      expect(code, stdout + stderr).toBe(0);
      const svid = new X509Certificate(await readFile(files.svid));
      expect(svid.subjectAltName).toBe(`URI:${ONCE.id}`);
      expect(svid.checkPrivateKey(createPrivateKey(await readFile(files.key)))).toBe(true);
      const [authority] = await certificatesIn(files.bundle);
      expect(authority && svid.verify(authority.publicKey)).toBe(true);
      expect(claimsOf(await readFile(files.jwtSvid, "utf8"))).toMatchObject({
        sub: ONCE.id,
        aud: ["database"],
      });
      const jwtBundle = JSON.parse(await readFile(files.jwtBundle, "utf8")) as Record<string, string>;
      expect(Object.keys(jwtBundle)).toEqual(["example.org"]);
    });

    it("keeps files fresh, tells a process, follows federated bundles and hears of the end", async () => {
      const uid = DAEMON.uid;
      await using told = Program.start("the process told", "/bin/sh", ["-c", WAITS_FOR_HUP], as(uid));
      await told.line((line) => line === "began");
      const pidFile = issuer.scratch.at("told.pid");
      await writeFile(pidFile, String(told.pid));
      const files = await configure("daemon", uid, {
        daemon_mode: true,
        include_federated_domains: true,
        pid_file_name: pidFile,
        renew_signal: "SIGHUP",
      });
      await using daemon = Program.start("spiffe-helper", helper, ["-config", files.config], as(uid));

      await daemon.line(says("X.509 certificates updated"));
      await daemon.line(says("JWT bundle updated"));
      await daemon.line(says("JWT SVID updated"));
      const first = new X509Certificate(await readFile(files.svid));
      const firstToken = await readFile(files.jwtSvid, "utf8");
      expect(first.subjectAltName).toBe(`URI:${DAEMON.id}`);
      await told.line((line) => line === "told");

      let from = daemon.lines.length;
      await daemon.line(says("X.509 certificates updated"), { from });
      await daemon.line(says("JWT SVID updated"), { from });
      expect(new X509Certificate(await readFile(files.svid)).serialNumber).not.toBe(first.serialNumber);
      expect(await readFile(files.jwtSvid, "utf8")).not.toBe(firstToken);

      const foreign = await makeForeignBundle(issuer.scratch, "helped.example", 1);
      await issuer.server.setBundle(foreign.trustDomain, foreign.document);
      const abroad = { ...entryOf({ uid, id: `${DAEMON.id}/abroad` }), federatesWith: foreign.trustDomain };
      const entry = await issuer.server.createEntry(abroad);
      const holdsForeign = async () =>
        (await certificatesIn(files.bundle)).some(
          ({ raw }) => raw.toString("base64") === foreign.x509Authority,
        );
      for (from = daemon.lines.length; !(await holdsForeign()); from = daemon.lines.length) {
        await daemon.line(says("X.509 certificates updated"), { from: from - 1 });
      }
      await issuer.server.deleteBundle(foreign.trustDomain);
      while (await holdsForeign()) {
        await daemon.line(says("X.509 certificates updated"), { from: daemon.lines.length - 1 });
      }

      expect(daemon.lines.filter(says("level=error"))).toEqual([]);
      await issuer.server.deleteEntry(entry);
      await issuer.server.deleteEntry(issuer.entryIds.get(DAEMON.id) ?? "");
      await daemon.line(says("PermissionDenied"));
      expect(told.lines.filter((line) => line === "told").length).toBeGreaterThan(1);
      // What it had stays where it was.
      expect(new X509Certificate(await readFile(files.svid)).subjectAltName).toContain("URI:");
    });

    it("is refused under a uid without an entry", async () => {
      // For X.509 alone: before it has a JWT bundle the helper says nothing.
      const files = await configure("nobody", NOBODY.uid, { daemon_mode: true }, []);
      await using daemon = Program.start("spiffe-helper", helper, ["-config", files.config], as(NOBODY.uid));
      expect(await daemon.line(says("PermissionDenied"))).toContain("no identity issued");
    });

    /** Writes a configuration, and says where the helper writes. */
    async function configure(
      name: string,
      uid: number,
      more: Readonly<Record<string, boolean | string>>,
      forJwt = FOR_JWT,
    ) {
      const folder = issuer.scratch.at(name);
      await mkdir(folder);
      await chown(folder, uid, uid);
      const config = issuer.scratch.at(`${name}.conf`);
      const settings = {
        agent_address: issuer.endpoint.replace("unix://", ""),
        cert_dir: folder,
        svid_file_name: "svid.pem",
        svid_key_file_name: "svid.key",
        svid_bundle_file_name: "bundle.pem",
        ...more,
      };
      const lines = Object.entries(settings).map(([key, value]) => `${key} = ${JSON.stringify(value)}`);
      await writeFile(config, `${[...lines, ...forJwt].join("\n")}\n`);
      return {
        config,
        svid: join(folder, "svid.pem"),
        key: join(folder, "svid.key"),
        bundle: join(folder, "bundle.pem"),
        jwtSvid: join(folder, "jwt-svid"),
        jwtBundle: join(folder, "bundle.json"),
      };
    }
  });
});

function entryOf({ uid, id }: { readonly uid: number; readonly id: string }) {
  return { parentId: NODE_ID, spiffeId: id, selectors: [`unix:uid:${uid}`] };
}

function as(uid: number): RunOptions {
  return { uid, gid: uid, cwd: "/" };
}

function says(words: string): (line: string) => boolean {
  return (line) => line.includes(words);
}

async function certificatesIn(file: string): Promise<X509Certificate[]> {
  const pems = (await readFile(file, "utf8")).match(/-----BEGIN[^-]+-----[^-]+-----END[^-]+-----/g) ?? [];
  return pems.map((pem) => new X509Certificate(pem));
}

function claimsOf(jwtSvid: string): object {
  return JSON.parse(Buffer.from(jwtSvid.split(".")[1] ?? "", "base64url").toString()) as object;
}

const FOR_JWT: readonly string[] = [
  `jwt_bundle_file_name = "bundle.json"`,
  `jwt_svids = [{ jwt_audience = "database", jwt_svid_file_name = "jwt-svid" }]`,
];

/** A process as an operator has it: it goes on until it is stopped, and says when it is told of new files. */
const WAITS_FOR_HUP = `trap "echo told" HUP; echo began; while sleep 0.2; do :; done`;
