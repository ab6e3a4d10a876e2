import { request } from "node:http";
import { Bundle } from "../../src/proto/gen/spire/api/server/bundle/v1/bundle_pb.ts";
import type { FactoryCertificate, FactoryKey } from "../fakes/svid-factory.ts";
import { SECURED, type World } from "./world.ts";

/** A foreign trust domain whose authorities a test holds. */
export const FOREIGN = "factory.test";

/** Authorities of {@link FOREIGN}: certificates, and keys by the kid that tokens name them with. */
export interface ForeignBundle {
  readonly x509?: readonly FactoryCertificate[];
  readonly jwt?: Readonly<Record<string, FactoryKey>>;
  readonly wit?: Readonly<Record<string, FactoryKey>>;
}

/** Gives the server the bundle of a foreign trust domain, over its API. */
export async function federate(
  world: World,
  { x509 = [], jwt = {}, wit = {} }: ForeignBundle,
  trustDomain = FOREIGN,
): Promise<void> {
  const keys = (of: Readonly<Record<string, FactoryKey>>) =>
    Object.entries(of).map(([keyId, { spki }]) => ({ keyId, publicKey: spki }));
  const { results } = await world.admin.service(Bundle).batchSetFederatedBundle({
    bundle: [
      {
        trustDomain,
        x509Authorities: x509.map(({ der }) => ({ asn1: der })),
        jwtAuthorities: keys(jwt),
        witAuthorities: keys(wit),
      },
    ],
  });
  const status = results[0]?.status;
  if (status?.code !== 0) throw new Error(`bundle of ${trustDomain}: ${status?.message ?? "no answer"}`);
}

/** What the server's web API said. */
export interface WebAnswer {
  readonly status: number;
  readonly type: string;
  readonly body: Buffer;
}

/** Asks the server's web API on its admin socket. */
export function askWeb(world: World, method: string, path: string, body?: Buffer): Promise<WebAnswer> {
  return new Promise((resolve, reject) => {
    const asked = request(
      {
        socketPath: world.server.place.adminSocket,
        method,
        path,
        headers: {
          host: "localhost",
          ...(body === undefined
            ? {}
            : { "content-type": "application/json", "content-length": body.length }),
        },
      },
      (answer) => {
        const chunks: Buffer[] = [];
        answer.on("data", (chunk: Buffer) => chunks.push(chunk));
        answer.on("end", () =>
          resolve({
            status: answer.statusCode ?? 0,
            type: answer.headers["content-type"] ?? "",
            body: Buffer.concat(chunks),
          }),
        );
      },
    );
    asked.on("error", reject);
    asked.end(body);
  });
}

/** How the Workload API judged a token: what it says, or the status and text of the refusal. */
export async function judge(
  world: World,
  svid: string,
  audience = "audience",
): Promise<{ readonly spiffeId: string; readonly claims: unknown } | { readonly refused: string }> {
  try {
    const { spiffeId, claims } = await world.api.validateJWTSVID({ audience, svid }, SECURED);
    return { spiffeId, claims };
  } catch (error) {
    const { status, detail } = error as { status?: string; detail?: string };
    if (status === undefined) throw error;
    return { refused: `${status}: ${detail ?? ""}` };
  }
}

/** Why a token was refused. */
export async function refusalOf(world: World, svid: string, audience?: string): Promise<string> {
  const judged = await judge(world, svid, audience);
  return "refused" in judged ? judged.refused : `accepted as ${judged.spiffeId}`;
}
