import type { DescMessage, DescService } from "@bufbuild/protobuf";
import { create, toBinary } from "@bufbuild/protobuf";
import { describe, expect, it } from "vitest";
import { Explain as AgentExplain } from "./gen/assay/api/agent/v1/explain_pb.ts";
import { Status as AgentStatus } from "./gen/assay/api/agent/v1/status_pb.ts";
import {
  AgentSync,
  RevokedTokensSchema,
  WatchAuthorizedEntriesResponseSchema,
} from "./gen/assay/api/server/v1/agent_sync_pb.ts";
import { Backup, CreateBackupResponseSchema } from "./gen/assay/api/server/v1/backup_pb.ts";
import { Explain as ServerExplain } from "./gen/assay/api/server/v1/explain_pb.ts";
import { StatusSchema as RpcStatusSchema } from "./gen/google/rpc/status_pb.ts";
import { Health, HealthCheckResponse_ServingStatus } from "./gen/grpc/health/v1/health_pb.ts";
import * as workload from "./gen/spiffe/workload/workload_pb.ts";
import * as agentApi from "./gen/spire/api/server/agent/v1/agent_pb.ts";
import * as bundleApi from "./gen/spire/api/server/bundle/v1/bundle_pb.ts";
import { Debug } from "./gen/spire/api/server/debug/v1/debug_pb.ts";
import * as entryApi from "./gen/spire/api/server/entry/v1/entry_pb.ts";
import {
  AuthorityStateSchema,
  LocalAuthority,
} from "./gen/spire/api/server/localauthority/v1/localauthority_pb.ts";
import { Logger } from "./gen/spire/api/server/logger/v1/logger_pb.ts";
import * as svidApi from "./gen/spire/api/server/svid/v1/svid_pb.ts";
import { TrustDomain } from "./gen/spire/api/server/trustdomain/v1/trustdomain_pb.ts";
import { AgentSchema } from "./gen/spire/api/types/agent_pb.ts";
import { AttestationDataSchema } from "./gen/spire/api/types/attestation_pb.ts";
import { BundleSchema, JWTKeySchema, X509CertificateSchema } from "./gen/spire/api/types/bundle_pb.ts";
import { EntryMaskSchema, EntrySchema } from "./gen/spire/api/types/entry_pb.ts";
import { FederationRelationshipSchema } from "./gen/spire/api/types/federationrelationship_pb.ts";
import { JWTSVIDSchema } from "./gen/spire/api/types/jwtsvid_pb.ts";
import { LogLevel } from "./gen/spire/api/types/logger_pb.ts";
import { SelectorMatch_MatchBehavior, SelectorMatchSchema } from "./gen/spire/api/types/selector_pb.ts";
import {
  PermissionDeniedDetails_Reason,
  PermissionDeniedDetailsSchema,
  StatusSchema,
} from "./gen/spire/api/types/status_pb.ts";
import { X509SVIDSchema } from "./gen/spire/api/types/x509svid_pb.ts";

