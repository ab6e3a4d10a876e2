import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Outcome, Program, run } from "../e2e/program.ts";
import { type Issuer, MAKES, NODE_ID, startIssuer } from "./issuers.ts";
import { BUILD_PATIENCE, buildPeer, describeWith, placeForAll } from "./peers.ts";

const ONE = { uid: 61001, id: "spiffe://example.org/workload/one" };
const TWO = { uid: 61002, id: "spiffe://example.org/workload/two" };
const NOBODY = { uid: 61003 };

describeWith(["go", "root"], "a go-spiffe program", () => {
  describe.each(MAKES)("served by %s", (make) => {
    let issuer: Issuer;
    let probe: string;

    beforeAll(async () => {
      const [spire, client] = [await buildPeer("spire"), await buildPeer("go-client")];
      issuer = await startIssuer(
        make,
        spire,
        [ONE, TWO].map(({ uid, id }) => ({
          parentId: NODE_ID,
          spiffeId: id,
          selectors: [`unix:uid:${uid}`],
        })),
      );
      probe = await placeForAll(join(client, "spiffe-probe"), issuer.scratch);
      // SPIRE's agent hears of entries at its next poll only; ours has them when it is ready.
      if (make === "spire") for (const { uid } of [ONE, TWO]) await firstAnswer(uid);
    }, BUILD_PATIENCE);

    afterAll(async () => {
      await issuer?.[Symbol.asyncDispose]();
    });

    it.each([ONE, TWO])("gets the X509-SVID of its own uid $uid and no other", async ({ uid, id }) => {
      const { code, stdout } = await once(uid, "x509");
      expect(code, stdout).toBe(0);
      const answer = JSON.parse(stdout) as X509Answer;
      expect(answer.identities.map((identity) => identity.id)).toEqual([id]);
      expect(answer.default).toBe(id);
      expect(Object.keys(answer.bundles)).toEqual(["example.org"]);
    });

    it("gets a JWT-SVID that validates through the API and offline, for its own audience only", async () => {
      const { code, stdout } = await once(ONE.uid, "jwt", "spiffe://example.org/database");
      expect(code, stdout).toBe(0);
      const answer = JSON.parse(stdout) as JwtAnswer;
      expect(answer).toMatchObject({
        id: ONE.id,
        audience: ["spiffe://example.org/database"],
        validatedByApi: ONE.id,
        validatedOffline: ONE.id,
      });
      expect(answer.foreignAudienceByApi).toMatch(/InvalidArgument/);
      expect(answer.foreignAudienceOffline).toMatch(/audience/);
    });

    it.each(["x509", "jwt"])(
      "is refused with PermissionDenied under a uid without an entry (%s)",
      async (kind) => {
        const { code, stdout } = await once(NOBODY.uid, ...(kind === "jwt" ? ["jwt", "anybody"] : [kind]));
        expect(code).toBe(1);
        const refusal = JSON.parse(stdout) as Refusal;
        expect(refusal.code).toBe("PermissionDenied");
        expect(refusal.message).toContain("no identity issued");
      },
    );

    it.each([
      [ONE, TWO],
      [TWO, ONE],
    ])("does mTLS as a server of $uid, each authorising the other by ID", async (server, client) => {
      await using listening = probing(server.uid, "mtls-server", "127.0.0.1:0", client.id);
      const { address = "" } = await listening.json<MtlsLine>(({ event }) => event === "listening");
      const { code, stdout } = await once(client.uid, "mtls-client", address, server.id);
      expect(code, stdout).toBe(0);
      expect(JSON.parse(stdout)).toMatchObject({
        own: client.id,
        peer: server.id,
        said: `${server.id} greets ${client.id}`,
      });
      await listening.json<MtlsLine>(({ event, peer }) => event === "peer" && peer === client.id);
    });

    it("turns away a caller of another ID", async () => {
      await using listening = probing(ONE.uid, "mtls-server", "127.0.0.1:0", TWO.id);
      const { address = "" } = await listening.json<MtlsLine>(({ event }) => event === "listening");
      const { code } = await once(ONE.uid, "mtls-client", address, ONE.id);
      expect(code).toBe(1);
      const { message } = await listening.json<MtlsLine>(({ event }) => event === "refused");
      expect(message).toContain(ONE.id);
    });

    it("hears on its open stream of an entry that is added, and of its end", async () => {
      await using watching = probing(ONE.uid, "watch");
      await watching.json<X509Answer>((line) => line.identities?.length === 1);
      const added = "spiffe://example.org/workload/one/added";
      const entry = await issuer.server.createEntry({
        parentId: NODE_ID,
        spiffeId: added,
        selectors: [`unix:uid:${ONE.uid}`],
      });
      const more = await watching.json<X509Answer>((line) => line.identities?.length === 2);
      expect(more.identities.map(({ id }) => id).toSorted()).toEqual([ONE.id, added]);
      if (make === "assay") expect(more.default).toBe(ONE.id);
      const heard = watching.lines.length;
      await issuer.server.deleteEntry(entry);
      const fewer = await watching.json<X509Answer>((line) => line.identities?.length === 1, { from: heard });
      expect(fewer.identities.map(({ id }) => id)).toEqual([ONE.id]);
    });

    async function firstAnswer(uid: number): Promise<void> {
      await using watching = probing(uid, "watch");
      await watching.json<X509Answer>((line) => line.identities?.length === 1);
    }

    function once(uid: number, ...args: readonly string[]): Promise<Outcome> {
      return run(probe, args, as(uid));
    }

    function probing(uid: number, ...args: readonly string[]): Program {
      return Program.start(`spiffe-probe of ${uid}`, probe, args, as(uid));
    }

    function as(uid: number) {
      return { uid, gid: uid, cwd: "/", env: { SPIFFE_ENDPOINT_SOCKET: issuer.endpoint } };
    }
  });
});

interface X509Answer {
  readonly identities: readonly { readonly id: string }[];
  readonly default: string;
  readonly bundles: Readonly<Record<string, string>>;
}

interface JwtAnswer {
  readonly id: string;
  readonly foreignAudienceByApi: string;
  readonly foreignAudienceOffline: string;
}

interface Refusal {
  readonly code: string;
  readonly message: string;
}

interface MtlsLine {
  readonly event: string;
  readonly address?: string;
  readonly peer?: string;
  readonly message?: string;
}
