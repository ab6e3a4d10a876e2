import { AUDIT_EVENTS } from "../../../src/observe/audit-events.ts";
import { AUDIT_FIELDS } from "../../../src/observe/audit-record.ts";

/** docs/audit-log.md: the file, its chain, its events and its fields. */
export function describeAuditLog(): string {
  return [
    "# Audit log",
    "",
    "Generated from the tables in `src/observe`; do not edit.",
    "",
    "The audit log has one record for each decision and each change. It is apart from the program's log, one JSON object a",
    "line, readable by its owner only, and only ever appended to. A record is written before the answer leaves; where it",
    "cannot be written, nothing is issued. Tokens, keys and SVIDs are never in it: an SVID is named by `serial` or `jti`.",
    "",
    "Each record carries the SHA-256 of the line before it, so that a line changed, removed, added or moved shows. The",
    "chain goes on over rotated files (`audit.jsonl.1` is the one before `audit.jsonl`). What a crash left half-written is",
    "moved to `audit.jsonl.torn` at the next start, and an `audit.recovered` record says so. The chain shows tampering by",
    "those who cannot write all of it anew; to keep out those who can, ship the lines to another machine as they come.",
    "",
    "Removing or renaming a field is a breaking change.",
    "",
    "## Events",
    "",
    "| Event | Meaning |",
    "|---|---|",
    ...Object.entries(AUDIT_EVENTS).map(([name, meaning]) => `| \`${name}\` | ${meaning} |`),
    "",
    "## Fields",
    "",
    "A field that does not apply is left out. `seq`, `prev`, `time`, `event` and `outcome` are always there.",
    "",
    "| Field | Type | Meaning |",
    "|---|---|---|",
    ...Object.entries(AUDIT_FIELDS).map(
      ([name, { type, description }]) => `| \`${name}\` | ${type} | ${description} |`,
    ),
    "",
  ].join("\n");
}