describe("services", () => {
  it.each<[DescService, readonly string[]]>([
    [
      workload.SpiffeWorkloadAPI,
      [
        "/SpiffeWorkloadAPI/FetchX509SVID server_streaming",
        "/SpiffeWorkloadAPI/FetchX509Bundles server_streaming",
        "/SpiffeWorkloadAPI/FetchJWTSVID unary",
        "/SpiffeWorkloadAPI/FetchJWTBundles server_streaming",
        "/SpiffeWorkloadAPI/ValidateJWTSVID unary",
        "/SpiffeWorkloadAPI/FetchWITSVID server_streaming",
        "/SpiffeWorkloadAPI/FetchWITBundles server_streaming",
      ],
    ],
    [
      agentApi.Agent,
      [
        "/spire.api.server.agent.v1.Agent/CountAgents unary",
        "/spire.api.server.agent.v1.Agent/ListAgents unary",
        "/spire.api.server.agent.v1.Agent/GetAgent unary",
        "/spire.api.server.agent.v1.Agent/DeleteAgent unary",
        "/spire.api.server.agent.v1.Agent/BanAgent unary",
        "/spire.api.server.agent.v1.Agent/AttestAgent bidi_streaming",
        "/spire.api.server.agent.v1.Agent/RenewAgent unary",
        "/spire.api.server.agent.v1.Agent/CreateJoinToken unary",
        "/spire.api.server.agent.v1.Agent/PostStatus unary",
      ],
    ],
    [
      entryApi.Entry,
      [
        "/spire.api.server.entry.v1.Entry/CountEntries unary",
        "/spire.api.server.entry.v1.Entry/ListEntries unary",
        "/spire.api.server.entry.v1.Entry/GetEntry unary",
        "/spire.api.server.entry.v1.Entry/BatchCreateEntry unary",
        "/spire.api.server.entry.v1.Entry/BatchUpdateEntry unary",
        "/spire.api.server.entry.v1.Entry/BatchDeleteEntry unary",
        "/spire.api.server.entry.v1.Entry/GetAuthorizedEntries unary",
        "/spire.api.server.entry.v1.Entry/SyncAuthorizedEntries bidi_streaming",
      ],
    ],
    [
      svidApi.SVID,
      [
        "/spire.api.server.svid.v1.SVID/MintX509SVID unary",
        "/spire.api.server.svid.v1.SVID/MintJWTSVID unary",
        "/spire.api.server.svid.v1.SVID/MintWITSVID unary",
        "/spire.api.server.svid.v1.SVID/BatchNewX509SVID unary",
        "/spire.api.server.svid.v1.SVID/NewJWTSVID unary",
        "/spire.api.server.svid.v1.SVID/BatchNewWITSVID unary",
        "/spire.api.server.svid.v1.SVID/NewDownstreamX509CA unary",
      ],
    ],
    [
      Health,
      [
        "/grpc.health.v1.Health/Check unary",
        "/grpc.health.v1.Health/List unary",
        "/grpc.health.v1.Health/Watch server_streaming",
      ],
    ],
    [AgentSync, ["/assay.api.server.v1.AgentSync/WatchAuthorizedEntries server_streaming"]],
    [Backup, ["/assay.api.server.v1.Backup/CreateBackup server_streaming"]],
  ])("$typeName has the paths and kinds that clients call", (service, paths) => {
    expect(pathsOf(service)).toEqual(paths);
  });

  it.each<[DescService, string, number]>([
    [bundleApi.Bundle, "spire.api.server.bundle.v1.Bundle", 11],
    [TrustDomain, "spire.api.server.trustdomain.v1.TrustDomain", 6],
    [LocalAuthority, "spire.api.server.localauthority.v1.LocalAuthority", 17],
    [Logger, "spire.api.server.logger.v1.Logger", 3],
    [Debug, "spire.api.server.debug.v1.Debug", 1],
    [ServerExplain, "assay.api.server.v1.Explain", 2],
    [AgentExplain, "assay.api.agent.v1.Explain", 2],
    [AgentStatus, "assay.api.agent.v1.Status", 1],
  ])("%s is named %s and has %i methods", (service, typeName, count) => {
    expect(service.typeName).toBe(typeName);
    expect(service.methods).toHaveLength(count);
  });
});

