import { REVOCATION_REASONS } from "../../spiffe/revocation-reason.ts";
import { z } from "zod";
import { parsePemCertificates } from "../../crypto/pem.ts";
import { AssayError } from "../../errors/assay-error.ts";
import type { HttpRoutes } from "../../http/http-routes.ts";
import { problemResponses } from "../../http/problem.ts";
import { parseSpiffeId } from "../../spiffe/id.ts";
import type { OperatorCall } from "../operations/operator-call.ts";
import {
  type RevocationTarget,
  type RevokeOperations,
  type RevokeOutcome,
} from "../operations/revoke-operations.ts";
import { credentialToJson, taskCredentialSchema } from "../tasks/task-json.ts";
import { spiffeIdText, timeInput } from "./json-values.ts";
import type { OperatorGuard } from "./operator-guard.ts";

/** What the route needs. */
export interface RevocationRoutesOptions {
  readonly revokeOperations: RevokeOperations;
}

/** Adds `POST /v1/revocations`: ends a task, or revokes an SVID, a token, or all that came through an agent. */
export function revocationRoutes(
  routes: HttpRoutes,
  { revokeOperations }: RevocationRoutesOptions,
  guard: OperatorGuard,
): void {
  routes.post(
    "/v1/revocations",
    {
      schema: {
        tags: ["revocation"],
        summary: "Revoke something before its end",
        description:
          "Names exactly one thing. Revoking it again does nothing. What the server does not know is revoked by its certificate, or by serial number, authority, SPIFFE ID and expiry.",
        body,
        response: {
          200: outcomeSchema,
          ...problemResponses(
            "INVALID_REQUEST",
            "INVALID_SPIFFE_ID",
            "INVALID_CERTIFICATE",
            "NOT_FOUND",
            "TASK_NOT_FOUND",
            "AGENT_NOT_FOUND",
            "AUTHORITY_NOT_FOUND",
            "PRECONDITION_FAILED",
            "CALLER_NOT_IDENTIFIED",
            "AUTHORIZATION_DENIED",
            "RATE_LIMITED",
            "STORE_UNAVAILABLE",
            "AUDIT_UNAVAILABLE",
          ),
        },
      },
    },
    async (request) => outcomeToJson(await revoke(guard.callOf(request), request.body)),
  );

  function revoke(call: OperatorCall, wanted: z.output<typeof body>): Promise<RevokeOutcome> {
    const { task_id, agent_id, reason } = wanted;
    if (task_id !== undefined) return revokeOperations.revokeTask(call, task_id);
    if (agent_id !== undefined) return revokeOperations.revokeAgent(call, parseSpiffeId(agent_id), reason);
    return revokeOperations.revokeCredential(call, targetOf(wanted), reason);
  }
}

function targetOf(wanted: z.output<typeof body>): RevocationTarget {
  const { certificate, token_id, serial, authority_id, spiffe_id, expires_at } = wanted;
  if (certificate !== undefined) {
    const [leaf] = parsePemCertificates(certificate, MOST_CERTIFICATES);
    if (leaf === undefined) throw new AssayError("INVALID_CERTIFICATE", "certificate: expected one in PEM");
    return { certificate: leaf.der };
  }
  if (token_id !== undefined) return { tokenId: token_id };
  if (serial === undefined) throw new AssayError("INTERNAL", "a body passed that names nothing");
  if (authority_id === undefined || spiffe_id === undefined || expires_at === undefined) return { serial };
  return { serial, authorityId: authority_id, spiffeId: parseSpiffeId(spiffe_id), expiresAt: expires_at };
}

function outcomeToJson({
  revoked,
  isPublished,
  isIncomplete,
}: RevokeOutcome): z.output<typeof outcomeSchema> {
  return { revoked: revoked.map(credentialToJson), published: isPublished, incomplete: isIncomplete };
}

// RFC 5280 §4.1.2.2.
const MOST_SERIAL_DIGITS = 40;
// The leaf and its intermediates.
const MOST_CERTIFICATES = 17;
const NAMES = ["task_id", "agent_id", "serial", "certificate", "token_id"] as const;
const FACTS = ["authority_id", "spiffe_id", "expires_at"] as const;

const body = z
  .strictObject({
    task_id: z.uuid().optional().describe("Id of a task: it ends, and what was issued to it is revoked"),
    agent_id: spiffeIdText
      .optional()
      .describe("SPIFFE ID of an agent: it is banned, and all that was issued through it is revoked"),
    serial: z
      .string()
      .max(64)
      .regex(/^[0-9A-Fa-f:]+$/, "expected a serial number in hex")
      .transform((text) => canonicalSerial(text))
      .refine((digits) => digits !== "" && digits.length <= MOST_SERIAL_DIGITS, {
        message: "expected a positive number of at most 20 octets",
      })
      .optional()
      .describe("Serial number of an X509-SVID in hex, with colons or without"),
    certificate: z.string().min(1).max(65_536).optional().describe("An X509-SVID, PEM, the leaf first"),
    token_id: z
      .string()
      .regex(/^[A-Za-z0-9._-]{1,128}$/, "expected the id of a token as in the audit log")
      .optional()
      .describe("Id of a JWT-SVID, WIT-SVID or access token: its `jti`, or as in the audit log"),
    authority_id: z
      .string()
      .regex(/^[0-9a-f]{2,128}$/, "expected a key identifier in lower-case hex")
      .optional()
      .describe("With `serial`, where nothing is known of it: the authority that signed it"),
    spiffe_id: spiffeIdText.optional().describe("With `authority_id`: whose X509-SVID it is"),
    expires_at: timeInput.optional(),
    reason: z
      .enum(REVOCATION_REASONS)
      .default("unspecified")
      .describe("Why, in the words of RFC 5280 §5.3.1; a task's end is reason enough"),
  })
  .refine((value) => NAMES.filter((name) => value[name] !== undefined).length === 1, {
    message: `expected exactly one of ${NAMES.join(", ")}`,
  })
  .refine(
    (value) => {
      const given = FACTS.filter((name) => value[name] !== undefined).length;
      return given === 0 || (given === FACTS.length && value.serial !== undefined);
    },
    { message: `${FACTS.join(", ")} go together, with serial` },
  );

function canonicalSerial(text: string): string {
  const digits = text.replaceAll(":", "").toLowerCase().replace(/^0+/, "");
  return digits.length % 2 === 0 ? digits : `0${digits}`;
}

const outcomeSchema = z
  .object({
    revoked: z
      .array(taskCredentialSchema)
      .describe("What was good before; empty where all was revoked already"),
    published: z
      .boolean()
      .describe("Whether lists and agents say so by now; else it is tried again by itself"),
    incomplete: z.boolean().describe("Whether there may be more that was issued through the agent"),
  })
  .meta({ id: "RevocationOutcome", description: "What came of a revocation" });
