import type { AssayError } from "../../errors/assay-error.ts";
import type { FederationEvent } from "../../federation/bundle-poller.ts";
import type { AuditRecord } from "../../observe/audit-record.ts";
import { FIELD } from "../../observe/fields.ts";
import type { Log } from "../../observe/log.ts";
import { atMost } from "../../observe/metric-labels.ts";
import type { Metrics } from "../../observe/metrics.ts";
import type { SpiffeBundle } from "../../spiffe/bundle.ts";
import type { TrustDomain } from "../../spiffe/trust-domain.ts";

/** Tells the operator how foreign bundles fare: a log line and a count for each fetch, and the age of each bundle. */
export interface FederationReport {
  event(event: FederationEvent): void;
  /** A relationship began: its bundle counts as never refreshed until it is. */
  began(trustDomain: TrustDomain): void;
  /** A relationship ended: nobody needs to be alarmed about its bundle. */
  ended(trustDomain: TrustDomain): void;
}

/** Makes the report of one server. */
export function federationReport(log: Log, metrics: Metrics): FederationReport {
  const labels = { trust_domain: atMost(1000) };
  const refreshes = metrics.counter({
    name: "federation_refreshes_total",
    help: "Attempts to fetch a foreign bundle, by trust domain and outcome",
    labels: { ...labels, outcome: ["changed", "unchanged", "older", "failed"] },
  });
  const refreshed = metrics.gauge({
    name: "federation_refreshed_timestamp_seconds",
    help: "When a foreign bundle was last found up to date, 0 where it never was since the server began",
    labels,
  });
  return {
    event(event) {
      const { trustDomain } = event.relationship;
      refreshes.add({ trust_domain: trustDomain, outcome: event.outcome });
      if (!("error" in event)) refreshed.set({ trust_domain: trustDomain }, event.at / 1000);
      logEvent(log, event);
    },
    began: (trustDomain) => refreshed.set({ trust_domain: trustDomain }, 0),
    ended: (trustDomain) => refreshed.remove({ trust_domain: trustDomain }),
  };
}

/** The audit record of a bundle that is put in force without anybody asking; `source` says where it came from. */
export function newBundleRecord(bundle: SpiffeBundle, source: string): AuditRecord {
  const { trustDomain, sequence, x509Authorities, jwtAuthorities, witAuthorities } = bundle;
  const wit = witAuthorities.length === 0 ? "" : ` and ${witAuthorities.length} WIT`;
  return {
    event: "bundle.changed",
    outcome: "done",
    trust_domain: trustDomain,
    reasons: [
      `${source}: sequence ${sequence}, ${x509Authorities.length} X.509 and ${jwtAuthorities.length} JWT${wit} authorities`,
    ],
  };
}

/** The audit record that takes the one before it back: the bundle could not be stored. */
export function notStoredRecord(bundle: SpiffeBundle, source: string, error: AssayError): AuditRecord {
  return {
    event: "bundle.changed",
    outcome: "failed",
    code: error.code,
    trust_domain: bundle.trustDomain,
    reasons: [`${source}: sequence ${bundle.sequence}, not stored: ${error.detail}`],
  };
}

function logEvent(log: Log, event: FederationEvent): void {
  const { trustDomain, bundleEndpointUrl } = event.relationship;
  const fields = {
    [FIELD.trustDomain]: trustDomain,
    bundle_endpoint_url: bundleEndpointUrl,
    [FIELD.elapsedMs]: event.elapsed,
    [FIELD.retryMs]: event.nextAttemptAt - event.at,
  };
  if (!("error" in event)) {
    const { bundle, address, redirects, outcome } = event;
    const keys = bundle.x509Authorities.length + bundle.jwtAuthorities.length + bundle.witAuthorities.length;
    const facts = { ...fields, [FIELD.address]: address, redirects, sequence: String(bundle.sequence), keys };
    if (keys === 0) log.warn("the fetched bundle has no keys: nothing of the trust domain is trusted", facts);
    else
      log.info(
        outcome === "changed" ? "foreign bundle fetched and changed" : "foreign bundle fetched",
        facts,
      );
    return;
  }
  const { error, lastSuccessAt, at, nextAttemptAt } = event;
  const age = lastSuccessAt === undefined ? undefined : at - lastSuccessAt;
  const facts = { ...fields, ...(age !== undefined && { age_ms: age }), [FIELD.error]: error };
  // Once missed may be a restart over there; after that somebody has to look.
  const isStale = age === undefined || age > STALE_AFTER * (nextAttemptAt - at);
  if (isStale) log.error("foreign bundle cannot be refreshed and grows stale", facts);
  else log.warn("foreign bundle not refreshed, will be tried again", facts);
}

const STALE_AFTER = 3;
