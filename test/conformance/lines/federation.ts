import { standard } from "./document.ts";

/** SPIFFE Federation. */
export const federation = standard(
  "FE",
  "SPIFFE_Federation.md",
  `
01 | def | bserver | 4 | a bundle endpoint answers GET of an https URL with a SPIFFE bundle
02 | MAY | operator | 4.1 | keys come and go as they are needed
03 | SHOULD | issuer | 4.1 | a key is published early, three to five refresh hints before its first use
04 | MUST | issuer | 4.1 | a key is in the bundle that is served before any SVID is signed with it
05 | SHOULD | issuer | 4.1 | a key goes when no living SVID needs it any more, and not before
06 | SHOULD | bclient | 4.1, 6.2 | bundles are fetched again and again
07 | SHOULD | bclient | 4.1 | the hint says how often, and where there is none, every five minutes
08 | SHOULD | bclient | 4.2 | a bundle that was fetched is stored
09 | SHOULD | bclient | 4.2 | the sequence says which bundle is newer
10 | SHOULD | bclient | 4.2 | without sequences, what was fetched last is newer
11 | MAY | operator | 4.2 | a foreign bundle may be set by hand, until the next fetch
12 | MUST NOT | bclient | 4.2 | bundles of different trust domains are never put together
13 | MUST | bclient | 5 | both profiles are supported, https_web and https_spiffe
14 | MUST | bserver | 5 | at least one of the profiles is supported
15 | MUST | bserver | 5 | TLS is as Mozilla's intermediate profile has it
16 | MUST | bclient | 5.1, 5.2.x.4, 7.2 | URL, profile and trust domain are configured; none is guessed from another
17 | MAY | profile | 5.1 | a profile may ask for more parameters
18 | MUST | control plane | 5.1 | workloads learn which bundle belongs to which trust domain
19 | MUST | bclient, operator | 5.2.1.1 | a URL of https_web begins with https
20 | MUST NOT | bclient, operator | 5.2.1.1 | a URL of https_web has no user information
21 | MUST NOT | bclient | 5.2.1.2 | https_web needs no fourth parameter
22 | SHOULD | bserver | 5.2.1.3 | the endpoint's certificate comes from a public CA
23 | MUST | bserver | 5.2.1.3 | the certificate names the endpoint's host
24 | MUST NOT | bserver | 5.2.1.3 | clients of https_web need not say who they are
25 | MUST | bserver | 5.2.1.3 | a GET is answered with the newest bundle
26 | MUST | bserver | 5.2.1.3 | the answer is UTF-8
27 | SHOULD | bserver | 5.2.1.3 | the answer is declared as application/json
28 | MAY | bserver | 5.2.1.3, .4 | the endpoint may redirect
29 | MUST | bserver | 5.2.1.3 | a redirect leads to a URL that could be an endpoint's
30 | SHOULD | bserver | 5.2.1.3 | a redirect is a temporary one
31 | MUST | bclient | 5.2.1.4 | the server's certificate is validated as RFC 6125 says
32 | MUST | bclient | 5.2.1.4 | a CA that is trusted here has issued it
33 | MUST | bclient | 5.2.1.4 | it names the host of the URL
34 | MUST | bclient | 5.2.1.4 | the trust domain is known before its bundle is fetched
35 | SHOULD | bclient | 5.2.1.4 | a redirect to a valid URL is followed
36 | MUST | bclient | 5.2.1.4 | the target of a redirect is validated in the same way
37 | SHOULD | bclient | 5.2.1.4, 7.5.1 | every fetch begins at the configured URL
38 | SHOULD NOT | bclient | 5.2.1.4 | where a redirect led is not remembered
39 | MUST | bclient, operator | 5.2.2.1 | a URL of https_spiffe begins with https
40 | MUST NOT | bclient, operator | 5.2.2.1 | a URL of https_spiffe has no user information
41 | MUST | bclient | 5.2.2.2 | the endpoint's SPIFFE ID is configured, and its trust domain's bundle is had safely
42 | MUST | bclient | 5.2.2.2 | an endpoint that serves its own trust domain can be bootstrapped with a SPIFFE bundle
43 | MAY | bclient | 5.2.2.2 | the first bundle may come in other forms, too
44 | MUST | bclient | 5.2.2.2 | for an endpoint of another trust domain, that one's bundle is configured apart
45 | MAY | bclient | 5.2.2.2 | that bundle may come by any profile or out of band
46 | MUST | bserver | 5.2.2.3 | the server shows a valid X509-SVID
47 | MUST NOT | bserver | 5.2.2.3 | clients of https_spiffe need not say who they are
48 | MUST | bserver | 5.2.2.3 | a GET is answered with the newest bundle
49 | MUST | bserver | 5.2.2.3 | the answer is UTF-8
50 | SHOULD | bserver | 5.2.2.3 | the answer is declared as application/json
51 | MAY | bserver | 5.2.2.3, .4 | the endpoint may redirect
52 | MUST | bserver | 5.2.2.3 | a redirect leads to a URL that could be an endpoint's
53 | def | bserver | 5.2.2.3 | the target shows an X509-SVID with the same SPIFFE ID
54 | SHOULD | bserver | 5.2.2.3 | a redirect is a temporary one
55 | MUST | bclient | 5.2.2.4 | the server's certificate must be an X509-SVID of exactly the configured SPIFFE ID
56 | MUST | bclient | 5.2.2.4 | a later connection is validated with the newest stored bundle
57 | def | bclient | 5.2.2.4 | for an endpoint of another trust domain, that is the newest bundle of that one
58 | MUST | bclient | 5.2.2.4 | the trust domain is known before its bundle is fetched
59 | SHOULD | bclient | 5.2.2.4 | a redirect to a valid URL is followed
60 | MUST | bclient | 5.2.2.4 | the target's TLS is as the endpoint's would have to be
61 | MUST | bclient | 5.2.2.4 | the target must show the SPIFFE ID that was configured
62 | SHOULD | bclient | 5.2.2.4 | every fetch begins at the configured URL
63 | SHOULD NOT | bclient | 5.2.2.4 | where a redirect led is not stored
64 | SHOULD | bclient | 6.2 | after a failure the next try waits for its time
65 | def | control plane | 6.3 | the end of a federation: the bundle goes, fetching stops, validators hear of it
66 | REC | bclient | 7.5.1 | redirects can be switched off
67 | REC | bclient | 7.6 | every fetch leaves a line in the log
68 | REC | bserver | 4.3 | the URL does not change
`,
);
