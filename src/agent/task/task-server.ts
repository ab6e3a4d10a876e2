import { AssayError, toAssayError } from "../../errors/assay-error.ts";
import type { ServerApi } from "../link/server-api.ts";
import type { TrustDomain } from "../../spiffe/trust-domain.ts";
import type { TaskClient } from "./client.ts";

/** The part of a server that a cache of SVIDs asks. */
export type SigningServer = Pick<ServerApi, "signX509" | "signJwt" | "signWit" | "bundle">;

/** A task's server in the words of the agent's cache. The ids of a task's entries are their SPIFFE IDs. */
export function taskServer(client: TaskClient, trustDomain: TrustDomain): SigningServer {
  return {
    signX509: (requests, signal) =>
      each(requests, async ({ entryId, csr }) => ({ chain: await client.x509Svid(csr, entryId, signal) })),
    signWit: (requests, signal) =>
      each(requests, async ({ entryId, ...order }) => ({
        token: await client.witSvid(order, entryId, signal),
      })),
    signJwt: (entryId, audience, signal) => client.jwtSvid(audience, entryId, signal),
    async bundle(signal) {
      const { bundles } = await client.bundles(signal);
      const own = bundles.get(trustDomain);
      if (own === undefined)
        throw new AssayError("SERVER_UNAVAILABLE", `the server has no bundle of ${trustDomain}`);
      return own;
    },
  };
}

/** One call for each; what is wrong with one of them is no other's, and what is wrong with the server is everybody's. */
async function each<Request, Outcome>(
  requests: readonly Request[],
  sign: (request: Request) => Promise<Outcome>,
): Promise<readonly (Outcome | { readonly error: { readonly code: number; readonly message: string } })[]> {
  return Promise.all(
    requests.map(async (request) => {
      try {
        return await sign(request);
      } catch (thrown) {
        const error = toAssayError(thrown);
        if (!REFUSALS.has(error.code)) throw error;
        return { error: { code: GRPC_PERMISSION_DENIED, message: error.detail } };
      }
    }),
  );
}

const REFUSALS: ReadonlySet<string> = new Set(["NO_IDENTITY_ISSUED", "POLICY_DENIED", "INVALID_CSR"]);
const GRPC_PERMISSION_DENIED = 7;
