import type { DescMessage } from "@bufbuild/protobuf";
import { describe, expect, it } from "vitest";
import * as core from "./gen/envoy/config/core/v3/base_pb.ts";
import { TypedExtensionConfigSchema } from "./gen/envoy/config/core/v3/extension_pb.ts";
import * as tls from "./gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.ts";
import * as discovery from "./gen/envoy/service/discovery/v3/discovery_pb.ts";
import { SecretDiscoveryService } from "./gen/envoy/service/secret/v3/sds_pb.ts";
import { ErrorInfoSchema } from "./gen/google/rpc/error_details_pb.ts";
import * as reflection from "./gen/grpc/reflection/v1/reflection_pb.ts";
import * as oldReflection from "./gen/grpc/reflection/v1alpha/reflection_pb.ts";
import * as broker from "./gen/spiffe/broker/api_pb.ts";
import * as delegated from "./gen/spire/api/agent/delegatedidentity/v1/delegatedidentity_pb.ts";

const fieldsOf = ({ fields }: DescMessage) => fields.map(({ name, number }) => `${name}=${number}`).join(" ");

describe("messages of protocols that others publish", () => {
  it.each<[DescMessage, string]>([
    [
      discovery.DiscoveryRequestSchema,
      "version_info=1 node=2 resource_names=3 type_url=4 response_nonce=5 error_detail=6",
    ],
    [discovery.DiscoveryResponseSchema, "version_info=1 resources=2 type_url=4 nonce=5 control_plane=6"],
    [
      discovery.DeltaDiscoveryRequestSchema,
      "node=1 type_url=2 resource_names_subscribe=3 resource_names_unsubscribe=4 initial_resource_versions=5 response_nonce=6 error_detail=7",
    ],
    [
      discovery.DeltaDiscoveryResponseSchema,
      "system_version_info=1 resources=2 type_url=4 nonce=5 removed_resources=6 control_plane=7",
    ],
    [discovery.ResourceSchema, "version=1 resource=2 name=3 aliases=4"],
    [
      core.NodeSchema,
      "id=1 cluster=2 metadata=3 user_agent_name=6 user_agent_version=7 user_agent_build_version=8",
    ],
    [core.DataSourceSchema, "filename=1 inline_bytes=2 inline_string=3 environment_variable=4"],
    [TypedExtensionConfigSchema, "name=1 typed_config=2"],
    [tls.SecretSchema, "name=1 tls_certificate=2 validation_context=4"],
    [tls.TlsCertificateSchema, "certificate_chain=1 private_key=2"],
    [tls.CertificateValidationContextSchema, "trusted_ca=1 crl=7 custom_validator_config=12"],
    [tls.SPIFFECertValidatorConfigSchema, "trust_domains=1"],
    [tls.SPIFFECertValidatorConfig_TrustDomainSchema, "name=1 trust_bundle=2"],
    [broker.WorkloadReferenceSchema, "reference=1"],
    [broker.WorkloadPIDReferenceSchema, "pid=1"],
    [broker.KubernetesObjectReferenceSchema, "type=1 key=2 uid=3"],
    [broker.KubernetesObjectTypeSchema, "plural=1 group=2"],
    [broker.KubernetesObjectKeySchema, "namespace=1 name=2"],
    [broker.SubscribeToX509SVIDResponseSchema, "svids=1 crl=2 federated_bundles=3"],
    [broker.X509SVIDSchema, "spiffe_id=1 x509_svid=2 x509_svid_key=3 bundle=4 hint=5"],
    [broker.SubscribeToX509BundlesResponseSchema, "crl=1 bundles=2"],
    [broker.FetchJWTSVIDRequestSchema, "reference=1 audience=2 spiffe_id=3"],
    [broker.JWTSVIDSchema, "spiffe_id=1 svid=2 hint=3"],
    [delegated.SubscribeToX509SVIDsRequestSchema, "selectors=1 pid=2"],
    [delegated.SubscribeToX509SVIDsResponseSchema, "x509_svids=1 federates_with=2"],
    [delegated.X509SVIDWithKeySchema, "x509_svid=1 x509_svid_key=2"],
    [delegated.FetchJWTSVIDsRequestSchema, "audience=1 selectors=2 pid=3"],
    [ErrorInfoSchema, "reason=1 domain=2 metadata=3"],
    ...[reflection, oldReflection].flatMap((of): [DescMessage, string][] => [
      [
        of.ServerReflectionRequestSchema,
        "host=1 file_by_filename=3 file_containing_symbol=4 file_containing_extension=5 all_extension_numbers_of_type=6 list_services=7",
      ],
      [
        of.ServerReflectionResponseSchema,
        "valid_host=1 original_request=2 file_descriptor_response=4 all_extension_numbers_response=5 list_services_response=6 error_response=7",
      ],
    ]),
  ])("$typeName has the field numbers of the wire", (message, fields) => {
    expect(fieldsOf(message)).toBe(fields);
  });

  it("are called by the names that clients use", () => {
    const services = [SecretDiscoveryService, broker.API, delegated.DelegatedIdentity];
    expect(services.map(({ typeName }) => typeName)).toEqual([
      "envoy.service.secret.v3.SecretDiscoveryService",
      "spiffe.broker.API",
      "spire.api.agent.delegatedidentity.v1.DelegatedIdentity",
    ]);
  });
});