describe("messages", () => {
  it.each<[DescMessage, string]>([
    [workload.X509SVIDResponseSchema, "svids=1 crl=2 federated_bundles=3"],
    [workload.X509SVIDSchema, "spiffe_id=1 x509_svid=2 x509_svid_key=3 bundle=4 hint=5"],
    [workload.X509BundlesResponseSchema, "crl=1 bundles=2"],
    [workload.JWTSVIDRequestSchema, "audience=1 spiffe_id=2"],
    [workload.JWTSVIDResponseSchema, "svids=1"],
    [workload.JWTSVIDSchema, "spiffe_id=1 svid=2 hint=3"],
    [workload.JWTBundlesResponseSchema, "bundles=1"],
    [workload.ValidateJWTSVIDRequestSchema, "audience=1 svid=2"],
    [workload.ValidateJWTSVIDResponseSchema, "spiffe_id=1 claims=2"],
    [workload.WITSVIDRequestSchema, "spiffe_id=1"],
    [workload.WITSVIDSchema, "spiffe_id=1 wit_svid=2 wit_svid_key=3 hint=4"],
    [workload.WITBundlesResponseSchema, "bundles=1"],
    [
      EntrySchema,
      "id=1 spiffe_id=2 parent_id=3 selectors=4 x509_svid_ttl=5 federates_with=6 admin=7 downstream=8 expires_at=9 dns_names=10 revision_number=11 store_svid=12 jwt_svid_ttl=13 hint=14 created_at=15 additional_attributes=16 assay=15001",
    ],
    [
      EntryMaskSchema,
      "spiffe_id=2 parent_id=3 selectors=4 x509_svid_ttl=5 federates_with=6 admin=7 downstream=8 expires_at=9 dns_names=10 revision_number=11 store_svid=12 jwt_svid_ttl=13 hint=14 created_at=15 additional_attributes=16 assay=15001",
    ],
    [
      AgentSchema,
      "id=1 attestation_type=2 x509svid_serial_number=3 x509svid_expires_at=4 selectors=5 banned=6 can_reattest=7 agent_version=8",
    ],
    [AttestationDataSchema, "type=1 payload=2"],
    [
      BundleSchema,
      "trust_domain=1 x509_authorities=2 jwt_authorities=3 refresh_hint=4 sequence_number=5 wit_authorities=6",
    ],
    [X509CertificateSchema, "asn1=1 tainted=2"],
    [JWTKeySchema, "public_key=1 key_id=2 expires_at=3 tainted=4"],
    [X509SVIDSchema, "cert_chain=1 id=2 expires_at=3 hint=4"],
    [JWTSVIDSchema, "token=1 id=2 expires_at=3 issued_at=4 hint=5"],
    [StatusSchema, "code=1 message=2"],
    [RpcStatusSchema, "code=1 message=2 details=3"],
    [PermissionDeniedDetailsSchema, "reason=1"],
    [SelectorMatchSchema, "selectors=1 match=2"],
    [
      FederationRelationshipSchema,
      "trust_domain=1 bundle_endpoint_url=2 https_web=3 https_spiffe=4 trust_domain_bundle=5",
    ],
    [AuthorityStateSchema, "authority_id=1 expires_at=2 upstream_authority_subject_key_id=3"],
    [agentApi.AttestAgentRequestSchema, "params=1 challenge_response=2"],
    [agentApi.AttestAgentRequest_ParamsSchema, "data=1 params=2"],
    [agentApi.AttestAgentResponseSchema, "result=1 challenge=2"],
    [agentApi.AttestAgentResponse_ResultSchema, "svid=1 reattestable=2"],
    [agentApi.CreateJoinTokenRequestSchema, "ttl=1 token=2 agent_id=3"],
    [agentApi.ListAgentsRequestSchema, "filter=1 output_mask=2 page_size=3 page_token=4"],
    [
      agentApi.ListAgentsRequest_FilterSchema,
      "by_attestation_type=1 by_selector_match=2 by_banned=3 by_can_reattest=4 by_expires_before=5",
    ],
    [
      entryApi.ListEntriesRequest_FilterSchema,
      "by_spiffe_id=1 by_parent_id=2 by_selectors=3 by_federates_with=4 by_hint=5 by_downstream=6",
    ],
    [entryApi.BatchCreateEntryResponse_ResultSchema, "status=1 entry=2"],
    [entryApi.BatchUpdateEntryRequestSchema, "entries=1 input_mask=2 output_mask=3"],
    [entryApi.SyncAuthorizedEntriesRequestSchema, "output_mask=1 ids=2"],
    [entryApi.SyncAuthorizedEntriesResponseSchema, "entry_revisions=1 entries=2 more=3"],
    [entryApi.EntryRevisionSchema, "id=1 revision_number=2 created_at=3"],
    [svidApi.MintWITSVIDRequestSchema, "id=1 public_key=2 ttl=3 signing_algorithm=4"],
    [svidApi.NewX509SVIDParamsSchema, "entry_id=1 csr=2"],
    [svidApi.NewDownstreamX509CAResponseSchema, "ca_cert_chain=1 x509_authorities=2"],
    [
      bundleApi.AppendBundleRequestSchema,
      "x509_authorities=1 jwt_authorities=2 output_mask=3 wit_authorities=4",
    ],
    [
      WatchAuthorizedEntriesResponseSchema,
      "sequence=1 complete=2 more=3 upserted=4 deleted=5 bundle=6 federated_bundles=7 deleted_federated_bundles=8 revocation_lists=9 revoked_tokens=10",
    ],
    [RevokedTokensSchema, "tokens=1 complete=2"],
    [CreateBackupResponseSchema, "manifest=1 data=2"],
  ])("$typeName has the field numbers of the wire", (message, fields) => {
    expect(message.fields.map((field) => `${field.name}=${field.number}`).join(" ")).toBe(fields);
  });

  it("writes an X509-SVID as the bytes that any other implementation writes", () => {
    const svid = create(workload.X509SVIDSchema, {
      spiffeId: "spiffe://a/b",
      x509Svid: Uint8Array.of(1),
      x509SvidKey: Uint8Array.of(2),
      bundle: Uint8Array.of(3),
      hint: "h",
    });
    expect(Buffer.from(toBinary(workload.X509SVIDSchema, svid)).toString("hex")).toBe(
      `0a0c${Buffer.from("spiffe://a/b").toString("hex")}1201011a01022201032a0168`,
    );
  });
});

describe("enumerations", () => {
  it("have the numbers of the wire", () => {
    expect({ ...PermissionDeniedDetails_Reason }).toEqual({
      UNKNOWN: 0,
      AGENT_EXPIRED: 1,
      AGENT_NOT_ATTESTED: 2,
      AGENT_NOT_ACTIVE: 3,
      AGENT_BANNED: 4,
      AGENT_MUST_REATTEST: 5,
    });
    expect({ ...SelectorMatch_MatchBehavior }).toEqual({
      MATCH_EXACT: 0,
      MATCH_SUBSET: 1,
      MATCH_SUPERSET: 2,
      MATCH_ANY: 3,
    });
    expect({ ...bundleApi.BatchDeleteFederatedBundleRequest_Mode }).toEqual({
      RESTRICT: 0,
      DELETE: 1,
      DISSOCIATE: 2,
    });
    expect({ ...HealthCheckResponse_ServingStatus }).toEqual({
      UNKNOWN: 0,
      SERVING: 1,
      NOT_SERVING: 2,
      SERVICE_UNKNOWN: 3,
    });
    expect(LogLevel.TRACE).toBe(7);
  });
});

function pathsOf(service: DescService): string[] {
  return service.methods.map((method) => `/${service.typeName}/${method.name} ${method.methodKind}`);
}
