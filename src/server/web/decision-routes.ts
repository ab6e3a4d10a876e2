import { z } from "zod";
import { AssayError } from "../../errors/assay-error.ts";
import type { HttpRoutes } from "../../http/http-routes.ts";
import { problemResponses } from "../../http/problem.ts";
import { AUDIT_FIELDS, type StoredAuditRecord } from "../../observe/audit-record.ts";

/** What the route needs. */
export interface DecisionRoutesOptions {
  readonly decisions: { find(decisionId: string): Promise<StoredAuditRecord | undefined> };
}

/** Adds `GET /v1/decisions/{id}`: the audit record of one decision. */
export function decisionRoutes(routes: HttpRoutes, options: DecisionRoutesOptions): void {
  routes.get(
    "/v1/decisions/:id",
    {
      schema: {
        tags: ["decisions"],
        summary: "Read the audit record of a decision",
        params: decisionParams,
        response: {
          200: auditRecordSchema,
          ...problemResponses(
            "INVALID_REQUEST",
            "DECISION_NOT_FOUND",
            "CALLER_NOT_IDENTIFIED",
            "AUTHORIZATION_DENIED",
            "RATE_LIMITED",
            "AUDIT_UNAVAILABLE",
          ),
        },
      },
    },
    async ({ params: { id } }) => {
      const record = await options.decisions.find(id);
      if (record === undefined) throw new AssayError("DECISION_NOT_FOUND", `there is no decision ${id}`);
      return { ...record };
    },
  );
}

/** One record of the audit log in an answer. */
export const auditRecordSchema = z
  .object(
    Object.fromEntries(
      Object.entries(AUDIT_FIELDS).map(([name, { type, description }]) => [
        name,
        fieldSchema(type).optional().describe(description),
      ]),
    ),
  )
  .meta({ id: "AuditRecord", description: "One record of the audit log" });

const decisionParams = z.object({
  id: z
    .string()
    .regex(/^[A-Za-z0-9_-]{1,128}$/, "expected 1 to 128 letters, digits, dashes or underscores")
    .describe("The decision id, as in logs and answers"),
});

function fieldSchema(type: "string" | "number" | "string[]") {
  switch (type) {
    case "string":
      return z.string();
    case "number":
      return z.number();
    case "string[]":
      return z.array(z.string()).readonly();
  }
}
