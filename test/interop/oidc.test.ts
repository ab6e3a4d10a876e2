import { setTimeout as wait } from "node:timers/promises";
import { writeFile } from "node:fs/promises";
import { decodeProtectedHeader } from "jose";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { generateEcKeyPair } from "../../src/crypto/keys.ts";
import { SVID } from "../../src/proto/gen/spire/api/server/svid/v1/svid_pb.ts";
import type { RpcClient } from "../../src/rpc/client.ts";
import { adminClient } from "../e2e/admin-rpc.ts";
import { type AssayServer, placeServer, startServer } from "../e2e/harness.ts";
import { makeScratch, type Scratch } from "../e2e/scratch.ts";
import { OIDC_LIBRARIES, RelyingParty } from "./oidc-verifiers.ts";
import { BUILD_PATIENCE, buildPeer, describeWith } from "./peers.ts";

const WORKLOAD = { trustDomain: "example.org", path: "/ns/shop/sa/web" };
const SUBJECT = "spiffe://example.org/ns/shop/sa/web";

let scratch: Scratch;
let server: AssayServer;
let admin: RpcClient;
let issuer: string;
let caFile: string;

beforeAll(async () => {
  scratch = await makeScratch();
  const place = await placeServer(scratch);
  issuer = place.webAddress.replace("127.0.0.1", "https://localhost");
  const config = scratch.at("server.yaml");
  await writeFile(config, "rs256_audiences: [legacy]\nfeatures: [wit-svid]\n");
  server = await startServer(place, [`--config=${config}`, `--jwt-issuer=${issuer}`]);
  admin = adminClient(place);
  caFile = await server.trustBundleFile();
});

afterAll(async () => {
  admin?.[Symbol.dispose]();
  await server?.[Symbol.asyncDispose]();
  await scratch?.[Symbol.asyncDispose]();
});

for (const library of OIDC_LIBRARIES) {
  describeWith(library.needs, `a relying party on ${library.name}`, () => {
    let folder: string;
    beforeAll(async () => {
      folder = await buildPeer(library.peer);
    }, BUILD_PATIENCE);

    describe.each([
      { algorithm: "ES256", audience: "api" },
      { algorithm: "RS256", audience: "legacy" },
    ])("that is the audience $audience", ({ algorithm, audience }) => {
      let party: RelyingParty;
      beforeAll(async () => {
        party = await RelyingParty.start(library, folder, { issuer, audience, caFile });
      });
      afterAll(() => party?.[Symbol.asyncDispose]());

      it("accepts a JWT-SVID, knowing nothing but the issuer's URL", async () => {
        const token = await jwtSvid(audience);
        expect(decodeProtectedHeader(token).alg).toBe(algorithm);
        expect(await party.verify(token)).toEqual({ sub: SUBJECT, alg: algorithm });
      });

      it.each([
        ["claims", 1],
        ["signature", 2],
      ])("refuses it after a bit of its %s is flipped", async (_, part) => {
        const token = await jwtSvid(audience);
        expect(await party.verify(token)).toMatchObject({ sub: SUBJECT });
        expect(Object.keys(await party.verify(withFlippedBit(token, part)))).toEqual(["error"]);
      });

      it("refuses one for another audience", async () => {
        expect((await party.verify(await jwtSvid("somebody-else"))).error).toMatch(/aud/i);
      });

      it("refuses one past its expiry", async () => {
        const { svid } = await admin
          .service(SVID)
          .mintJWTSVID({ id: WORKLOAD, audience: [audience], ttl: 2 });
        const token = svid?.token ?? "";
        expect(await party.verify(token)).toMatchObject({ sub: SUBJECT });
        await wait(Number(svid?.expiresAt) * 1000 - Date.now() + 1000);
        expect((await party.verify(token)).error).toMatch(/expired/i);
      });

      it("goes on after a rotation, with the keys that it knew before and the new ones", async () => {
        const before = await jwtSvid(audience);
        expect(await party.verify(before)).toMatchObject({ sub: SUBJECT });
        await server.ask("authority", "jwt", "prepare");
        const shown = await server.ask<readonly State[]>("authority", "jwt", "show");
        const next = shown.find(({ state }) => state === "prepared")?.authority_id ?? "";
        await server.ask("authority", "jwt", "activate", `--authority-id=${next}`);
        const after = await jwtSvid(audience);
        expect(decodeProtectedHeader(after).kid).not.toBe(decodeProtectedHeader(before).kid);
        expect(await party.verify(after)).toEqual({ sub: SUBJECT, alg: algorithm });
        expect(await party.verify(before)).toEqual({ sub: SUBJECT, alg: algorithm });
      });

      it("refuses a WIT-SVID", async () => {
        const { svid } = await admin.service(SVID).mintWITSVID({
          id: WORKLOAD,
          publicKey: generateEcKeyPair("ec-p256").spki,
          signingAlgorithm: "ES256",
        });
        expect(Object.keys(await party.verify(svid?.token ?? ""))).toEqual(["error"]);
      });
    });
  });
}

interface State {
  readonly state: string;
  readonly authority_id: string;
}

async function jwtSvid(audience: string): Promise<string> {
  const { svid } = await admin.service(SVID).mintJWTSVID({ id: WORKLOAD, audience: [audience] });
  return svid?.token ?? "";
}

/** A token with the last letter of its subject, or the middle of its signature, one bit off. */
function withFlippedBit(token: string, part: number): string {
  const parts = token.split(".");
  const bytes = Buffer.from(parts[part] ?? "", "base64url");
  const at = part === 1 ? bytes.indexOf("/web") + 3 : bytes.length >> 1;
  bytes[at] = (bytes[at] as number) ^ 1;
  parts[part] = bytes.toString("base64url");
  return parts.join(".");
}
