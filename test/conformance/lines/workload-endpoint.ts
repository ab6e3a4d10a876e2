import { standard } from "./document.ts";

/** SPIFFE Workload Endpoint. */
export const workloadEndpoint = standard(
  "WE",
  "SPIFFE_Workload_Endpoint.md",
  `
01 | SHOULD | endpoint | 2 | the endpoint is local
02 | SHOULD NOT | operator | 2 | one instance does not serve several hosts
03 | MUST | endpoint | 3 | it speaks gRPC
04 | MUST | client | 3 | clients speak gRPC
05 | SHOULD | endpoint | 3 | a Unix socket is preferred
06 | MUST NOT | endpoint | 3 | no TCP, unless the network itself says for certain who calls
07 | MUST | client | 3 | every request carries the metadata "workload.spiffe.io: true"
08 | MUST | endpoint | 3, 6 | a request without it is refused
09 | MUST | endpoint | 6 | the refusal is InvalidArgument, before anything is looked up or sent
10 | SHOULD NOT | client | 6 | InvalidArgument is not tried again
11 | MUST NOT | endpoint | 3.1 | TLS is not asked for
12 | MUST | client | 4 | without a configured address, SPIFFE_ENDPOINT_SOCKET is used
13 | MUST | operator, client | 4 | an address has the scheme unix or tcp
14 | MUST NOT | operator, client | 4 | a unix address has no authority
15 | MUST | operator, client | 4 | a unix address has an absolute path and nothing else
16 | MUST | operator, client | 4 | the host of a tcp address is an IP address
17 | MUST | operator, client | 4 | a tcp address has a port and nothing after it
18 | MUST NOT | endpoint | 5 | a caller needs no credential
19 | SHOULD | endpoint | 5 | who calls is found out by other means, such as the kernel's
20 | MUST NOT | endpoint | 5 | the workload need do nothing for that
21 | def | endpoint | 6 | not ready or overloaded is Unavailable
22 | MAY | client | 6 | Unavailable may be tried again, ever more slowly
23 | SHOULD | endpoint | 6 | a caller without an identity is answered PermissionDenied
24 | MAY | client | 6 | PermissionDenied may be tried again, ever more slowly
25 | def | endpoint | App. A | what is not implemented is answered Unimplemented
26 | def | endpoint | 7 | what is new is a service of its own
27 | MUST NOT | endpoint | 7 | the services that there are have nothing added
28 | MUST | endpoint | 7 | the Workload API is served
29 | SHOULD | endpoint | 7 | the server tells its services by reflection
30 | SHOULD | client | 7 | where it does not, a client relies on the Workload API only
`,
);
