/** Every event that the audit log knows, with what it means. Names are stable. */
export const AUDIT_EVENTS = {
  "svid.x509.issued": "The server signed an X509-SVID",
  "svid.jwt.issued": "The server signed a JWT-SVID",
  "svid.x509.delivered": "The agent handed X509-SVIDs to a workload",
  "svid.jwt.delivered": "The agent handed a JWT-SVID to a workload",
  "svid.denied": "An SVID was asked for and not given",
  "bundle.delivered": "The agent handed SPIFFE bundles to a workload",
  "node.attested": "An agent proved its node and got its SVID",
  "node.renewed": "An agent renewed its SVID",
  "node.denied": "An agent could not prove its node, or may not renew",
  "node.evicted": "An agent was evicted; it may attest again",
  "node.banned": "An agent was banned",
  "node.purged": "Expired agents were removed",
  "entry.created": "A registration entry was created",
  "entry.updated": "A registration entry was changed",
  "entry.deleted": "A registration entry was deleted",
  "bundle.changed": "A SPIFFE bundle was set or changed",
  "bundle.deleted": "A SPIFFE bundle was deleted",
  "crl.changed": "A revocation list was set or changed",
  "crl.deleted": "A revocation list was deleted",
  "authority.prepared": "An authority was made and published",
  "authority.activated": "An authority began to sign",
  "authority.tainted": "An authority was marked as not to be trusted any longer",
  "authority.revoked": "An authority was removed from the bundle",
  "token.created": "A join token was made",
  "log.level_changed": "The log level was changed",
  "api.denied": "A caller was refused an API method",
  "audit.recovered": "The log was found damaged when it was opened; the reasons say what was done",
} as const satisfies Readonly<Record<string, string>>;

/** The name of an event. */
export type AuditEvent = keyof typeof AUDIT_EVENTS;
