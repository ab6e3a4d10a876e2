import { standard } from "./document.ts";

/** SPIFFE Trust Domain and Bundle. */
export const trustDomainAndBundle = standard(
  "TB",
  "SPIFFE_Trust_Domain_and_Bundle.md",
  `
01 | def | consumer | 3 | a bundle is kept together with its trust domain's name
02 | def | validator | 3 | an SVID is validated with the bundle of its own trust domain and no other
03 | def | publisher | 4 | a bundle is a JWK Set
04 | MAY | publisher | 4.1 | there may be members at the top that no standard defines
05 | MUST NOT | consumer | 4.1 | such members are never asked for
06 | SHOULD | publisher | 4.1.1 | there is a spiffe_sequence
07 | MUST | publisher | 4.1.1 | the sequence is an integer that only grows
08 | MUST | publisher | 4.1.1 | whenever the content changes, so does the sequence
09 | REC | consumer | 4.1.1 | a sequence is read with 64 bits at least
10 | SHOULD | publisher | 4.1.2 | there is a spiffe_refresh_hint
11 | MUST | publisher | 4.1.2 | the hint is a whole number of seconds
12 | MUST | publisher, consumer | 4.1.3 | there is an array of keys
13 | MUST | consumer | 4.1.3 | a key of an unknown type or use is passed over, the others stay
14 | def | publisher | 4.1.3 | no keys means that all former ones are revoked
15 | MUST | consumer, validator | 4.1.3 | with a bundle that has no usable key, no SVID of the trust domain is trusted
16 | MUST | spec authors | 4.2 | every kind of SVID defines its value of use
17 | MAY | spec authors | 4.2 | kinds of SVID may add rules for their JWKs
18 | SHOULD NOT | publisher | 4.2 | a JWK has no members that neither standard defines
19 | MUST | publisher | 4.2.1 | every JWK has a kty
20 | MUST | consumer | 4.2.1 | an entry of an unknown kty is passed over
21 | MUST | publisher | 4.2.2 | every JWK has a use, in its exact spelling
22 | MUST | consumer | 4.2.2 | an entry without a use, or of an unknown one, is passed over
23 | MUST | map publisher | 5.1.1 | a bundle map has the member trust_domains
24 | MAY | map publisher | 5.1.1 | the map may be empty; its bundles stand under bare trust domain names
25 | MUST | map publisher | 5.1.1 | no trust domain's name comes twice
26 | MUST | map consumer | 5.1.1, 6.3 | a map with a name that comes twice is refused
27 | SHOULD | map publisher | 5.1.1 | the bundles in a map have no refresh hint of their own
28 | MUST NOT | map consumer | 5.1.1 | a hint inside a bundle does not change how often the map is fetched
29 | REC | map consumer | App. B.1 | a map is taken as a whole and at once, and a bundle's age is told by its sequence
30 | REC | consumer | 6.1 | without a hint, five minutes or less pass between two fetches
31 | REC | operator | 2, 6.2 | a key serves one trust domain only
`,
);
