import { standard } from "./document.ts";

/** WIT-SVID. */
export const witSvid = standard(
  "WS",
  "WIT-SVID.md",
  `
01 | MUST | issuer | 2.1 | the header has a kid
02 | MUST | validator | 2.1 | a kid is opaque, and its letters' case matters
03 | MUST | issuer | 2.1 | each key pair that signs has a kid of its own
04 | MUST | issuer, validator | 2.2 | the header has a typ
05 | MUST | issuer, validator | 2.2 | typ is exactly "wit+jwt"
06 | MUST | issuer | 2.3, 4 | alg is there and one of the nine that JWT-SVIDs may have
07 | MUST | validator | 2.3 | every other alg is refused
08 | SHOULD NOT | issuer | 2.4 | the header has no further members
09 | SHOULD | validator | 2.4 | header members that are not known are passed over, unless crit names them
10 | MUST | issuer | 3.1, 4 | sub is there
11 | MUST | issuer | 3.1 | sub is the workload's SPIFFE ID
12 | MUST | issuer | 3.2, 4 | cnf is there
13 | MUST | validator | 3.2 | a token without cnf is refused
14 | MUST | issuer | 3.2 | cnf holds the workload's public key as a jwk
15 | MUST | issuer | 3.2, 4 | the key in cnf names an alg, one of the nine
16 | MAY | issuer | 3.3, 4 | there may be a jti
17 | MUST | issuer | 3.3 | a jti, where there is one, does not come twice by any chance that counts
18 | MAY | issuer | 3.3 | two instances on one node may get the same token
19 | MUST NOT | validator | 3.3 | a jti does not keep a token from being presented again
20 | MUST | issuer | 3.4, 4 | exp is there
21 | MUST | validator | 3.4 | a token without exp is refused
22 | MUST | validator | 3.4 | a token past its exp is refused
23 | MAY | validator | 3.4 | there may be a leeway of at most about two minutes
24 | MAY | issuer | 3.5, 4 | there may be an nbf
25 | MUST | validator | 3.5 | a token before its nbf is refused
26 | MAY | validator | 3.5 | a validator may bound the time between nbf and exp
27 | MAY | issuer | 3.6, 4 | there may be an iat
28 | MUST NOT | validator | 3.6 | iat does not say from when on a token is valid
29 | MAY | issuer | 3.7 | there may be an iss
30 | SHOULD NOT | issuer | 3.7 | an iss leads to no OIDC discovery document
31 | MUST NOT | issuer | 3.8 | there is no aud
32 | SHOULD | validator | 3.8 | claims that are not known are passed over
33 | MUST | issuer | 4 | alg, typ and kid are set, said again
34 | MUST | issuer | 4 | sub, exp and cnf are set, said again
35 | MAY | issuer | 4 | instances of one workload on one host may share a token or its key
36 | MUST NOT | validator | 4, 7.1 | a token is worth nothing without a proof that its bearer has the key
37 | MUST | client, validator | 5 | every protocol that presents tokens keeps the next three lines
38 | MUST | client | 5, 7.1 | a presentation is bound to a proof made with the key in cnf
39 | MUST NOT | client | 5, 7.1 | a token is never presented alone
40 | MUST NOT | client | 5, 7.1 | a token never travels in the Authorization header
41 | SHOULD | client | 5 | presentations use a protocol of WIMSE
42 | MAY | client | 5 | another protocol will do if it keeps these lines
43 | def | publisher | 6.1 | a bundle has one JWK for each key that signs tokens
44 | MUST | publisher | 6.1 | such a JWK is for the use "wit-svid"
45 | MUST | publisher | 6.1 | such a JWK has a kid that no other key of the whole bundle has
46 | MUST | consumer | 6.2 | tokens are validated with the keys for WIT-SVIDs only
47 | MUST | consumer | 6.2 | keys are told apart by use, and a bundle with none for WIT supports no WIT-SVIDs
48 | MUST | client | 7.2 | a proof of possession is good for a bounded time
49 | SHOULD | client | 7.2 | that time is as short as is of use
50 | MAY | validator | 7.2 | a validator may accept each proof once
51 | MUST | client | 7.3 | token and proof travel over a secure channel
`,
  { incubating: true },
);
