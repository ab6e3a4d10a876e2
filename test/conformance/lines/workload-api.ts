import { standard } from "./document.ts";

/** SPIFFE Workload API. */
export const workloadApi = standard(
  "WA",
  "SPIFFE_Workload_API.md",
  `
01 | MUST | endpoint | 1 | the X.509 and the JWT profile are both there
02 | MAY | operator | 1 | an administrator may switch a profile off
03 | MAY | endpoint | 1 | the WIT profile may be there
04 | MUST NOT | endpoint | 2 | nothing is added to the API
05 | def | endpoint | 3 | the service is what the protocol file says
06 | def | endpoint | 4.1 | each caller is told apart, and many are served at once
07 | SHOULD | client | 4.2 | a client keeps its stream open
08 | SHOULD | client | 4.2 | a client whose stream ended connects again at once
09 | MUST | endpoint | 4.3, 4.4 | every message of a stream is the complete state
10 | SHOULD | endpoint | 4.3 | a message comes because its content has changed
11 | MUST | endpoint | 4.3 | a request is itself a reason for a message
12 | MUST | endpoint | 4.3 | the first message of a stream comes as soon as it can
13 | def | endpoint | 4.3 | updates for many may be spread over time
14 | MUST | client | 4.4 | an empty field replaces what was there before
15 | MUST NOT | client | 4.4 | what a message leaves out is not kept
16 | SHOULD | client | 4.4 | what a message leaves out is withdrawn
17 | SHOULD | client | 4.4 | a bundle that a message leaves out is unloaded
18 | SHOULD | endpoint | 4.5 | a mandatory field left empty in a request is InvalidArgument
19 | SHOULD | client | 4.5 | a mandatory field left empty in an answer spoils the message
20 | def | validator | 4.6 | a peer's trust domain picks the bundle; without one it is not trusted
21 | MUST | client | 5.2.1 | bundles that come with X509-SVIDs are for X509-SVIDs only
22 | MUST | endpoint | 5.2.1 | an answer has one X509-SVID or more
23 | def | endpoint | 5.2.1 | ID, certificates, key and bundle of each are there
24 | MUST | endpoint | proto | certificates are DER one after the other, the leaf first
25 | MUST | endpoint | proto | the key is unencrypted PKCS#8 and the leaf's
26 | def | endpoint | proto | bundles are DER one after the other, revocation lists a list of DER
27 | def | endpoint | proto | federated bundles stand under their trust domains' IDs, the own one is not among them
28 | MUST | endpoint | 5.2.1 | no hint comes twice in an answer
29 | SHOULD | client | 5.2.1 | of two with the same hint the first is taken
30 | SHOULD | endpoint | 5.2.1 | no X509-SVID for the caller is PermissionDenied
31 | MAY | client | 5.2.1 | which may be tried again after a while
32 | SHOULD | client | 5.2.1 | SVIDs that were withdrawn are not used any more
33 | MUST | client | 5.2.2 | X.509 bundles are for X509-SVIDs only
34 | MUST | endpoint | 5.2.2 | the own trust domain's bundle is among the X.509 bundles
35 | SHOULD | endpoint | 5.2.2 | a caller who may not have X.509 bundles is answered PermissionDenied
36 | MAY | client | 5.2.2 | which may be tried again after a while
37 | SHOULD | client | 5.2.2 | bundles that were withdrawn are not used any more
38 | MUST | client | 6.2.1 | the request names the audiences that the token is for
39 | MUST | endpoint | 6.2.1 | without an ID in the request there is a JWT-SVID for each identity
40 | def | endpoint | 6.2.1 | with one, there is that JWT-SVID only
41 | MUST | endpoint | 6.2.1 | an answer has one JWT-SVID or more
42 | def | endpoint | 6.2.1 | ID and token of each are there
43 | MUST | endpoint | 6.2.1 | no hint comes twice in an answer
44 | SHOULD | client | 6.2.1 | of two with the same hint the first is taken
45 | SHOULD | endpoint | 6.2.1 | no such identity is PermissionDenied, whether or not there is one of that name
46 | MUST | client | 6.2.2 | JWT bundles are for JWT-SVIDs only
47 | MUST | endpoint | 6.2.2 | the own trust domain's bundle is among the JWT bundles
48 | def | endpoint | 6.2.2 | each is a JWK Set under its trust domain's ID
49 | MUST NOT | endpoint | 6.2.2 | keys of other uses are not in it
50 | SHOULD | endpoint | 6.2.2 | a caller who may not have JWT bundles is answered PermissionDenied
51 | MAY | client | 6.2.2 | which may be tried again after a while
52 | SHOULD | client | 6.2.2 | bundles that were withdrawn are not used any more
53 | MUST | endpoint | 6.2.3 | a token given for validation is read and validated by the rules of JWT-SVIDs
54 | SHOULD | endpoint | 6.2.3 | the answer tells the claims, sub, aud and exp among them
55 | MAY | endpoint | 6.2.3 | claims that are not SPIFFE's may be left out
56 | def | endpoint, client | 6.2.3 | audience, token, ID and claims are all mandatory
57 | SHOULD | client | 6.3 | a client that can has its tokens validated so
58 | MUST | endpoint, validator | 6.3 | a token is validated with the bundle of its subject's trust domain
59 | def | endpoint, validator | 6.3 | without one it is not trusted
60 | def | endpoint | 8 | the first SVID is the default identity, and the order stays
61 | SHOULD NOT | endpoint | 8 | a hint is not longer than 1024 bytes
62 | MUST | endpoint | 7 | without the WIT profile both its calls are Unimplemented
63 | SHOULD NOT | client | 7 | which is not tried again
64 | MUST | endpoint | 7.2.1 | without an ID in the request there is a WIT-SVID for each identity
65 | MUST | endpoint | 7.2.1 | an answer has one WIT-SVID or more
66 | def | endpoint | 7.2.1 | ID, token and key of each are there, and the key is the one in cnf
67 | MUST | endpoint | 7.2.1 | no hint comes twice in an answer
68 | SHOULD | client | 7.2.1 | of two with the same hint the first is taken
69 | SHOULD | endpoint | 7.2.1 | no WIT-SVID for the caller is PermissionDenied
70 | MAY | client | 7.2.1 | which may be tried again after a while
71 | SHOULD | client | 7.2.1 | SVIDs that were withdrawn are not used any more
72 | MUST | client | 7.2.2 | WIT bundles are for WIT-SVIDs only
73 | MUST | endpoint | 7.2.2 | the own trust domain's bundle is among the WIT bundles
74 | MUST | endpoint | 7.2.2, proto | each is a JWK Set in which every key has a kid of its own
75 | SHOULD | endpoint | 7.2.2 | a caller who may not have WIT bundles is answered PermissionDenied
76 | MAY | client | 7.2.2 | which may be tried again after a while
77 | SHOULD | client | 7.2.2 | bundles that were withdrawn are not used any more
`,
);
