import type { FastifyRequest } from "fastify";
import { formatBundleMap } from "../../crypto/bundle-map.ts";
import type { HttpRoutes } from "../../http/http-routes.ts";
import type { TaskIssuance } from "../../issuance/tasks/task-issuance.ts";
import type { TaskCaller } from "../../issuance/tasks/task-options.ts";
import type { SpiffeBundle } from "../../spiffe/bundle.ts";
import type { TrustDomain } from "../../spiffe/trust-domain.ts";
import { z } from "zod";
import { aboutTask, taskProblems } from "./task-document.ts";

/** What the bundles of the task API need. */
export interface TaskBundleOptions {
  readonly trustDomain: TrustDomain;
  readonly taskIssuance: Pick<TaskIssuance, "identities">;
  /** The bundle of a trust domain, own or federated. */
  readonly bundleOf: (trustDomain: TrustDomain) => SpiffeBundle | undefined;
  /** DER of the revocation lists of a trust domain's authorities. */
  readonly crlsOf: (trustDomain: TrustDomain) => readonly Uint8Array[];
}

/** Adds the bundles of the task API: the own, and those that the task's entries federate with. */
export function taskBundleRoutes(
  routes: HttpRoutes,
  options: TaskBundleOptions,
  callerOf: (request: FastifyRequest) => TaskCaller,
): void {
  const { trustDomain, taskIssuance, bundleOf, crlsOf } = options;
  routes.get(
    "/v1/task/bundles",
    {
      schema: {
        ...aboutTask("Read the bundles"),
        description:
          "A SPIFFE bundle map of the own trust domain and of those that the task's entries federate with, and beside it their revocation lists.",
        response: { 200: bundlesSchema, ...taskProblems() },
      },
    },
    async (request, reply) => {
      const federated = taskIssuance
        .identities(callerOf(request).task)
        .flatMap(({ entry }) => entry.federatesWith);
      const bundles = [...new Set([trustDomain, ...federated])].flatMap((name) => bundleOf(name) ?? []);
      const crls = bundles.flatMap(({ trustDomain: name }): [string, string[]][] => {
        const lists = crlsOf(name).map((crl) => Buffer.from(crl).toString("base64"));
        return lists.length === 0 ? [] : [[name, lists]];
      });
      // The map is text of its own, since a sequence number can be more than a double holds.
      const map = formatBundleMap(bundles).slice(0, -1);
      const text = `${map}, "crls": ${JSON.stringify(Object.fromEntries(crls))}}`;
      return reply
        .type("application/json")
        .serializer(String)
        .send(text as never);
    },
  );
}

const bundlesSchema = z
  .object({
    trust_domains: z
      .record(z.string(), z.looseObject({}))
      .describe("Bundle documents by trust domain (Trust Domain and Bundle §5.1.1)"),
    crls: z
      .record(z.string(), z.array(z.string()))
      .describe("Revocation lists by trust domain, each DER in base64"),
  })
  .meta({ id: "TaskBundles", description: "Bundles and revocation lists" });
