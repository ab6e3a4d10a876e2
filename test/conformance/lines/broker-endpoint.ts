import { standard } from "./document.ts";

/** SPIFFE Broker Endpoint. */
export const brokerEndpoint = standard(
  "BE",
  "SPIFFE_Broker_Endpoint.md",
  `
01 | SHOULD | operator | 2 | brokers can reach the endpoint, workloads cannot
02 | MUST | broker-ep | 3 | it speaks gRPC
03 | MUST | broker | 3 | brokers speak gRPC
04 | MUST | broker | 3 | every request carries the metadata "broker.spiffe.io: true"
05 | MUST | broker-ep | 3, 6 | a request without it is refused
06 | MUST | broker-ep | 6 | the refusal is InvalidArgument
07 | SHOULD NOT | broker | 6 | InvalidArgument is not tried again
08 | def | broker-ep, broker | 3.1, 5 | both ends show X509-SVIDs over TLS, on a Unix socket as over TCP
09 | MUST | broker | 4 | without a configured address, SPIFFE_BROKER_SOCKET is used
10 | MUST | operator | 4 | an address has the scheme unix or tcp
11 | MUST NOT | operator | 4 | a unix address has no authority
12 | MUST | operator | 4 | a unix address has an absolute path and nothing else
13 | MUST | operator | 4 | the host of a tcp address is an IP address or a DNS name
14 | MUST | operator | 4 | a tcp address has a port and nothing after it
15 | REC | broker-ep | 5 | which SPIFFE IDs may call is configured
16 | def | broker | 5 | a broker insists on the server's SPIFFE ID
17 | def | broker-ep | 6 | not ready is Unavailable
18 | def | broker-ep | 6 | a client that cannot be told is Unauthenticated
19 | SHOULD NOT | broker | 6 | which is not tried again with the same certificate
20 | def | broker-ep | 6 | a client that is no authorised broker is PermissionDenied
21 | MUST | broker-ep | 7 | the Broker API is served
22 | SHOULD | broker-ep | 7 | the server tells its services by reflection
23 | SHOULD | broker | 7 | where it does not, a broker relies on the Broker API only
`,
  { incubating: true },
);
