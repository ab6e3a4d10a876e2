import { standard } from "./document.ts";

/** X509-SVID. */
export const x509Svid = standard(
  "XS",
  "X509-SVID.md",
  `
01 | MUST | issuer | 2 | the subject alternative names hold exactly one URI
02 | MUST | validator | 2, 5.2 | a certificate with a second URI name is refused, whatever its scheme
03 | MAY | issuer | 2 | names of other types may stand beside the URI
04 | MUST | issuer | 3.1 | a leaf's ID has a path
05 | MUST | issuer | 3.1 | the names are critical where the subject is empty
06 | def | validator | 3.1 | only a leaf says who a peer is
07 | SHOULD | issuer | 3.2 | a CA certificate is an SVID itself
08 | MUST NOT | issuer | 3.2 | a CA's SPIFFE ID has no path
09 | SHOULD | issuer | 3.2 | a CA's SPIFFE ID is of the trust domain that it signs for
10 | MAY | issuer | 3.2 | a CA may sign further CAs
11 | MUST NOT | client, validator | 3.2 | a CA certificate is no proof of who a peer is
12 | MAY | issuer | 4.1 | a CA may bound the length of paths below it
13 | MUST | issuer | 4.1, 3.2 | a CA certificate says cA
14 | MUST | issuer | 4.1 | a leaf says that it is no CA
15 | MUST | issuer, validator | 4.2 | URI name constraints of a CA hold for every ID below it
16 | MAY | issuer | 4.2 | a CA may carry URI name constraints
17 | MUST | issuer | 4.3 | every SVID has a key usage
18 | MUST | issuer | 4.3 | the key usage is critical
19 | MUST | issuer | 4.3 | a CA may sign certificates (keyCertSign)
20 | MAY | issuer | 4.3 | a CA may sign revocation lists (cRLSign)
21 | MUST | issuer | 4.3 | a leaf may make signatures (digitalSignature)
22 | MAY | issuer | 4.3 | a leaf may have keyEncipherment and keyAgreement
23 | MUST NOT | issuer | 4.3 | a leaf lacks keyCertSign
24 | MUST NOT | issuer | 4.3 | a leaf lacks cRLSign
25 | SHOULD | issuer | 4.4 | a leaf has an extended key usage
26 | MAY | issuer | 4.4 | the extended key usage may be critical
27 | MUST | issuer | 4.4 | an extended key usage names both serverAuth and clientAuth
28 | MAY | issuer | 4.4 | a CA may have an extended key usage
29 | MUST | validator | 5.1 | paths are validated as RFC 5280 says
30 | MUST | validator | 5.2 | a leaf that says cA is refused
31 | MUST | validator | 5.2 | a leaf with keyCertSign or cRLSign is refused
32 | MUST | validator | 5.2 | a URI of another scheme than "spiffe" is refused
33 | MUST | validator | 5.2 | a leaf whose ID has no path is refused
34 | def | publisher | 6.1 | a bundle has one JWK for each CA certificate, with that certificate's key
35 | MUST | publisher | 6.1 | such a JWK is for the use "x509-svid"
36 | MUST NOT | publisher | 6.1 | such a JWK has no kid
37 | MUST | publisher | 6.1 | x5c holds the certificate's DER in padded standard base64
38 | MUST | publisher | 6.1 | x5c holds one certificate and no more
39 | SHOULD | publisher | 6.1 | the certificate published is self-signed
40 | MUST | consumer | 6.2 | an entry for X.509 whose x5c is missing or empty is passed over
41 | MUST | consumer | 6.2 | of several certificates in x5c only the first counts
42 | def | consumer | 6.2 | a bundle without an entry for X.509 supports no X509-SVIDs
43 | def | issuer | App. A | signing certificates and signing data are usages of different certificates
`,
);
