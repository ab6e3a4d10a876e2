/**
 * workload/ — the client for Node programs: SVIDs that stay fresh, bundles, validation, and TLS by SPIFFE ID.
 *
 * Must never know a store, a log or a server: it is published as a subpath of its own and works against any Workload API.
 * Called by workloads, ours and others'; docs/node-client.md shows how.
 */
export type { Authorizer } from "./authorize.ts";
export { authorizeAny, authorizeId, authorizeMemberOf, authorizeOneOf } from "./authorize.ts";
export type { BundleFile, BundleFilesOptions } from "./bundle-files.ts";
export { BundleFiles, openBundleFiles } from "./bundle-files.ts";
export {
  openWitBundleSource,
  openX509BundleSource,
  WorkloadWitBundles,
  WorkloadX509Bundles,
} from "./bundle-sources.ts";
export type {
  JwtBundle,
  JwtBundleSource,
  Updates,
  WitBundle,
  WitBundleSource,
  X509Bundle,
  X509BundleSource,
} from "./bundles.ts";
export type { AnyBundleSource } from "./combined-bundles.ts";
export { combineBundleSources } from "./combined-bundles.ts";
export type { SpiffePeersOptions } from "./fastify.ts";
export { spiffePeers } from "./fastify.ts";
export type { Pick } from "./hints.ts";
export type { JwtSvidWanted } from "./jwt-source.ts";
export { JwtSource, openJwtSource } from "./jwt-source.ts";
export type { WorkloadJwtSvid } from "./read-jwt-svids.ts";
export type { WorkloadWitSvid } from "./read-wit-svids.ts";
export type { WorkloadX509Svid } from "./read-x509-svids.ts";
export type { SpiffeAgent, SpiffeAgentOptions, TlsClientSource } from "./tls-client.ts";
export { createHttpsAgent, tlsClientOptions } from "./tls-client.ts";
export type { PeerPolicy, TlsPeer } from "./tls-peer.ts";
export { peerOf, verifyPeer } from "./tls-peer.ts";
export type {
  ServerPolicy,
  SpiffeHttpsServerOptions,
  SpiffeTlsServerOptions,
  TlsServerSource,
} from "./tls-server.ts";
export { createHttpsServer, createTlsServer, guardServer, tlsServerOptions } from "./tls-server.ts";
export type { BundleSource, TrustBundle } from "./trust-bundle.ts";
export {
  parsePemBundle,
  parseSpiffeBundle,
  parseSpiffeBundleMap,
  staticBundleSource,
} from "./trust-bundle.ts";
export type { JwtValidation, ValidX509Svid, X509Validation } from "./validate.ts";
export { validateJwtSvid, validateX509Svid } from "./validate.ts";
export type { RequestHeaders, ValidWitSvid, WitValidation } from "./validate-wit-request.ts";
export { validateWitRequest } from "./validate-wit-request.ts";
export type { ProofWanted, WitHeaders, WitSourceOptions } from "./wit-source.ts";
export { openWitSource, WitSource } from "./wit-source.ts";
export type { WorkloadOptions } from "./workload-api.ts";
export type { X509SourceOptions, X509SvidSource } from "./x509-source.ts";
export { openX509Source, X509Source } from "./x509-source.ts";
export type { SpiffeId } from "../spiffe/id.ts";
export { parseSpiffeId, trustDomainOf } from "../spiffe/id.ts";
export type { TrustDomain } from "../spiffe/trust-domain.ts";
export { parseTrustDomain } from "../spiffe/trust-domain.ts";
export { AssayError } from "../errors/assay-error.ts";
