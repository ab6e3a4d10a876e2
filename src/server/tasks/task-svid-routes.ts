import type { FastifyRequest } from "fastify";
import { z } from "zod";
import { AssayError } from "../../errors/assay-error.ts";
import type { ErrorCode } from "../../errors/codes.ts";
import type { HttpRoutes } from "../../http/http-routes.ts";
import type { TaskIssuance } from "../../issuance/tasks/task-issuance.ts";
import type { TaskCaller } from "../../issuance/tasks/task-options.ts";
import type { IdentityChoice } from "../../issuance/tasks/task-svids.ts";
import type { TaskIdentity } from "../../registry/task-identities.ts";
import { parseSpiffeId } from "../../spiffe/id.ts";
import { spiffeIdText, timeOutput, timeText } from "../web/json-values.ts";
import { aboutTask, taskProblems } from "./task-document.ts";

/** Adds the SVIDs of the task API. */
export function taskSvidRoutes(
  routes: HttpRoutes,
  issuance: Pick<TaskIssuance, "x509Svid" | "jwtSvid" | "witSvid">,
  callerOf: (request: FastifyRequest) => TaskCaller,
): void {
  routes.post(
    "/v1/task/x509-svid",
    {
      schema: {
        ...aboutTask("Get an X509-SVID"),
        description:
          "The signing request gives its public key and nothing else; it need not be the key that the task is bound to.",
        body: x509Order,
        response: { 200: x509Answer, ...taskProblems("INVALID_CSR", ...FAULTS) },
      },
    },
    async (request) => {
      const csr = bytesOf(request.body.csr, "csr");
      const { svid, identity } = await issuance.x509Svid(callerOf(request), {
        csr,
        ...choiceOf(request.body),
      });
      return {
        ...identityOf(identity),
        x509_svid: svid.chain.map(base64),
        expires_at: timeText(svid.notAfter),
      };
    },
  );

  routes.post(
    "/v1/task/jwt-svid",
    {
      schema: {
        ...aboutTask("Get a JWT-SVID"),
        description: "Its claim `task` names the run, by what the platform itself vouches for.",
        body: jwtOrder,
        response: { 200: jwtAnswer, ...taskProblems("INVALID_AUDIENCE", ...FAULTS) },
      },
    },
    async (request) => {
      const { audience, status } = request.body;
      const order = { audience, status, ...choiceOf(request.body) };
      const { svid, identity } = await issuance.jwtSvid(callerOf(request), order);
      return { ...identityOf(identity), jwt_svid: svid.token, expires_at: timeText(svid.expiresAt) };
    },
  );

  routes.post(
    "/v1/task/wit-svid",
    {
      schema: {
        ...aboutTask("Get a WIT-SVID"),
        description: "Where the profile is switched on. Bound to a key that the caller names.",
        body: witOrder,
        response: { 200: witAnswer, ...taskProblems("UNIMPLEMENTED", ...FAULTS) },
      },
    },
    async (request) => {
      const { public_key, signing_algorithm: signingAlgorithm, proof } = request.body;
      const order = {
        publicKey: bytesOf(public_key, "public_key"),
        signingAlgorithm,
        ...(proof !== undefined && { proof }),
        ...choiceOf(request.body),
      };
      const { svid, identity } = await issuance.witSvid(callerOf(request), order);
      return { ...identityOf(identity), wit_svid: svid.token, expires_at: timeText(svid.expiresAt) };
    },
  );
}

/** @throws AssayError `INVALID_SPIFFE_ID`. */
function choiceOf({ spiffe_id: id }: { readonly spiffe_id?: string | undefined }): IdentityChoice {
  return id === undefined ? {} : { spiffeId: parseSpiffeId(id) };
}

function identityOf({ entry, spiffeId }: TaskIdentity) {
  return { spiffe_id: spiffeId, hint: entry.hint };
}

/** Bytes of base64 in its one spelling (RFC 4648 §4), padded. @throws AssayError `INVALID_REQUEST`. */
function bytesOf(text: string, member: string): Uint8Array {
  const bytes = Buffer.from(text, "base64");
  if (bytes.toString("base64") === text) return bytes;
  throw new AssayError("INVALID_REQUEST", `${member}: expected base64`);
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("base64");
}

const FAULTS = [
  "INVALID_REQUEST",
  "INVALID_SPIFFE_ID",
  "NO_IDENTITY_ISSUED",
  "POLICY_DENIED",
  "AUDIT_UNAVAILABLE",
  "STORE_UNAVAILABLE",
  "KEY_UNAVAILABLE",
  "AUTHORITY_EXPIRED",
] as const satisfies readonly ErrorCode[];

const choice = {
  spiffe_id: spiffeIdText.optional().describe("Which of the task's identities; its first where absent"),
};
const identity = {
  spiffe_id: z.string().describe("SPIFFE ID of the SVID"),
  hint: z.string().describe("The entry's hint; may be empty"),
  expires_at: timeOutput,
};

const x509Order = z
  .strictObject({
    csr: z.string().min(1).max(22_000).describe("DER of a PKCS#10 signing request, base64"),
    ...choice,
  })
  .meta({ id: "TaskX509SvidOrder", description: "An X509-SVID to make" });

const x509Answer = z
  .object({
    ...identity,
    x509_svid: z.array(z.string()).describe("Chain, leaf first, each DER in base64"),
  })
  .meta({ id: "TaskX509Svid", description: "An X509-SVID" });

const jwtOrder = z
  .strictObject({
    audience: z.array(z.string().min(1).max(1024)).min(1).max(32).describe("Audiences, one or more"),
    status: z
      .boolean()
      .default(false)
      .describe("Whether it carries a place in a status list, where its revocation can be looked up"),
    ...choice,
  })
  .meta({ id: "TaskJwtSvidOrder", description: "A JWT-SVID to make" });

const jwtAnswer = z
  .object({ ...identity, jwt_svid: z.string().describe("JWS compact serialisation: a secret") })
  .meta({ id: "TaskJwtSvid", description: "A JWT-SVID" });

const witOrder = z
  .strictObject({
    public_key: z.string().min(1).max(4096).describe("DER of a SubjectPublicKeyInfo, base64"),
    signing_algorithm: z.string().min(1).max(16).describe("JWS algorithm that the key signs by"),
    proof: z
      .string()
      .min(1)
      .max(2048)
      .optional()
      .describe("Proof of possession of the key; the task's own key needs none"),
    ...choice,
  })
  .meta({ id: "TaskWitSvidOrder", description: "A WIT-SVID to make" });

const witAnswer = z
  .object({ ...identity, wit_svid: z.string().describe("JWS compact serialisation") })
  .meta({ id: "TaskWitSvid", description: "A WIT-SVID" });
