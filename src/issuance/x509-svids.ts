import type { Composing } from "./composing.ts";
import { keyFactsOf, type KeyWanted } from "./key-facts.ts";
import { type Clock, unixSeconds } from "../clock.ts";
import { type CertificationRequest, readCertificationRequest } from "../crypto/pkcs10.ts";
import { AssayError } from "../errors/assay-error.ts";
import { denials, type PolicyDecision } from "../policy/decision.ts";
import type { PolicyOptions } from "../policy/policy-options.ts";
import { decideX509Svid } from "../policy/x509-svid.ts";
import type { IssuedX509Svid, Signing } from "../signing/signing.ts";
import { parseSpiffeId } from "../spiffe/id.ts";
import type { TrustDomain } from "../spiffe/trust-domain.ts";
import type { EntryRecord } from "../store/records.ts";
import type { AgentCaller, Caller } from "./caller.ts";
import type { Decided } from "./decision.ts";
import {
  type EntryIssuanceOptions,
  type IssuanceCall,
  issueForEntries,
  issueOne,
  type SvidWanted,
} from "./entry-svids.ts";

/** What making one SVID stands on. */
export interface SvidOptions {
  readonly trustDomain: TrustDomain;
  readonly clock: Clock;
  readonly policy: PolicyOptions;
  readonly signing: Signing;
  /** Absent where no credential composer is configured. */
  readonly composing?: Composing | undefined;
}

/** What the issuance of workloads' SVIDs stands on. */
export interface WorkloadIssuanceOptions extends EntryIssuanceOptions, SvidOptions {}

/** One X509-SVID that an agent asks for. */
export interface X509SvidOrder {
  readonly entryId: string;
  /** DER PKCS#10; contributes its public key and nothing else. */
  readonly csr: Uint8Array;
}

/**
 * Issues X509-SVIDs for entries of an agent, each with its own outcome, in order. All records are written, by one
 * call, before any of them leaves.
 * @throws AssayError `SIGNING_BUSY`, `AUDIT_UNAVAILABLE`, the reason of the call's signal; and then for the whole batch.
 */
export async function issueX509Svids(
  options: WorkloadIssuanceOptions,
  caller: AgentCaller,
  orders: readonly X509SvidOrder[],
  call?: IssuanceCall,
): Promise<readonly Decided<IssuedX509Svid>[]> {
  const make = (entry: EntryRecord, { csr }: X509SvidOrder) => {
    const wanted = {
      spiffeId: entry.spiffeId,
      dnsNames: entry.dnsNames,
      entryTtl: entry.x509SvidTtl,
      entryExpiresAt: entry.expiresAt,
      svidKeyType: entry.svidKeyType,
    };
    return x509SvidFor(options, readCertificationRequest(csr), wanted, call);
  };
  return issueForEntries(options, X509, caller, orders, make, call);
}

/**
 * Mints an X509-SVID for an administrator, without an entry: the SPIFFE ID, DNS names and public key are the signing
 * request's, and policy still has the last word.
 * @throws AssayError `INVALID_CSR`, `INVALID_SPIFFE_ID`, `POLICY_DENIED`, `AUDIT_UNAVAILABLE` and signing's.
 */
export async function mintX509Svid(
  options: Omit<WorkloadIssuanceOptions, "authorizedEntry">,
  caller: Caller,
  request: { readonly csr: Uint8Array; readonly ttl: number },
): Promise<IssuedX509Svid> {
  return issueOne(options, X509, caller, {}, async (draft) => {
    const csr = readCertificationRequest(request.csr);
    const [uri, ...more] = csr.uris;
    if (uri === undefined) throw new AssayError("INVALID_CSR", "CSR URI SAN is required");
    if (more.length > 0) throw new AssayError("INVALID_CSR", "only one URI SAN is expected");
    const spiffeId = parseSpiffeId(uri);
    draft.note({ spiffe_id: spiffeId });
    return x509SvidFor(options, csr, { spiffeId, dnsNames: csr.dnsNames, requestedTtl: request.ttl });
  });
}

/** The part of an audit record that an issued X509-SVID fills in. */
export function issuedFacts(issued: IssuedX509Svid): {
  serial: string;
  authority_id: string;
  expires_at: number;
} {
  return { serial: issued.serial, authority_id: issued.authorityId, expires_at: issued.notAfter };
}

/** Throws `POLICY_DENIED` with the rules that said no, or gives the lifetime. */
export function allowedTtl(decided: PolicyDecision): number {
  if (decided.allowed) return decided.ttl;
  const rules = denials(decided).map(({ rule, detail }) => `${detail} (rule ${rule})`);
  throw new AssayError("POLICY_DENIED", rules.join("; "));
}

/**
 * An X509-SVID for the key of a signing request, if policy allows it.
 * @throws AssayError `COMPOSER_FAILED`, `POLICY_DENIED` and signing's.
 */
export async function x509SvidFor(
  options: SvidOptions,
  csr: Pick<CertificationRequest, "spki" | "keyType">,
  wanted: SvidWanted & KeyWanted & { readonly dnsNames: readonly string[] },
  call?: IssuanceCall,
): Promise<IssuedX509Svid> {
  const { signing, policy, trustDomain, clock, composing } = options;
  const { spiffeId } = wanted;
  const publicKey = csr.spki;
  // Without composers nothing is waited for.
  const content =
    composing === undefined
      ? { dnsNames: wanted.dnsNames }
      : await composing.x509Svid(wanted.dnsNames, { purpose: "workload", spiffeId, publicKey });
  const ttl = allowedTtl(
    decideX509Svid(
      {
        ...wanted,
        dnsNames: content.dnsNames,
        trustDomain,
        ...keyFactsOf(csr.spki, csr.keyType, wanted),
        now: unixSeconds(clock),
        authorityNotAfter: signing.x509AuthorityNotAfter(),
      },
      policy,
    ),
  );
  return signing.signX509Svid(signing.prepareX509Svid({ spiffeId, publicKey, ...content, ttl }), call);
}

const X509 = { events: { issued: "svid.x509.issued", refused: "svid.denied" }, facts: issuedFacts } as const;
