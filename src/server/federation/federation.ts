/**
 * server/federation — foreign trust domains: which there are, keeping their bundles fresh, and serving them the own one.
 *
 * Must never know a wire format, nor who may change a relationship; it follows what is configured and stored.
 * Called by the server's composition, and by the operations for what cannot wait.
 */
import { getCACertificates } from "node:tls";
import type { Clock } from "../../clock.ts";
import { parseBundleDocument } from "../../crypto/bundle-document.ts";
import { parsePemCertificates, toPem } from "../../crypto/pem.ts";
import { AssayError, toAssayError } from "../../errors/assay-error.ts";
import { BundleClient } from "../../federation/bundle-client.ts";
import { fetchBundle } from "../../federation/bundle-fetch.ts";
import type { FederationEvent, FederationStatus } from "../../federation/bundle-poller.ts";
import { parseRelationship } from "../../federation/relationship.ts";
import { readBounded } from "../../files/read-bounded.ts";
import type { AuditRecord } from "../../observe/audit-record.ts";
import { FIELD } from "../../observe/fields.ts";
import type { Log } from "../../observe/log.ts";
import type { Metrics } from "../../observe/metrics.ts";
import { addressRules } from "../../outbound/address-rules.ts";
import { createOutbound } from "../../outbound/outbound.ts";
import type { Registry } from "../../registry/registry.ts";
import { emptyBundle, type SpiffeBundle } from "../../spiffe/bundle.ts";
import type { TrustDomain } from "../../spiffe/trust-domain.ts";
import type { FederationRelationshipRecord } from "../../store/records.ts";
import type { Store } from "../../store/store.ts";
import type { ConfiguredRelationship, FederationOptions } from "./federation-options.ts";
import { federationReport, newBundleRecord, notStoredRecord } from "./federation-report.ts";

/** What federation stands on. */
export interface FederationParts {
  readonly options: FederationOptions;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly random: () => number;
  readonly store: Pick<Store, "bundles" | "federation">;
  readonly registry: Pick<Registry, "catchUp" | "subscribe">;
  /** The newest bundle of a trust domain, the own one among them. */
  readonly bundleOf: (trustDomain: TrustDomain) => SpiffeBundle | undefined;
  readonly audit: { append(records: readonly AuditRecord[]): void };
}

/** Federation at work. */
export interface Federation extends AsyncDisposable {
  /** Relationships that are configured, in place of stored ones with the same trust domain. */
  readonly configured: readonly FederationRelationshipRecord[];
  /** How each relationship fares on this server, by trust domain. */
  statuses(): readonly FederationStatus[];
  /** Looks at once which relationships there are now. @throws AssayError `STORE_UNAVAILABLE`. */
  reload(): Promise<void>;
  /** Fetches the bundle of a trust domain now; `undefined` where there is no relationship with it. */
  refresh(trustDomain: TrustDomain): Promise<FederationEvent | undefined>;
}

/**
 * Begins to keep the bundles of foreign trust domains fresh. Nobody is waited for: a partner that is away holds up
 * nothing here.
 * @throws AssayError `CONFIG_INVALID` for a file or relationship that cannot be used, `STORE_UNAVAILABLE`,
 * `AUDIT_UNAVAILABLE`.
 */
