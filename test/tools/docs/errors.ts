import { CODES } from "../../../src/errors/codes.ts";

/** docs/errors.md: every code with what it becomes at each edge. */
export function describeErrors(): string {
  const rows = Object.entries(CODES).map(([code, { title, grpc, http, audience, retry }]) => {
    return `| <a id="${code.toLowerCase()}"></a>\`${code}\` | ${title} | \`${grpc}\` | ${http} | ${audience} | ${retry ? "yes" : "no"} |`;
  });
  return [
    "# Errors",
    "",
    "Generated from the table in `src/errors/codes.ts`; do not edit. Codes are stable: they appear in logs, audit records",
    "and answers.",
    "",
    "Over gRPC an error is a status with a message. Over HTTP it is a problem document (RFC 9457) whose `type` is",
    "`urn:assay:error:<CODE>`, whose `instance` is `urn:uuid:` and the request id of the log, and whose `errors`, where",
    "there are any, point into the request by JSON Pointer (RFC 6901).",
    "",
    "*Detail for*: who may read what exactly went wrong. With `operator` the caller gets the title alone, and the log or",
    "the audit log has the rest. *Retry*: whether the same request may succeed later without a change.",
    "",
    "| Code | Title | gRPC | HTTP | Detail for | Retry |",
    "|---|---|---|---|---|---|",
    ...rows,
    "",
  ].join("\n");
}
