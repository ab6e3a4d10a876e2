import type { ErrorCode } from "../../errors/codes.ts";
import { problemResponses } from "../../http/problem.ts";

/** What the document says of a route of the task API. */
export function aboutTask(summary: string): { tags: string[]; summary: string } {
  return { tags: ["task"], summary };
}

/** The problems that every route of the task API has, and these. */
export function taskProblems(...more: readonly ErrorCode[]) {
  return problemResponses(
    "INVALID_ACCESS_TOKEN",
    "INVALID_DPOP_PROOF",
    "DPOP_NONCE_REQUIRED",
    "TASK_NOT_FOUND",
    "TASK_OVER",
    "RATE_LIMITED",
    ...more,
  );
}
