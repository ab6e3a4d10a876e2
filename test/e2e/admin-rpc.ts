import type { MessageInitShape } from "@bufbuild/protobuf";
import { Bundle } from "../../src/proto/gen/spire/api/server/bundle/v1/bundle_pb.ts";
import { Entry as EntryService } from "../../src/proto/gen/spire/api/server/entry/v1/entry_pb.ts";
import type { Entry, EntrySchema } from "../../src/proto/gen/spire/api/types/entry_pb.ts";
import { RpcClient } from "../../src/rpc/client.ts";
import type { TlsTarget } from "../../src/rpc/client-target.ts";
import { TRUST_DOMAIN } from "./harness.ts";

/** What a registration entry is created from, on the wire. */
export type EntryInit = Exclude<MessageInitShape<typeof EntrySchema>, Entry>;

/** A gRPC client on the admin socket of a server or an agent. */
export function adminClient(place: { readonly adminSocket: string }): RpcClient {
  return new RpcClient({
    target: { kind: "unix", path: place.adminSocket },
    maxReceiveMessageSize: 64 * 1024 * 1024,
    reconnect: { first: 50, longest: 200 },
  });
}

/** An entry under a node that need not exist, told from others by its path. */
export function entryInit(path: string, more: Partial<EntryInit> = {}): EntryInit {
  return {
    spiffeId: { trustDomain: TRUST_DOMAIN, path },
    parentId: { trustDomain: TRUST_DOMAIN, path: "/node" },
    selectors: [{ type: "unix", value: "uid:1" }],
    ...more,
  };
}

/** Every entry that the server lists, page by page. */
export async function allEntries(client: RpcClient): Promise<readonly Entry[]> {
  const service = client.service(EntryService);
  const found: Entry[] = [];
  for (let pageToken = ""; ; ) {
    const page = await service.listEntries({ pageSize: 2000, pageToken });
    found.push(...page.entries);
    if (page.nextPageToken === "") return found;
    pageToken = page.nextPageToken;
  }
}

/** A gRPC client of a server over TLS that believes it by its bundle, with an SVID or without. */
export async function tlsClient(
  place: { readonly adminSocket: string; readonly address: string },
  identity?: TlsTarget["identity"],
): Promise<RpcClient> {
  using admin = adminClient(place);
  const { x509Authorities } = await admin.service(Bundle).getBundle({});
  const [host = "", port = ""] = place.address.split(":");
  return new RpcClient({
    target: {
      kind: "tls",
      host,
      port: Number(port),
      authorities: x509Authorities.map(({ asn1 }) => asn1),
      // The chain has been followed to the bundle before this is asked.
      verifyServer: () => {},
      ...(identity === undefined ? {} : { identity }),
    },
    reconnect: { first: 50, longest: 200 },
  });
}
