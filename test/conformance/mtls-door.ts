import type { KeyObject } from "node:crypto";
import { connect } from "node:tls";
import { Bundle } from "../../src/proto/gen/spire/api/server/bundle/v1/bundle_pb.ts";
import type { FactoryCertificate } from "../fakes/svid-factory.ts";
import { RawGrpc } from "./raw-grpc.ts";
import { makeWorld, type World, type WorldOptions } from "./world.ts";

/** What comes of showing a certificate: a call was answered with this gRPC status, or the connection was refused. */
export type Knock = { readonly grpcStatus: number } | { readonly refused: string };

/** Who is shown to the server: certificates, leaf first, and the leaf's key. */
export interface Shown {
  readonly chain: readonly Uint8Array[];
  readonly key: KeyObject;
}

/** The only SPIFFE IDs that a door's server takes for operators. */
export const OPERATOR = "spiffe://example.org/operator";
export const FOREIGN_OPERATOR = "spiffe://factory.test/operator";

/** What makes a server that knows {@link OPERATOR}, says why it refuses connections, and counts nothing. */
export const DOOR: WorldOptions = {
  serverConfig: `admin_ids: [${OPERATOR}, ${FOREIGN_OPERATOR}]\nrate_limit: off\n`,
  serverFlags: ["--log-level=debug"],
};

/** A world whose server API can be knocked at. */
export async function makeDoorWorld(): Promise<World> {
  return makeWorld(DOOR);
}

/** Makes an authority one of the trust domain's own, next to the server's. */
export async function trustAuthority(world: World, authority: FactoryCertificate): Promise<void> {
  await world.admin.service(Bundle).appendBundle({ x509Authorities: [{ asn1: authority.der }] });
}

/** Shows a certificate to the server API and asks for something that operators only may have. */
export async function knock(world: World, { chain, key }: Shown): Promise<Knock> {
  const { program, place } = world.server;
  const from = program.lines.length;
  const [host = "", port = ""] = place.address.split(":");
  const socket = connect({
    host,
    port: Number(port),
    cert: chain.map(pem).join(""),
    key: key.export({ format: "pem", type: "pkcs8" }),
    ALPNProtocols: ["h2"],
    // Who the server is plays no part here.
    rejectUnauthorized: false,
  });
  socket.on("error", () => {});
  using client = new RawGrpc(socket);
  const { grpcStatus } = await client
    .call({ path: "/spire.api.server.entry.v1.Entry/CountEntries", headers: {} })
    .catch(() => ({ grpcStatus: undefined }));
  if (grpcStatus !== undefined) return { grpcStatus };
  const { detail } = await program.json<{ msg: string; detail: string }>(
    ({ msg }) => msg === "TLS connection refused",
    { from },
  );
  return { refused: detail };
}

/** Why a connection was refused. */
export function reasonOf(seen: Knock): string {
  return "refused" in seen ? seen.refused : `answered with status ${seen.grpcStatus}`;
}

/** A certificate and those above it, as it is shown. */
export function shown(leaf: FactoryCertificate, ...intermediates: readonly FactoryCertificate[]): Shown {
  return { chain: [leaf, ...intermediates].map(({ der }) => der), key: leaf.key.privateKey };
}

function pem(der: Uint8Array): string {
  const lines =
    Buffer.from(der)
      .toString("base64")
      .match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join("\n")}\n-----END CERTIFICATE-----\n`;
}
