import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { type ServiceError, status as GrpcStatus, Metadata } from "@grpc/grpc-js";
import { AssayError, type AssayErrorOptions, callerMessage } from "../errors/assay-error.ts";
import { CODES, type ErrorCode, type GrpcStatusName } from "../errors/codes.ts";
import { ErrorInfoSchema } from "../proto/gen/google/rpc/error_details_pb.ts";
import { StatusSchema } from "../proto/gen/google/rpc/status_pb.ts";
import {
  PermissionDeniedDetails_Reason,
  PermissionDeniedDetailsSchema,
} from "../proto/gen/spire/api/types/status_pb.ts";

/** Why a call was denied, as far as an agent has to know it (`spire.api.types.PermissionDeniedDetails`). */
export type DenialReason = keyof typeof PermissionDeniedDetails_Reason;

/** What a call ends with on the wire. */
export interface WireStatus {
  /** Number of the gRPC status. */
  readonly code: number;
  /** Text for the caller, at most 4 KiB when percent-encoded. */
  readonly details: string;
  /** Trailers, where there are any. */
  readonly metadata?: Metadata;
}

/** Any status name that may arrive from another program. */
export type RemoteStatusName = GrpcStatusName | "OUT_OF_RANGE" | "DATA_LOSS";

/**
 * A call that the other side, or the way to it, failed. `code` is the nearest code of the table; `status` and
 * `detail` are what was received.
 */
export class RpcError extends AssayError {
  /** The gRPC status as received. */
  readonly status: RemoteStatusName;
  /** Why the call was denied, if the server said so. */
  readonly reason: DenialReason | undefined;

  constructor(
    code: ErrorCode,
    detail: string,
    status: RemoteStatusName,
    reason?: DenialReason,
    options?: AssayErrorOptions,
  ) {
    super(code, detail, options);
    this.name = "RpcError";
    this.status = status;
    this.reason = reason;
    Object.defineProperty(this, brand, { value: true });
  }

  /** By brand, and never true of an `AssayError` that is none. */
  static override [Symbol.hasInstance](value: unknown): boolean {
    return typeof value === "object" && value !== null && (value as Record<symbol, unknown>)[brand] === true;
  }
}

/** The gRPC status of an error, with its number, the text a caller may read and the details that go with it. */
export function wireStatus(error: AssayError): WireStatus {
  const code: number = GrpcStatus[CODES[error.code].grpc];
  const details = boundedText(callerMessage(error));
  const detail = statusDetail(error.code);
  if (detail === undefined) return { code, details };
  const metadata = new Metadata();
  metadata.set(DETAILS_KEY, detailsBytes(code, details, detail));
  return { code, details, metadata };
}

/** What a failed call of ours came to. Anything that is not a gRPC error is `INTERNAL`. */
export function rpcErrorFrom(error: unknown): AssayError {
  if (error instanceof AssayError) return error;
  if (!isServiceError(error)) {
    const detail = error instanceof Error ? error.message : String(error);
    return new RpcError("INTERNAL", detail, "INTERNAL", undefined, { cause: error });
  }
  const status = nameOf(error.code);
  const reason = status === "PERMISSION_DENIED" ? denialReason(error.metadata) : undefined;
  const code = brokerReason(error.metadata) ?? codeOf(status, error.details, reason);
  return new RpcError(code, error.details, status, reason, { cause: error });
}

/** The number of a gRPC status as batch items carry it (`spire.api.types.Status.code`). */
export function statusNumber(code: ErrorCode): number {
  return GrpcStatus[CODES[code].grpc];
}

interface StatusDetail {
  readonly typeUrl: string;
  readonly value: Uint8Array<ArrayBuffer>;
}

/** What goes with an error of this code: a reason that programs read, for agents or for brokers. */
function statusDetail(code: ErrorCode): StatusDetail | undefined {
  const reason = REASON_BY_CODE[code];
  if (reason !== undefined) {
    const detail = create(PermissionDeniedDetailsSchema, { reason: PermissionDeniedDetails_Reason[reason] });
    return { typeUrl: DENIAL_TYPE_URL, value: toBinary(PermissionDeniedDetailsSchema, detail) };
  }
  if (!BROKER_REASONS.has(code)) return undefined;
  const detail = create(ErrorInfoSchema, { reason: code, domain: BROKER_REASON_DOMAIN });
  return { typeUrl: ERROR_INFO_TYPE_URL, value: toBinary(ErrorInfoSchema, detail) };
}

