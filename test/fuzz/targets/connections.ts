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
import { AuthorityFront } from "../../../src/rpc/authority/authority-front.ts";
import { decode, serverMethod } from "../../../src/rpc/service-definition.ts";
import { parseAudiences } from "../../../src/spiffe/audience.ts";
import { tryParseSpiffeId } from "../../../src/spiffe/id.ts";
import { type FuzzTarget, refuses } from "../fuzzer.ts";

const PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "latin1");
const frame = (type: number, flags: number, stream: number, payload: string) => {
  const bytes = Buffer.from(payload, "latin1");
  const head = Buffer.alloc(9);
  head.writeUIntBE(bytes.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, bytes]);
};

/** HTTP/2 from a client as the front of the Unix sockets sees it: no octet more or less, however it is cut. */
const front: FuzzTarget = {
  name: "authority-front",
  dictionary: [
    PREFACE,
    frame(1, 5, 1, "\x01\x04/a/b"),
    frame(1, 1, 3, "\x41\x84"),
    frame(9, 4, 3, "\x40\x0a:authority\x02//"),
    frame(1, 0x2d, 5, "\x02\x00\x00\x00\x00\x00\xbe\x00\x00"),
    frame(4, 0, 0, "\x00\x01\x00\x00\x00\x00"),
    frame(0, 1, 1, "\x00\x00\x00\x00\x00"),
    frame(6, 0, 0, "12345678"),
    "\x3f\xe1\x1f",
    "\x20",
    "\xff\x80\x80\x80\x80\x80\x01",
    "\x41\x8b",
  ].map((piece) => (typeof piece === "string" ? Buffer.from(piece, "latin1") : piece)),
  run(input) {
    const whole = new AuthorityFront().push(Buffer.from(input));
    if (whole.length !== input.length) throw new Error("has another length");
    // A Huffman code that lies over a cut may stay as it was, so the octets themselves may differ.
    const cut = new AuthorityFront();
    const step = 1 + (input.length % 7);
    const pieces: Buffer[] = [];
    for (let at = 0; at < input.length; at += step) {
      pieces.push(cut.push(Buffer.from(input.subarray(at, at + step))));
    }
    if (Buffer.concat(pieces).length !== input.length) throw new Error("has another length once cut");
    if (Buffer.compare(new AuthorityFront().push(Buffer.from(whole)), whole) !== 0) {
      throw new Error("rewrites what it wrote");
    }
  },
};

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

export const connectionTargets: readonly FuzzTarget[] = [front, sotw, delta, workloadApi];
