import type { WorkloadEntry } from "../../issuance/workload/workload-entry.ts";
import { AssayError } from "../../errors/assay-error.ts";
import { trustDomainOf } from "../../spiffe/id.ts";
import { serverId } from "../../spiffe/reserved.ts";
import type { Selector } from "../../spiffe/selector.ts";
import type { TrustDomain } from "../../spiffe/trust-domain.ts";
import type { SyncUpdate } from "../cache/sync-update.ts";
import type { TaskBundles } from "./client.ts";
import type { TaskFacts, TaskIdentityFacts } from "./task-answers.ts";

/** What every process of the task's tree has, and nobody else. */
export const IN_TREE: Selector = { type: "task", value: "process:in-tree" };

/** The variable that tells a command which task it runs in. */
export const TASK_ID_VARIABLE = "ASSAY_TASK_ID";

/**
 * The trust domain of a task.
 * @throws AssayError `NO_IDENTITY_ISSUED` where it has no identity, or identities of several.
 */
export function trustDomainOfTask({ identities: [first, ...others] }: TaskFacts): TrustDomain {
  if (first === undefined) throw new AssayError("NO_IDENTITY_ISSUED", "the task has no identity");
  const trustDomain = trustDomainOf(first.spiffeId);
  if (others.every(({ spiffeId }) => trustDomainOf(spiffeId) === trustDomain)) return trustDomain;
  throw new AssayError("NO_IDENTITY_ISSUED", "the task's identities are of several trust domains");
}

/** Makes of what the server says of a task what a cache follows: entries that the task's processes earn, and bundles. */
export class TaskState {
  readonly #trustDomain: TrustDomain;
  readonly #known = new Map<string, { readonly content: string; readonly revision: number }>();

  constructor(trustDomain: TrustDomain) {
    this.#trustDomain = trustDomain;
  }

  /** All there is, in the place of everything before. Identities of other trust domains are left out. */
  update({ identities }: Pick<TaskFacts, "identities">, { bundles, crls }: TaskBundles): SyncUpdate {
    const own = bundles.get(this.#trustDomain);
    const federated = [...bundles.values()].filter(({ trustDomain }) => trustDomain !== this.#trustDomain);
    const names = federated.map(({ trustDomain }) => trustDomain).sort();
    return {
      ...NOTHING,
      upserted: identities
        .filter(({ spiffeId }) => trustDomainOf(spiffeId) === this.#trustDomain)
        .map((identity, position) => this.#entry(identity, position, names)),
      ...(own === undefined ? {} : { bundle: own }),
      federatedBundles: federated,
      crls,
    };
  }

  #entry(
    { spiffeId, hint, svidKeyType }: TaskIdentityFacts,
    position: number,
    federatesWith: readonly TrustDomain[],
  ): WorkloadEntry {
    const content = JSON.stringify([position, hint, svidKeyType, federatesWith]);
    const known = this.#known.get(spiffeId);
    const revision = known === undefined ? 0 : known.revision + (known.content === content ? 0 : 1);
    this.#known.set(spiffeId, { content, revision });
    return {
      // A task asks by SPIFFE ID, so that is what its entries are told apart by.
      id: spiffeId,
      revision,
      // The order of identities is that of their age.
      createdAt: position,
      spiffeId,
      parentId: serverId(this.#trustDomain),
      selectors: [IN_TREE],
      federatesWith,
      hint,
      svidKeyType,
      ...PLAIN,
    };
  }
}

/** That the task is over: nothing is earned any more. */
export const NOTHING: SyncUpdate = {
  complete: true,
  upserted: [],
  deleted: [],
  federatedBundles: [],
  deletedFederatedBundles: [],
};

const PLAIN = {
  x509SvidTtl: 0,
  jwtSvidTtl: 0,
  admin: false,
  downstream: false,
  storeSvid: false,
  expiresAt: 0,
  dnsNames: [],
  // Many jobs want tokens alone; what nobody asks for is not signed.
  disableX509SvidPrefetch: true,
  jwtSvidIncludeJti: false,
} as const;
