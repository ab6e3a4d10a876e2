import { standard } from "./document.ts";

/** JWT-SVID. */
export const jwtSvid = standard(
  "JS",
  "JWT-SVID.md",
  `
01 | MUST NOT | issuer, validator | 1 | the JSON serialisation of JWS is never used
02 | MUST NOT | issuer | 2 | the header has no members but alg, kid and typ
03 | MUST | issuer | 2.1 | alg is one of RS, ES and PS with 256, 384 or 512
04 | MUST | validator | 2.1 | every other alg is refused
05 | MAY | issuer | 2.2 | the header may have a kid
06 | MUST | issuer, validator | 2.3 | a typ, where there is one, is JWT or JOSE
07 | MAY | issuer | 3 | there may be further claims, registered or private
08 | MUST | issuer | 3.1 | sub is the workload's SPIFFE ID
09 | MUST | issuer | 3.2 | aud is there, with one value or more
10 | MUST | validator | 3.2 | a token without aud is refused
11 | MUST | validator | 3.2 | a token that does not name the validator's audience is refused
12 | REC | issuer, client | 3.2, 7.2 | a token is best made for one audience
13 | SHOULD | operator | 3.2 | an audience value means the receiving service only
14 | MUST | issuer | 3.3 | exp is there
15 | MUST | validator | 3.3 | a token without exp is refused
16 | MUST | validator | 4 | alg is checked before anything else is looked at
17 | MUST | issuer, validator | 4 | aud and exp are there and mean what RFC 7519 says
18 | MUST | validator | 4 | missing aud or exp refuses the token, said again
19 | MUST | issuer | 5.1 | tokens are in compact serialisation
20 | SHOULD | client | 5.2 | over HTTP a token travels as "Authorization: Bearer"
21 | SHOULD | client | 5.3 | over gRPC a token travels as metadata "authorization" with "Bearer"
22 | def | publisher | 6.1 | a bundle has one JWK for each key that signs tokens
23 | MUST | publisher | 6.1 | such a JWK is for the use "jwt-svid"
24 | MUST | publisher | 6.1 | such a JWK has a kid
25 | MUST | consumer | 6.2 | tokens are validated with the keys for JWT-SVIDs only
26 | def | consumer | 6.2 | keys are told apart by use, and a bundle with none for JWT supports no JWT-SVIDs
27 | def | validator | App. A | a little leeway at expiry is allowed, minutes are not
28 | REC | issuer | 3.3, 7.1 | tokens live for a short time; nobody has to remember their jti
29 | REC | operator | 7.3 | every hop that a token takes is confidential
`,
);