export async function openFederation(parts: FederationParts): Promise<Federation> {
  const { options, clock, log, store, registry, bundleOf, audit } = parts;
  const configured = options.federatesWith.map(configuredRelationship);
  const webAuthorities = await webAuthoritiesOf(options.trustedCaFile);

  // The record first: what the audit log has no place for is not put in force, and is tried again.
  async function put(bundle: SpiffeBundle, mode: "create" | "set", source: string): Promise<void> {
    audit.append([newBundleRecord(bundle, source)]);
    try {
      await store.bundles.put(bundle, mode);
    } catch (error) {
      audit.append([notStoredRecord(bundle, source, toAssayError(error))]);
      throw error;
    }
  }
  for (const { trustDomain, bundleFile } of options.federatesWith) {
    if (bundleFile === undefined || bundleOf(trustDomain) !== undefined) continue;
    await put(await bundleOfFile(trustDomain, bundleFile), "create", `taken from the file ${bundleFile}`);
    log.info("bundle to begin with taken from its file", { [FIELD.trustDomain]: trustDomain });
  }
  await registry.catchUp();

  const outbound = createOutbound({ clock, addresses: addressRules(options.allowedAddresses) });
  const fetchOptions = {
    clock,
    outbound,
    bundleOf,
    webAuthorities,
    followRedirects: options.followRedirects,
  };
  const report = federationReport(log, parts.metrics);
  const client = new BundleClient({
    clock,
    random: parts.random,
    fetch: (relationship, signal) => fetchBundle(relationship, fetchOptions, signal),
    bundleOf,
    async save(bundle) {
      await put(bundle, "set", "fetched from its bundle endpoint");
      await registry.catchUp();
    },
    report: (event) => report.event(event),
  });

  let known: ReadonlySet<TrustDomain> = new Set();
  async function look(): Promise<void> {
    const all = new Map((await storedRelationships(store)).map((one) => [one.trustDomain, one]));
    for (const one of configured) all.set(one.trustDomain, one);
    const names = new Set(all.keys());
    for (const name of names) if (!known.has(name)) report.began(name);
    for (const name of known) if (!names.has(name)) report.ended(name);
    known = names;
    client.setRelationships([...all.values()]);
  }

  // One after the other, so that what was read first never comes last.
  let looking = Promise.resolve();
  const reload = (): Promise<void> => (looking = looking.then(look, look));
  const lookAgain = () => {
    reload().catch((error: unknown) => log.error("relationships cannot be read", { [FIELD.error]: error }));
  };
  await reload();
  const subscription = registry.subscribe((changes) => {
    if (changes.some(({ kind }) => kind === "federation_relationship")) lookAgain();
    for (const change of changes) if (change.kind === "bundle") client.bundleChanged(change.trustDomain);
  });
  // What a change log that was cut short may have kept from us is found here.
  let wait: Disposable | undefined;
  const again = () => {
    wait = clock.schedule(LOOK_INTERVAL, () => {
      lookAgain();
      again();
    });
  };
  again();

  return {
    configured,
    statuses: () => client.statuses(),
    reload,
    refresh: (trustDomain) => client.refresh(trustDomain),
    async [Symbol.asyncDispose]() {
      subscription[Symbol.dispose]();
      wait?.[Symbol.dispose]();
      await looking.catch(() => undefined);
      await client[Symbol.asyncDispose]();
    },
  };
}

/** Every stored relationship, by trust domain. */
export async function storedRelationships(
  store: Pick<Store, "federation">,
): Promise<readonly FederationRelationshipRecord[]> {
  const all: FederationRelationshipRecord[] = [];
  for (;;) {
    const page = await store.federation.list(all.at(-1)?.trustDomain ?? "", PAGE);
    if (page.length === 0) return all;
    all.push(...page);
  }
}

function configuredRelationship(wanted: ConfiguredRelationship): FederationRelationshipRecord {
  try {
    return parseRelationship({ ...wanted, profile: wanted.bundleEndpointProfile });
  } catch (error) {
    if (!(error instanceof AssayError)) throw error;
    throw new AssayError("CONFIG_INVALID", `federates_with ${wanted.trustDomain}: ${error.detail}`, {
      cause: error,
    });
  }
}

async function webAuthoritiesOf(file: string | undefined): Promise<readonly string[]> {
  const known = getCACertificates("default");
  if (file === undefined) return known;
  const text = (await readBounded(file, MAX_FILE, { code: "CONFIG_INVALID" })).toString("utf8");
  return [
    ...known,
    ...namingFile(file, () => parsePemCertificates(text)).map(({ der }) => toPem("CERTIFICATE", der)),
  ];
}

async function bundleOfFile(trustDomain: TrustDomain, file: string): Promise<SpiffeBundle> {
  const bytes = await readBounded(file, MAX_FILE, { code: "CONFIG_INVALID" });
  if (!bytes.includes("-----BEGIN")) return namingFile(file, () => parseBundleDocument(trustDomain, bytes));
  const certificates = namingFile(file, () => parsePemCertificates(bytes.toString("utf8")));
  return {
    ...emptyBundle(trustDomain),
    x509Authorities: certificates.map(({ der }) => ({ certificate: der, tainted: false })),
  };
}

function namingFile<Value>(file: string, read: () => Value): Value {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof AssayError)) throw error;
    throw new AssayError("CONFIG_INVALID", `${file} cannot be used: ${error.detail}`, { cause: error });
  }
}

const PAGE = 1000;
const MAX_FILE = 4 * 1024 * 1024;
const LOOK_INTERVAL = 60_000;
