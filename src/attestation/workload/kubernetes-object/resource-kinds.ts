import { z } from "zod";
import type { Clock } from "../../../clock.ts";
import { AssayError } from "../../../errors/assay-error.ts";
import { type ApiClient, failed } from "./api-client.ts";

/** What the cluster says about a kind of object. */
export interface ResourceKind {
  readonly plural: string;
  /** `core` for the core group. */
  readonly group: string;
  readonly version: string;
  readonly kind: string;
  readonly namespaced: boolean;
}

/** What the cluster knows of its kinds, remembered for ten minutes. */
export class ResourceKinds {
  readonly #client: Pick<ApiClient, "ask">;
  readonly #clock: Clock;
  readonly #known = new Map<string, { readonly kind: ResourceKind; readonly until: number }>();

  constructor(client: Pick<ApiClient, "ask">, clock: Clock) {
    this.#client = client;
    this.#clock = clock;
  }

  /**
   * The kind with this plural name, in the version of its group that the cluster prefers, or in the first that has it.
   * @throws AssayError `WORKLOAD_NOT_FOUND` where the cluster has no such kind, `WORKLOAD_ATTESTATION_FAILED` in trouble.
   */
  async find(plural: string, group: string, signal: AbortSignal): Promise<ResourceKind> {
    const key = `${plural}.${group}`;
    const now = this.#clock.now();
    const known = this.#known.get(key);
    if (known !== undefined && known.until > now) return known.kind;
    const kind = await this.#look(plural, group, signal);
    if (this.#known.size >= MAX_KNOWN) this.#known.clear();
    this.#known.set(key, { kind, until: now + REMEMBERED });
    return kind;
  }

  async #look(plural: string, group: string, signal: AbortSignal): Promise<ResourceKind> {
    for (const version of await this.#versions(group, signal)) {
      const answer = await this.#get(apiPath(group, version), resourceList, signal);
      const found = answer?.resources.find(({ name }) => name === plural);
      if (found !== undefined)
        return { plural, group, version, kind: found.kind, namespaced: found.namespaced };
    }
    throw new AssayError("WORKLOAD_NOT_FOUND", `the cluster has no kind ${plural}.${group}`);
  }

  async #versions(group: string, signal: AbortSignal): Promise<readonly string[]> {
    if (group === CORE) return ["v1"];
    const answer = await this.#get(`/apis/${encodeURIComponent(group)}`, apiGroup, signal);
    if (answer === undefined) return [];
    const { preferredVersion, versions } = answer;
    const all = [preferredVersion, ...versions].flatMap((one) => one?.version ?? []);
    return [...new Set(all)].slice(0, MAX_VERSIONS);
  }

  async #get<Shape>(path: string, shape: z.ZodType<Shape>, signal: AbortSignal): Promise<Shape | undefined> {
    const { status, body } = await this.#client.ask({ path }, signal);
    if (status === 404) return undefined;
    if (status !== 200) throw failed(`the Kubernetes API answers ${path} with ${status}`);
    const read = shape.safeParse(body);
    if (!read.success) throw failed(`the Kubernetes API answers ${path} in another form than expected`);
    return read.data;
  }
}

/** Where the objects of a group and version are. */
export function apiPath(group: string, version: string): string {
  return group === CORE
    ? `/api/${encodeURIComponent(version)}`
    : `/apis/${encodeURIComponent(group)}/${encodeURIComponent(version)}`;
}

/** How references name the group whose own name is empty (Broker API §3.1.3). */
export const CORE = "core";
const REMEMBERED = 600_000;
const MAX_KNOWN = 256;
const MAX_VERSIONS = 8;

const version = z.string().regex(/^v[a-z0-9]{1,30}$/);
const apiGroup = z.object({
  versions: z.array(z.object({ version })).max(100),
  preferredVersion: z.object({ version }).optional(),
});
const resourceList = z.object({
  resources: z.array(z.object({ name: z.string(), kind: z.string(), namespaced: z.boolean() })).max(10_000),
});
