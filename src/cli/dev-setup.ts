import { toPem } from "../crypto/pem.ts";
import { AssayError } from "../errors/assay-error.ts";
import { atomicWrite } from "../files/atomic-write.ts";
import { Agent as AgentService } from "../proto/gen/spire/api/server/agent/v1/agent_pb.ts";
import { Bundle as BundleService } from "../proto/gen/spire/api/server/bundle/v1/bundle_pb.ts";
import { pathFault, type SpiffeId, spiffeIdOf } from "../spiffe/id.ts";
import type { TrustDomain } from "../spiffe/trust-domain.ts";
import { withAdminClient } from "./admin-client.ts";
import { demonstrationEntries } from "./dev-mock.ts";
import type { DevPlace } from "./dev-place.ts";
import { applyEntries } from "./entry-apply.ts";
import type { CliIo } from "./io.ts";
import { wireId } from "./wire-text.ts";

/**
 * What an operator would do by hand on a fresh server, through the same admin socket: writes the trust bundle and a join
 * token for the agent, and registers the calling user as a workload below the alias that the agent gets.
 * @returns the user's SPIFFE ID.
 */
export async function setUpLaptop(io: CliIo, place: DevPlace, trustDomain: TrustDomain): Promise<SpiffeId> {
  const alias = spiffeIdOf(trustDomain, "/node/laptop");
  const user = spiffeIdOf(trustDomain, `/workload/${segmentOf(io.user)}`);
  await withAdminClient(io, place.server.adminSocket, async (client) => {
    const { x509Authorities } = await client.service(BundleService).getBundle({});
    const pem = x509Authorities.map(({ asn1 }) => toPem("CERTIFICATE", asn1)).join("");
    await atomicWrite(place.trustBundleFile, Buffer.from(pem), { mode: 0o644 });
    const agentId = wireId(alias, "alias");
    const { value } = await client.service(AgentService).createJoinToken({ ttl: TOKEN_TTL, agentId });
    await atomicWrite(place.joinTokenFile, Buffer.from(value));
    const flags = { spiffeId: user, parentId: alias, selector: [`unix:uid:${io.user.uid}`] };
    const [applied] = await applyEntries(
      client,
      [{ id: undefined, keys: ["spiffe_id", "parent_id", "selectors"], flags }],
      false,
    );
    if (applied === undefined) throw new AssayError("INTERNAL", "the calling user was not registered");
  });
  return user;
}

/** Registers the runs of imitated CI platforms. */
export async function setUpMocks(io: CliIo, place: DevPlace, trustDomain: TrustDomain): Promise<void> {
  await withAdminClient(io, place.server.adminSocket, (client) =>
    applyEntries(client, demonstrationEntries(trustDomain), false),
  );
}

// A user's name may hold what a path of a SPIFFE ID may not.
function segmentOf({ uid, name }: CliIo["user"]): string {
  return name !== "" && pathFault(`/${name}`) === undefined && !name.includes("/") ? name : `uid-${uid}`;
}

// Long enough for a laptop that starts slowly; the token is used within the second.
const TOKEN_TTL = 600;
