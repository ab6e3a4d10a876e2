/**
 * What a caller can be. `local`: on the admin socket. `admin`: an SVID of an entry with the admin flag, or one named
 * in the configuration. `agent`: the current SVID of an attested node. `downstream`: an SVID of an entry with the
 * downstream flag. `any`: everybody, even without a client certificate.
 */
export type Role = "local" | "admin" | "agent" | "downstream" | "any";

/** The roles that may call a method, by its full name; a method that is not listed may be called by nobody. */
export function rolesFor(method: string): readonly Role[] {
  return TABLE.get(method) ?? NOBODY;
}

/** Every method that somebody may call. */
export function knownMethods(): readonly string[] {
  return [...TABLE.keys()];
}

const NOBODY: readonly Role[] = [];
const OPERATORS: readonly Role[] = ["local", "admin"];
const LOCAL: readonly Role[] = ["local"];
const AGENT: readonly Role[] = ["agent"];
const DOWNSTREAM: readonly Role[] = ["downstream"];
const ANY: readonly Role[] = ["any"];

const TABLE: ReadonlyMap<string, readonly Role[]> = new Map([
  ...methods("spire.api.server.agent.v1.Agent", OPERATORS, [
    "CountAgents",
    "ListAgents",
    "GetAgent",
    "DeleteAgent",
    "BanAgent",
    "CreateJoinToken",
  ]),
  ...methods("spire.api.server.agent.v1.Agent", ANY, ["AttestAgent"]),
  ...methods("spire.api.server.agent.v1.Agent", AGENT, ["RenewAgent", "PostStatus"]),
  ...methods("spire.api.server.entry.v1.Entry", OPERATORS, [
    "CountEntries",
    "ListEntries",
    "GetEntry",
    "BatchCreateEntry",
    "BatchUpdateEntry",
    "BatchDeleteEntry",
  ]),
  ...methods("spire.api.server.entry.v1.Entry", AGENT, ["GetAuthorizedEntries", "SyncAuthorizedEntries"]),
  ...methods("spire.api.server.svid.v1.SVID", OPERATORS, ["MintX509SVID", "MintJWTSVID", "MintWITSVID"]),
  ...methods("spire.api.server.svid.v1.SVID", AGENT, ["BatchNewX509SVID", "NewJWTSVID", "BatchNewWITSVID"]),
  ...methods("spire.api.server.svid.v1.SVID", DOWNSTREAM, ["NewDownstreamX509CA"]),
  ...methods("spire.api.server.bundle.v1.Bundle", DOWNSTREAM, ["PublishJWTAuthority", "PublishWITAuthority"]),
  ...methods("spire.api.server.bundle.v1.Bundle", ANY, ["GetBundle"]),
  ...methods("spire.api.server.bundle.v1.Bundle", ["local", "admin", "agent"], ["GetFederatedBundle"]),
  ...methods("spire.api.server.bundle.v1.Bundle", OPERATORS, [
    "CountBundles",
    "AppendBundle",
    "ListFederatedBundles",
    "BatchCreateFederatedBundle",
    "BatchUpdateFederatedBundle",
    "BatchSetFederatedBundle",
    "BatchDeleteFederatedBundle",
  ]),
  ...methods("spire.api.server.localauthority.v1.LocalAuthority", OPERATORS, [
    ...["X509", "JWT", "WIT"].flatMap((kind) => [
      `Get${kind}AuthorityState`,
      `Prepare${kind}Authority`,
      `Activate${kind}Authority`,
      `Taint${kind}Authority`,
      `Revoke${kind}Authority`,
    ]),
    "TaintX509UpstreamAuthority",
    "RevokeX509UpstreamAuthority",
  ]),
  ...methods("spire.api.server.trustdomain.v1.TrustDomain", OPERATORS, [
    "ListFederationRelationships",
    "GetFederationRelationship",
    "BatchCreateFederationRelationship",
    "BatchUpdateFederationRelationship",
    "BatchDeleteFederationRelationship",
    "RefreshBundle",
  ]),
  ...methods("spire.api.server.debug.v1.Debug", LOCAL, ["GetInfo"]),
  ...methods("spire.api.server.logger.v1.Logger", LOCAL, ["GetLogger", "SetLogLevel", "ResetLogLevel"]),
  ...methods("grpc.health.v1.Health", LOCAL, ["Check", "List", "Watch"]),
  ...methods("grpc.reflection.v1.ServerReflection", LOCAL, ["ServerReflectionInfo"]),
  ...methods("grpc.reflection.v1alpha.ServerReflection", LOCAL, ["ServerReflectionInfo"]),
  ...methods("assay.api.server.v1.AgentSync", AGENT, ["WatchAuthorizedEntries"]),
  ...methods("assay.api.server.v1.Revocation", OPERATORS, [
    "ListRevocationLists",
    "SetRevocationList",
    "DeleteRevocationList",
  ]),
  // The whole store, so nobody who is not on the machine.
  ...methods("assay.api.server.v1.Backup", LOCAL, ["CreateBackup"]),
  ...methods("assay.api.server.v1.Explain", OPERATORS, ["ExplainDecision", "ExplainNode"]),
]);

function methods(service: string, roles: readonly Role[], names: readonly string[]) {
  return names.map((name) => [`/${service}/${name}`, roles] as const);
}
