import type { DescMessage } from "@bufbuild/protobuf";
import { DeltaSession } from "../../../src/agent/sds/delta-session.ts";
import type { Finder } from "../../../src/agent/sds/secret-session.ts";
import { SotwSession } from "../../../src/agent/sds/sotw-session.ts";
import {
  DeltaDiscoveryRequestSchema,
  DiscoveryRequestSchema,
} from "../../../src/proto/gen/envoy/service/discovery/v3/discovery_pb.ts";
import {
  JWTSVIDRequestSchema,
  SpiffeWorkloadAPI,
  ValidateJWTSVIDRequestSchema,
  WITSVIDRequestSchema,
  X509SVIDRequestSchema,
} from "../../../src/proto/gen/spiffe/workload/workload_pb.ts";
import { decode, serverMethod } from "../../../src/rpc/service-definition.ts";
import { parseAudiences } from "../../../src/spiffe/audience.ts";
import { tryParseSpiffeId } from "../../../src/spiffe/id.ts";
import { type FuzzTarget, refuses } from "../fuzzer.ts";
import { authorityFront } from "./authority-front.ts";

const NOTHING: Finder = { find: () => "absent", names: () => [] };

/** Envoy's discovery requests: decoded, then led through a stream. */
const sotw: FuzzTarget = {
  name: "sds-sotw",
  dictionary: ["default", "ROOTCA", "ALL", "spiffe://a.example", "\x1a\x07", "\x22\x00", "\x2a\x01n"],
  run(input) {
    const request = decoded(DiscoveryRequestSchema, input);
    if (request === undefined) return;
    const session = new SotwSession(() => "n");
    refuses(["INVALID_REQUEST"], () => {
      session.take(request);
      session.answer(NOTHING);
      session.take(request);
    });
  },
};

const delta: FuzzTarget = {
  name: "sds-delta",
  dictionary: ["default", "ROOTCA", "ALL", "spiffe://a.example", "\x1a\x07", "\x22\x07", "\x2a\x0a"],
  run(input) {
    const request = decoded(DeltaDiscoveryRequestSchema, input);
    if (request === undefined) return;
    const session = new DeltaSession(() => "n");
    refuses(["INVALID_REQUEST"], () => {
      session.take(request);
      session.answer(NOTHING);
      session.take(request);
    });
  },
};

/** Requests of the Workload API, as the transport hands them over, and what is read of their fields. */
const workloadApi: FuzzTarget = {
  name: "workload-api",
  dictionary: ["spiffe://a.example/w", "\x0a\x01a", "\x12\x14", "\x0a\x80\x80\x80\x80\x10", "\x00"],
  run(input) {
    for (const method of SpiffeWorkloadAPI.methods) serverMethod(method).requestDeserialize(input);
    decoded(X509SVIDRequestSchema, input);
    const jwt = decoded(JWTSVIDRequestSchema, input);
    if (jwt !== undefined) {
      refuses(["INVALID_AUDIENCE"], () => parseAudiences(jwt.audience));
      tryParseSpiffeId(jwt.spiffeId);
    }
    const wit = decoded(WITSVIDRequestSchema, input);
    if (wit !== undefined) tryParseSpiffeId(wit.spiffeId);
    decoded(ValidateJWTSVIDRequestSchema, input);
  },
};

/** A message, or nothing where the bytes are none: the transport answers that before a handler sees it. */
function decoded<Desc extends DescMessage>(schema: Desc, input: Buffer) {
  try {
    return decode(schema, input);
  } catch {
    return undefined;
  }
}

export const connectionTargets: readonly FuzzTarget[] = [authorityFront, sotw, delta, workloadApi];
