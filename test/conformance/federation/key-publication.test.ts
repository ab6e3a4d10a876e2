import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readCertificate } from "../../../src/crypto/certificate-reader.ts";
import { SVID } from "../../../src/proto/gen/spire/api/server/svid/v1/svid_pb.ts";
import { makeCsr } from "../../fakes/issuance-csr.ts";
import { askEndpoint, type EndpointWorld, makeEndpointWorld } from "./federation-world.ts";

const HINT = 5;
/** Seconds that an authority lives: a whole rotation fits into the watch. */
const CA_TTL = 90;
const WATCH = 95_000;

/** What was seen, in its order: the keys that the endpoint served, and the key of an SVID that was minted after that. */
interface Sight {
  readonly at: number;
  readonly served: ReadonlySet<string>;
  readonly signer: string;
}

let endpoint: EndpointWorld;
const sights: Record<"x509" | "jwt", Sight[]> = { x509: [], jwt: [] };

// Polled and minted all through a rotation, and looked at afterwards.
beforeAll(async () => {
  endpoint = await makeEndpointWorld(
    { profile: "https_spiffe", refresh_hint: `${HINT}s` },
    {
      serverFlags: [
        `--ca-ttl=${CA_TTL}s`,
        "--default-x509-svid-ttl=10s",
        "--default-jwt-svid-ttl=10s",
        "--agent-ttl=20s",
        "--rate-limit=off",
      ],
    },
  );
  const svids = endpoint.world.admin.service(SVID);
  const id = { trustDomain: "example.org", path: "/watched" };
  for (const end = performance.now() + WATCH; performance.now() < end; ) {
    const served = await servedKeys();
    const at = performance.now();
    const [x509, jwt] = await Promise.all([
      svids.mintX509SVID({ csr: makeCsr({ uris: ["spiffe://example.org/watched"] }), ttl: 5 }),
      svids.mintJWTSVID({ id, audience: ["a"], ttl: 5 }),
    ]);
    const leaf = readCertificate(x509.svid?.certChain[0] ?? new Uint8Array());
    sights.x509.push({ at, served: served.x509, signer: hex(leaf.authorityKeyId) });
    const head = JSON.parse(
      Buffer.from((jwt.svid?.token ?? "").split(".")[0] ?? "", "base64url").toString(),
    ) as {
      kid: string;
    };
    sights.jwt.push({ at, served: served.jwt, signer: head.kid });
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}, WATCH + 60_000);
afterAll(() => endpoint?.[Symbol.asyncDispose]());

describe.each(["x509", "jwt"] as const)("a new %s key", (kind) => {
  it("FE-04 is served before anything is signed with it", () => {
    const seen = sights[kind];
    expect(new Set(seen.map(({ signer }) => signer)).size).toBeGreaterThan(1);
    expect(seen.filter(({ served, signer }) => !served.has(signer))).toEqual([]);
  });

  it("FE-03 is served at least three refresh hints before its first use", () => {
    for (const { signer, since, used } of rotations(kind)) {
      expect(used - since, signer).toBeGreaterThanOrEqual(3 * HINT * 1000);
    }
  });

  it("FE-05 leaves the one before in place for longer than any SVID of it lives", () => {
    const seen = sights[kind];
    const [first] = seen.map(({ signer }) => signer);
    const lastUse = seen.findLast(({ signer }) => signer === first)?.at ?? 0;
    // SVIDs of five seconds were minted until then. It goes a day after its own end, which is for the unit tests.
    const afterwards = seen.filter(({ at }) => at > lastUse);
    expect((afterwards.at(-1)?.at ?? 0) - lastUse).toBeGreaterThan(6_000);
    expect(afterwards.filter(({ served }) => !served.has(first ?? ""))).toEqual([]);
  });
});

/** Each key that came into use while it was watched, when it was first served and when first used. */
function rotations(kind: "x509" | "jwt") {
  const seen = sights[kind];
  const [first] = seen.map(({ signer }) => signer);
  return [...new Set(seen.map(({ signer }) => signer))]
    .filter((signer) => signer !== first)
    .map((signer) => ({
      signer,
      since: seen.find(({ served }) => served.has(signer))?.at ?? Number.POSITIVE_INFINITY,
      used: seen.find((sight) => sight.signer === signer)?.at ?? 0,
    }));
}

async function servedKeys(): Promise<Record<"x509" | "jwt", ReadonlySet<string>>> {
  const { keys } = JSON.parse((await askEndpoint(endpoint.port)).body.toString()) as {
    keys: { use: string; kid?: string; x5c?: string[] }[];
  };
  const certificates = keys.flatMap(({ x5c = [] }) => x5c.map((text) => Buffer.from(text, "base64")));
  return {
    x509: new Set(certificates.map((der) => hex(readCertificate(der).subjectKeyId))),
    jwt: new Set(keys.flatMap(({ use, kid }) => (use === "jwt-svid" && kid !== undefined ? [kid] : []))),
  };
}

function hex(bytes: Uint8Array | undefined): string {
  return Buffer.from(bytes ?? []).toString("hex");
}
