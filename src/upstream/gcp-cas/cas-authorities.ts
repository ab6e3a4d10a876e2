import type { GoogleClient } from "../../cloud/google/google-client.ts";
import { AssayError } from "../../errors/assay-error.ts";
import type { CasCall } from "./cas-call.ts";

/** Where to look for certificate authorities, and by which label. */
export interface CaSpec {
  readonly project: string;
  readonly region: string;
  /** Every pool of the region is looked into without. */
  readonly pool?: string | undefined;
  readonly labelKey: string;
  readonly labelValue: string;
}

/** A certificate authority that can sign. */
export interface CasAuthority {
  /** `projects/P/locations/L/caPools/POOL/certificateAuthorities/CA`. */
  readonly name: string;
  readonly pool: string;
  /** The last part of the name. */
  readonly id: string;
  /** Milliseconds since the Unix epoch; 0 where it is not told. */
  readonly expires: number;
  /** PEM of its own certificate and those above it, the root last. */
  readonly pemChain: readonly string[];
}

/**
 * The certificate authorities with the label that are enabled, the one that expires first at the head: that one signs, as
 * SPIRE has it, so that a new authority is trusted everywhere before it is used.
 * @throws AssayError `UPSTREAM_REFUSED` where there is none, or where they are in several pools; and what the call throws.
 */
export async function enabledAuthorities(
  client: GoogleClient,
  call: CasCall,
  spec: CaSpec,
): Promise<readonly CasAuthority[]> {
  const found: CasAuthority[] = [];
  for (const pool of await poolsOf(client, call, spec)) {
    const filter = `labels.${spec.labelKey}:${spec.labelValue}`;
    const items = await listed(client, call, "certificateAuthorities", `${pool}/certificateAuthorities`, {
      filter,
    });
    found.push(...items.flatMap((item) => authorityIn(item, pool, spec) ?? []));
  }
  const [first] = found;
  if (first === undefined) {
    throw new AssayError(
      "UPSTREAM_REFUSED",
      `no certificate authority with label ${spec.labelKey}=${spec.labelValue} is enabled`,
    );
  }
  if (found.some(({ pool }) => pool !== first.pool)) {
    throw new AssayError(
      "UPSTREAM_REFUSED",
      `certificate authorities with label ${spec.labelKey}=${spec.labelValue} are in several pools; name one by ca_pool`,
    );
  }
  return found.toSorted((a, b) => a.expires - b.expires || (a.name < b.name ? -1 : 1));
}

async function poolsOf(client: GoogleClient, call: CasCall, spec: CaSpec): Promise<readonly string[]> {
  const parent = `projects/${spec.project}/locations/${spec.region}/caPools`;
  if (spec.pool !== undefined) return [`${parent}/${spec.pool}`];
  const items = await listed(client, call, "caPools", parent, {});
  const names = items.map((item) => (item as { readonly name?: unknown } | null)?.name);
  return names.filter(
    (name): name is string => typeof name === "string" && POOL.test(name) && name.startsWith(`${parent}/`),
  );
}

async function listed(
  client: GoogleClient,
  call: CasCall,
  member: string,
  path: string,
  more: Readonly<Record<string, string>>,
): Promise<readonly unknown[]> {
  const items: unknown[] = [];
  let pageToken = "";
  for (let pages = 0; pages < MAX_PAGES; pages++) {
    const query = { ...more, pageSize: "100", ...(pageToken === "" ? {} : { pageToken }) };
    const page = await call(`privateca.${member}.list`, (limits) =>
      client.ask({ method: "GET", path, query, ...limits }),
    );
    if (Array.isArray(page[member])) items.push(...(page[member] as unknown[]));
    const { nextPageToken } = page as { readonly nextPageToken?: unknown };
    if (typeof nextPageToken !== "string" || nextPageToken === "") return items;
    pageToken = nextPageToken;
  }
  throw new AssayError("UPSTREAM_REFUSED", `privateca.${member}.list: more than ${MAX_PAGES} pages`);
}

function authorityIn(item: unknown, pool: string, spec: CaSpec): CasAuthority | undefined {
  const { name, state, labels, lifetime, createTime, pemCaCertificates } = (item ?? {}) as Readonly<
    Record<string, unknown>
  >;
  const held = (labels as Readonly<Record<string, unknown>> | null | undefined)?.[spec.labelKey];
  // The filter asks whether the label has the value among others; whatever became of it, exactly this one counts.
  if (state !== "ENABLED" || held !== spec.labelValue || typeof name !== "string") return undefined;
  const prefix = `${pool}/certificateAuthorities/`;
  const id = name.startsWith(prefix) ? name.slice(prefix.length) : "";
  if (!ID.test(id))
    throw new AssayError("UPSTREAM_REFUSED", "a certificate authority has a name of another pool");
  const begun = Date.parse(typeof createTime === "string" ? createTime : "");
  const [, seconds = "0"] =
    /^(\d{1,12})(?:\.\d+)?s$/.exec(typeof lifetime === "string" ? lifetime : "") ?? [];
  const pemChain = Array.isArray(pemCaCertificates) ? pemCaCertificates : [];
  return {
    name,
    pool,
    id,
    expires: Number.isNaN(begun) ? 0 : begun + Number(seconds) * 1000,
    pemChain: pemChain.slice(0, MAX_CHAIN).filter((pem) => typeof pem === "string"),
  };
}

const MAX_PAGES = 50;
const MAX_CHAIN = 16;
const ID = /^[A-Za-z0-9_-]{1,63}$/;
const POOL = /^projects\/[^/]+\/locations\/[^/]+\/caPools\/[A-Za-z0-9_-]{1,63}$/;
