import { createPrivateKey, X509Certificate } from "node:crypto";
import { chown, mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Outcome, Program, run } from "../e2e/program.ts";
import { makeForeignBundle } from "./foreign.ts";
import { type Issuer, MAKES, NODE_ID, SHORT_TTL, startIssuer } from "./issuers.ts";
import { BUILD_PATIENCE, buildPeer, describeWith, placeForAll } from "./peers.ts";

const WORKLOAD = { uid: 61601, id: "spiffe://example.org/asked-by-cli" };
const WATCHED = { uid: 61602, id: "spiffe://example.org/watched-by-cli" };
const NOBODY = { uid: 61603 };

describeWith(["go", "openssl", "root"], "the unmodified spire-agent 1.15.3 command line", () => {
  describe.each(MAKES)("as a workload of %s", (make) => {
    let issuer: Issuer;
    let spireAgent: string;

    beforeAll(async () => {
      const programs = await buildPeer("spire");
      issuer = await startIssuer(make, programs, [
        entryOf(WORKLOAD),
        { ...entryOf(WATCHED), x509SvidTtl: SHORT_TTL[make] },
      ]);
      spireAgent = await placeForAll(join(programs, "spire-agent"), issuer.scratch);
      await using watching = watch(WORKLOAD.uid);
      await watching.line((line) => line.includes(WORKLOAD.id));
    }, BUILD_PATIENCE);

    afterAll(async () => {
      await issuer?.[Symbol.asyncDispose]();
    });

    it("api fetch x509 shows the SVID, and writes it with its key and bundle", async () => {
      const folder = issuer.scratch.at("written");
      await mkdir(folder);
      await chown(folder, WORKLOAD.uid, WORKLOAD.uid);
      const { code, stdout, stderr } = await api(WORKLOAD.uid, "fetch", "x509", "-write", folder);
      expect(code, stderr).toBe(0);
      expect(stdout).toMatch(/Received 1 svid after/);
      expect(stdout).toContain(WORKLOAD.id);
      const svid = new X509Certificate(await readFile(join(folder, "svid.0.pem")));
      expect(svid.subjectAltName).toBe(`URI:${WORKLOAD.id}`);
      expect(svid.checkPrivateKey(createPrivateKey(await readFile(join(folder, "svid.0.key"))))).toBe(true);
      const authority = new X509Certificate(await readFile(join(folder, "bundle.0.pem")));
      expect(svid.verify(authority.publicKey)).toBe(true);
    });

    it("api fetch jwt shows a JWT-SVID that api validate jwt accepts, for its own audiences only", async () => {
      const fetched = await api(WORKLOAD.uid, "fetch", "jwt", "-audience", "database,cache");
      expect(fetched.code, fetched.stderr).toBe(0);
      const [, jwtSvid = ""] = /^token\((?:.+)\):\s+(\S+)/m.exec(fetched.stdout) ?? [];
      expect(fetched.stdout).toContain(`token(${WORKLOAD.id})`);
      expect(fetched.stdout).toContain("bundle(spiffe://example.org)");
      for (const audience of ["database", "cache"]) {
        const valid = await validate(audience, jwtSvid);
        expect(valid.code, valid.stderr).toBe(0);
        expect(valid.stdout).toMatch(/SVID is valid\.\s+SPIFFE ID : spiffe:\/\/example\.org\/asked-by-cli/);
      }
      const foreign = await validate("somebody-else", jwtSvid);
      expect(foreign.code).toBe(1);
      expect(foreign.stderr).toContain("SVID is not valid");
      const altered = await validate(
        "database",
        jwtSvid.replace(
          /\.(.)([^.]+)$/,
          (_, first: string, rest: string) => `.${first === "A" ? "B" : "A"}${rest}`,
        ),
      );
      expect(altered.code).toBe(1);
      expect(altered.stderr).toContain("SVID is not valid");
    });

    it("api fetch is refused under a uid without an entry", async () => {
      for (const args of [["x509"], ["jwt", "-audience", "anybody"]]) {
        const { code, stderr } = await api(NOBODY.uid, "fetch", ...args);
        expect(code).toBe(1);
        expect(stderr).toMatch(/PermissionDenied.*no identity issued/);
      }
    });

    it("healthcheck finds the Workload API well", async () => {
      const { code, stdout, stderr } = await run(
        spireAgent,
        ["healthcheck", "-socketPath", socket()],
        as(NOBODY.uid),
      );
      expect(code, stderr).toBe(0);
      expect(stdout).toContain("Agent is healthy.");
    });

    it("api watch shows a rotation, a federated bundle and its end, and the end of the last entry", async () => {
      await using watching = watch(WATCHED.uid);
      await watching.line((line) => line.includes(WATCHED.id));
      const validUntil = (line: string) => line.startsWith("SVID Valid Until");
      const first = await watching.line(validUntil);
      await watching.line((line) => validUntil(line) && line !== first);

      const foreign = await makeForeignBundle(issuer.scratch, "watched.example", 1);
      await issuer.server.setBundle(foreign.trustDomain, foreign.document);
      const entry = await issuer.server.createEntry({
        ...entryOf({ ...WATCHED, id: `${WATCHED.id}/abroad` }),
        federatesWith: foreign.trustDomain,
      });
      await watching.line((line) => line.startsWith("[watched.example] CA #1 Valid Until"));
      const json = await api(WATCHED.uid, "fetch", "x509", "-output", "json");
      expect(json.code, json.stderr).toBe(0);
      expect(json.stdout).toContain(foreign.x509Authority);

      await issuer.server.deleteBundle(foreign.trustDomain);
      await issuer.server.deleteEntry(entry);
      await watching.line((line) => line.startsWith("Received 1 svid"), { from: watching.lines.length });
      await watching.line((line) => line.includes(WATCHED.id), { from: watching.lines.length - 4 });
      const after = await api(WATCHED.uid, "fetch", "x509", "-output", "json");
      expect(after.stdout).not.toContain(foreign.x509Authority);

      await issuer.server.deleteEntry(issuer.entryIds.get(WATCHED.id) ?? "");
      expect(await watching.line((line) => line.includes("PermissionDenied"))).toContain(
        "no identity issued",
      );
    });

    function api(uid: number, ...[verb = "", kind = "", ...options]: readonly string[]): Promise<Outcome> {
      return run(spireAgent, ["api", verb, kind, "-socketPath", socket(), ...options], as(uid));
    }

    function validate(audience: string, jwtSvid: string): Promise<Outcome> {
      return api(WORKLOAD.uid, "validate", "jwt", "-audience", audience, "-svid", jwtSvid);
    }

    function watch(uid: number): Program {
      return Program.start(
        "spire-agent api watch",
        spireAgent,
        ["api", "watch", "-socketPath", socket()],
        as(uid),
      );
    }

    function socket(): string {
      return issuer.endpoint.replace("unix://", "");
    }
  });
});

function as(uid: number) {
  return { uid, gid: uid, cwd: "/" };
}

function entryOf({ uid, id }: { readonly uid: number; readonly id: string }) {
  return { parentId: NODE_ID, spiffeId: id, selectors: [`unix:uid:${uid}`] };
}
