import { standard } from "./document.ts";

/** SPIFFE Broker API. */
export const brokerApi = standard(
  "BA",
  "SPIFFE_Broker_API.md",
  `
01 | MUST | broker-ep | 1 | the X.509 and the JWT profile are both there
02 | MAY | operator | 1 | an administrator may switch a profile off
03 | MUST NOT | broker-ep | 2 | no call is added or changed
04 | MAY | broker-ep | 2, 3.1.4 | there may be reference types of one's own
05 | MUST | broker-ep | 2 | everything else that is new is a service of its own
06 | MUST | broker, broker-ep | 3.1 | references keep the next four lines
07 | MUST | broker, broker-ep | 3.1 | a reference means one thing at a time within its scope
08 | MUST NOT | broker | 3.1 | a reference that is local to a host stays on it
09 | MUST NOT | broker | 3.1 | a reference to an object stays within its control plane
10 | MUST | broker-ep | 3.1 | the server can see whether what is meant exists
11 | MUST | broker | 3.1.1 | a request has a reference
12 | MUST | broker-ep | 3.1.1 | a missing reference, or one of an unknown type, is refused
13 | MUST | broker-ep | 3.1.1 | the server resolves the reference itself
14 | MUST | broker-ep | 3.1.1 | it checks that the workload exists
15 | MUST NOT | broker-ep | 3.1.1 | what the client says is not believed unseen
16 | SHOULD | broker-ep | 3.1.1 | of a process the server gathers the facts itself
17 | MUST | broker | 3.1.2 | local references are not sent to remote servers
18 | MUST | operator | 3.1.2 | a server that takes local references is not reached from other nodes
19 | MUST | broker, broker-ep | 3.1.3 | a pid is a positive 32-bit integer
20 | MUST | broker | proto | in a sandbox the pid is the workload's, not that of its pause process
21 | MUST | broker | 3.1.3 | a Kubernetes reference names plural and group of the type
22 | MUST | broker | 3.1.3 | the core group is written "core"
23 | MUST | broker | 3.1.3 | an object of a namespaced kind is given with its namespace
24 | MUST | broker | 3.1.3 | one of a cluster-wide kind without
25 | MUST | broker | 3.1.3 | there is a key with a name, a uid, or both
26 | MUST | broker-ep | 3.1.3 | with both, the object of that key must have that uid when the SVID is issued
27 | MUST | broker-ep | 3.1.3 | and if it has not, that is an error
28 | SHOULD | broker-ep | 3.1.4 | own reference types are documented by their full names
29 | MUST | broker-ep | 3.1.4 | an unknown reference type is InvalidArgument
30 | MUST | broker-ep | 4.1 | who may call is a strict list
31 | MAY | broker-ep | 4.1 | policy may be finer, and brokers may be remote over TCP
32 | MUST NOT | broker | 4.2 | one workload's answers are not used for another
33 | MUST | broker | 4.2 | what two workloads use as clients and servers is kept apart
34 | SHOULD | broker | 4.3 | a broker keeps its connection open
35 | SHOULD | broker | 4.3 | a broker whose stream ended connects again at once
36 | MUST | broker-ep | 4.4 | every message is the complete state, of that one workload
37 | SHOULD | broker-ep | 4.4 | a message comes because its content has changed
38 | MUST | broker-ep | 4.4 | a request is itself a reason for a message
39 | MUST | broker-ep | 4.4 | the first message comes as soon as it can
40 | SHOULD | broker | 4.4 | updates to many workloads are spread over time
41 | MUST | broker, broker-ep | 4.5 | empty fields mean what the Workload API says
42 | SHOULD | broker-ep | 4.6 | a mandatory field left empty in a request is InvalidArgument
43 | SHOULD | broker | 4.6 | a mandatory field left empty in an answer spoils the message
44 | MUST | broker | 4.7 | federated bundles are used as the Workload API says
45 | MUST | broker | 4.7 | bundles are used for the workload that was meant only
46 | MUST | broker-ep | 4.8 | the reference is validated before anything is done about an identity
47 | MUST | broker-ep | 4.8 | malformed is InvalidArgument, not found is NotFound, not entitled is PermissionDenied, each with its reason
48 | SHOULD | broker-ep | 4.8 | the reason is an ErrorInfo of the domain spiffe.io
49 | MAY | broker | 4.8 | a broker may read it
50 | MUST | broker | 4.8 | a broker gets by with the status code
51 | MUST | broker, broker-ep | 4.9 | nothing is done for a workload that has ended
52 | MUST | broker-ep | 4.9 | the server stops sending once the workload has ended
53 | MUST | broker | 4.9 | the broker forgets the workload's data, on disk too
54 | MUST | broker | 5.2.1 | SVIDs and bundles are for the workload that was meant only
55 | MUST NOT | broker | 5.2.1 | and for no other purpose
56 | MUST | broker-ep | 5.2.1 | an answer has one X509-SVID or more, each complete
57 | MUST | broker-ep | proto | certificates are DER, the leaf first
58 | MUST | broker-ep | proto | the key is unencrypted PKCS#8
59 | MUST | broker-ep | 5.2.1 | no hint comes twice in an answer
60 | SHOULD | broker | 5.2.1 | of two with the same hint the first is taken
61 | MUST | broker-ep | 5.2.1 | for X509-SVIDs, errors have the codes of line 47
62 | MAY | broker | 5.2.1 | which may be tried again after a while
63 | SHOULD | broker | 5.2.1 | SVIDs that were withdrawn are not used any more, for this workload
64 | MUST | broker | 5.2.2 | X.509 bundles are for X509-SVIDs only
65 | MUST | broker | 5.2.2 | and for the workload that was meant
66 | MUST NOT | broker | 5.2.2 | and for no other
67 | MUST | broker-ep | 5.2.2 | the own trust domain's bundle is among the X.509 bundles
68 | MUST | broker-ep | 5.2.2 | for X.509 bundles, errors have the codes of line 47
69 | MAY | broker | 5.2.2 | which may be tried again after a while
70 | SHOULD | broker | 5.2.2 | bundles that were withdrawn are not used any more
71 | MUST NOT | broker | 5.2.2 | one workload's PermissionDenied takes nothing from another
72 | MUST | broker | 5.3 | several identities are passed on with their hints
73 | MUST | client | 5.3 | whoever receives them can tell them apart by the hints
74 | MUST | broker | 6.2.1 | the request names the audiences that the token is for
75 | MUST | broker-ep | 6.2.1 | without an ID in the request there is a JWT-SVID for each identity
76 | MUST | broker-ep | 6.2.1 | an answer has one JWT-SVID or more
77 | MUST | broker-ep | 6.2.1 | no hint comes twice in an answer
78 | SHOULD | broker | 6.2.1 | of two with the same hint the first is taken
79 | MUST | broker-ep | 6.2.1 | for JWT-SVIDs, errors have the codes of line 47
80 | MAY | broker | 6.2.1 | which may be tried again after a while
81 | MUST | broker | 6.2.2 | JWT bundles are for JWT-SVIDs only
82 | MUST | broker | 6.2.2 | and for the workload that was meant
83 | MUST NOT | broker | 6.2.2 | and for no other
84 | MUST | broker-ep | 6.2.2 | the own trust domain's bundle is among the JWT bundles
85 | MUST NOT | broker-ep | 6.2.2 | keys of other uses are not in it
86 | MUST | broker-ep | 6.2.2 | for JWT bundles, errors have the codes of line 47
87 | MAY | broker | 6.2.2 | which may be tried again after a while
88 | SHOULD | broker | 6.2.2 | bundles that were withdrawn are not used any more
89 | MUST NOT | broker | 6.2.2 | one workload's PermissionDenied takes nothing from another
`,
  { incubating: true },
);
