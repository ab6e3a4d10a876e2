import { standard } from "./document.ts";

/** SPIFFE-ID. */
export const spiffeId = standard(
  "ID",
  "SPIFFE-ID.md",
  `
01 | MUST | issuer, parser | 2 | an ID begins with the scheme "spiffe"
02 | MUST | issuer, parser | 2, 2.1 | the trust domain name has at least one character
03 | MUST NOT | issuer, parser | 2 | neither query nor fragment, not even an empty one
04 | MUST | issuer, parser | 2.1 | no user information and no port
05 | MUST | issuer, parser | 2.1 | the trust domain is written in lower case
06 | MUST | issuer, parser | 2.1 | a trust domain consists of a-z, 0-9, dot, dash and underscore only
07 | MUST NOT | issuer, parser | 2.1 | nothing in the trust domain is percent-encoded
08 | MUST NOT | issuer, validator | 2.1 | a name that looks like an IP address or DNS name is treated as any other
09 | MUST NOT | issuer, parser | 2.2 | nothing in the path is percent-encoded
10 | MUST NOT | issuer, parser | 2.2 | no segment of the path is empty, "." or ".."
11 | MUST NOT | issuer, parser | 2.2 | no slash at the end, nor a lone one after the trust domain
12 | MUST | issuer, parser | 2.2 | a segment consists of letters, digits, dot, dash and underscore only
13 | MAY | operator | 2.2 | a path has as many levels as the operator likes
14 | MUST | all | 2.3 | IDs of up to 2048 bytes work everywhere
15 | SHOULD NOT | issuer | 2.3 | no ID is made longer than 2048 bytes
16 | def | issuer, parser | 2.3 | a trust domain has at most 255 bytes
17 | def | parser | 2.4 | IDs are read as RFC 3986 says, and paths that differ in case are different
18 | def | parser | 2.4 | letter case never makes a second scheme or trust domain out of one
19 | MUST | operator, issuer | 3.1 | a trust domain has an authority that signs for it
20 | MUST | issuer | 3.1 | the signing authority itself carries an SVID
21 | SHOULD | issuer | 3.1 | the authority's own ID lies in its trust domain
22 | SHOULD NOT | issuer | 3.1 | the authority's own ID has no path
23 | MUST | issuer, validator | 3.2 | the ID is among the bytes that are signed
24 | MUST | issuer, validator | 3.2 | a public key in an SVID is among the bytes that are signed
25 | MUST | issuer, validator | 3.3 | only X.509, JWT and WIT documents count as SVIDs
26 | def | validator | 3 | an SVID is valid only by an authority of its own trust domain
27 | def | issuer | 4.1.2 | an authority makes statements about its own trust domain only
`,
);
