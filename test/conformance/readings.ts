/** A place where the standards contradict each other or an established client, and how Assay reads it. */
export interface Reading {
  readonly id: string;
  /** Document and section of both sides. */
  readonly where: string;
  readonly conflict: string;
  /** What Assay does. */
  readonly reading: string;
}

/** Every contradiction of this revision. */
export const readings: readonly Reading[] = [
  {
    id: "C1",
    where: "Trust Domain and Bundle §4.2.2, WIT-SVID §6.1",
    conflict: 'the first knows the uses "x509-svid" and "jwt-svid" only, the second adds "wit-svid"',
    reading:
      "keys for WIT-SVIDs are published only where the WIT profile is switched on, because bundle clients such as SPIRE's refuse a whole bundle for a use they do not know; as a consumer Assay passes an unknown use over",
  },
  {
    id: "C2",
    where: "Trust Domain and Bundle App. A, SPIFFE-ID §2.2",
    conflict: "the example CA is named with a slash at the end, which an ID may not have",
    reading: "a CA is named without the slash, and a SPIFFE ID with one is refused everywhere",
  },
  {
    id: "C3",
    where: "Trust Domain and Bundle §5 and §6, §4.1.2",
    conflict: "the member is called refresh_hint in one place and spiffe_refresh_hint in the other",
    reading: "only spiffe_refresh_hint is written and read; the other name is a member that nobody defined",
  },
  {
    id: "C4",
    where: "SPIFFE-ID §2.1, §2.4",
    conflict: "a trust domain is written in lower case, and compared without regard to case",
    reading:
      "only lower case is written, and any other spelling is refused wherever an ID comes in: there is one spelling, so comparing bytes is comparing IDs",
  },
  {
    id: "C5",
    where: "Workload API §3, its protocol file",
    conflict: "the prose calls the service WorkloadAPI, the file SpiffeWorkloadAPI without a package",
    reading: "the protocol file: calls go to /SpiffeWorkloadAPI/",
  },
  {
    id: "C6",
    where: "JWT-SVID.schema, JWT-SVID §3.2 and RFC 7519",
    conflict: "the schema lets aud be a text only, the prose also a list",
    reading: "Assay writes a list, also of one, and accepts both forms",
  },
  {
    id: "C7",
    where: "Broker API §5.3, Workload API §8",
    conflict: "the first refers to a section 5.3 of the Workload API that is §8 now",
    reading: "§8 is meant: the order of the SVIDs and their hints",
  },
  {
    id: "C8",
    where: "Broker Endpoint §6",
    conflict: "after PermissionDenied a broker may try again by the text, and should not by the table",
    reading: "for brokers to decide; the server answers each attempt alike",
  },
  {
    id: "C9",
    where: "Workload Endpoint §3",
    conflict: "every request to the endpoint needs the header, which Envoy's secret discovery never sends",
    reading:
      "the header is asked for on the calls of the Workload API, first of all things; health, reflection and secret discovery on the same socket do without, and identify their callers in the same way",
  },
  {
    id: "C10",
    where: "Workload API, its protocol file",
    conflict:
      "values are bytes in the map of JWT bundles and text in that of WIT bundles; WIT answers have no crl",
    reading: "as the protocol file has it",
  },
  {
    id: "C11",
    where: "X509-SVID §4.4, App. A",
    conflict: "serverAuth and clientAuth must both be set where the extension is there, or may be",
    reading: "every leaf has the extension with both",
  },
  {
    id: "C12",
    where: "X509-SVID App. A, §4.3",
    conflict: "the appendix keeps digitalSignature for leaves, the text says nothing of it for CAs",
    reading:
      "authorities have keyCertSign and cRLSign and nothing else; foreign CAs are not refused for more",
  },
  {
    id: "C13",
    where: "WIT-SVID §2.4, App. B",
    conflict: "further headers should not be there, or are prohibited",
    reading:
      "the header is alg, kid and typ and nothing else; a validator passes others over unless crit names them",
  },
];