function detailsBytes(code: number, message: string, detail: StatusDetail): Buffer {
  const bytes = toBinary(StatusSchema, create(StatusSchema, { code, message, details: [detail] }));
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function denialReason(metadata: Metadata | undefined): DenialReason | undefined {
  return fromDetail(metadata, DENIAL_TYPE_URL, (value) => {
    const { reason } = fromBinary(PermissionDeniedDetailsSchema, value);
    return REASONS.find((name) => PermissionDeniedDetails_Reason[name] === reason);
  });
}

function brokerReason(metadata: Metadata | undefined): ErrorCode | undefined {
  return fromDetail(metadata, ERROR_INFO_TYPE_URL, (value) => {
    const { reason, domain } = fromBinary(ErrorInfoSchema, value);
    return [...BROKER_REASONS].find((code) => domain === BROKER_REASON_DOMAIN && code === reason);
  });
}

function fromDetail<Found>(
  metadata: Metadata | undefined,
  typeUrl: string,
  read: (value: Uint8Array) => Found | undefined,
): Found | undefined {
  const value = metadata?.get(DETAILS_KEY)[0];
  if (!(value instanceof Uint8Array)) return undefined;
  try {
    const detail = fromBinary(StatusSchema, value).details.find((one) => one.typeUrl === typeUrl);
    return detail === undefined ? undefined : read(detail.value);
  } catch {
    // Details are an extra: what cannot be read says nothing, the status stands.
    return undefined;
  }
}

function codeOf(status: RemoteStatusName, details: string, reason: DenialReason | undefined): ErrorCode {
  if (reason !== undefined) return CODE_BY_REASON[reason];
  // The text that all clients of the Workload API look for (Workload API §5.2.1).
  if (status === "PERMISSION_DENIED" && details.includes("no identity issued")) return "NO_IDENTITY_ISSUED";
  return CODE_BY_STATUS[status];
}

function nameOf(code: number): RemoteStatusName {
  const name: string | undefined = GrpcStatus[code];
  return name !== undefined && Object.hasOwn(CODE_BY_STATUS, name) ? (name as RemoteStatusName) : "UNKNOWN";
}

function isServiceError(error: unknown): error is ServiceError {
  if (!(error instanceof Error)) return false;
  const { code, details } = error as Partial<ServiceError>;
  return typeof code === "number" && typeof details === "string";
}

/** Clients refuse header blocks above 8 KiB, and a lone surrogate cannot be percent-encoded at all. */
function boundedText(text: string): string {
  const wellFormed = text.toWellFormed();
  if (wellFormed.length * MAX_ENCODED_UNIT <= MAX_ENCODED) return wellFormed;
  let encoded = 0;
  let end = 0;
  for (const character of wellFormed) {
    encoded += encodeURI(character).length;
    if (encoded > MAX_ENCODED - ELLIPSIS.length) return `${wellFormed.slice(0, end)}${ELLIPSIS}`;
    end += character.length;
  }
  return wellFormed;
}

const brand = Symbol.for("assay.rpc-error");

const DETAILS_KEY = "grpc-status-details-bin";
const DENIAL_TYPE_URL = "type.googleapis.com/spire.api.types.PermissionDeniedDetails";
const ERROR_INFO_TYPE_URL = "type.googleapis.com/google.rpc.ErrorInfo";
// Broker API §4.8: codes that are reasons of their own.
const BROKER_REASON_DOMAIN = "spiffe.io";
const BROKER_REASONS: ReadonlySet<ErrorCode> = new Set([
  "WORKLOAD_REFERENCE_INVALID",
  "WORKLOAD_NOT_FOUND",
  "WORKLOAD_NOT_ENTITLED",
]);
const MAX_ENCODED = 4000;
const MAX_ENCODED_UNIT = 9;
const ELLIPSIS = "...";

const REASONS = Object.keys(PermissionDeniedDetails_Reason) as readonly DenialReason[];

const REASON_BY_CODE: Partial<Readonly<Record<ErrorCode, DenialReason>>> = {
  AUTHORIZATION_DENIED: "UNKNOWN",
  AGENT_EXPIRED: "AGENT_EXPIRED",
  AGENT_NOT_ATTESTED: "AGENT_NOT_ATTESTED",
  AGENT_NOT_ACTIVE: "AGENT_NOT_ACTIVE",
  AGENT_BANNED: "AGENT_BANNED",
  AGENT_MUST_REATTEST: "AGENT_MUST_REATTEST",
};

const CODE_BY_REASON: Readonly<Record<DenialReason, ErrorCode>> = {
  UNKNOWN: "AUTHORIZATION_DENIED",
  AGENT_EXPIRED: "AGENT_EXPIRED",
  AGENT_NOT_ATTESTED: "AGENT_NOT_ATTESTED",
  AGENT_NOT_ACTIVE: "AGENT_NOT_ACTIVE",
  AGENT_BANNED: "AGENT_BANNED",
  AGENT_MUST_REATTEST: "AGENT_MUST_REATTEST",
};

const CODE_BY_STATUS: Readonly<Record<RemoteStatusName, ErrorCode>> = {
  CANCELLED: "CANCELLED",
  UNKNOWN: "INTERNAL",
  INVALID_ARGUMENT: "INVALID_REQUEST",
  DEADLINE_EXCEEDED: "DEADLINE_EXCEEDED",
  NOT_FOUND: "NOT_FOUND",
  ALREADY_EXISTS: "ALREADY_EXISTS",
  PERMISSION_DENIED: "AUTHORIZATION_DENIED",
  RESOURCE_EXHAUSTED: "RATE_LIMITED",
  FAILED_PRECONDITION: "PRECONDITION_FAILED",
  ABORTED: "STALE_REVISION",
  OUT_OF_RANGE: "INVALID_REQUEST",
  UNIMPLEMENTED: "UNIMPLEMENTED",
  INTERNAL: "INTERNAL",
  UNAVAILABLE: "SERVER_UNAVAILABLE",
  DATA_LOSS: "INTERNAL",
  UNAUTHENTICATED: "CALLER_NOT_IDENTIFIED",
};
