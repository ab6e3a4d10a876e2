import type { NewTask } from "../../src/store/task-store.ts";

/** A task to open at this time, with a lease of two minutes and an hour at most. */
export function sampleTask(id: string, now: number, change: Partial<NewTask> = {}): NewTask {
  return {
    id,
    key: `github:run-${id}`,
    attestor: "github",
    platform: "github-actions",
    issuer: "https://token.actions.githubusercontent.com",
    description: `run ${id}`,
    granularity: "job",
    keyThumbprint: "a".repeat(43),
    selectors: [{ type: "github", value: "repository_id:42" }],
    guarded: [],
    claims: { repository_id: "42", run_id: id, ref: "refs/heads/main" },
    authoredClaims: ["ref"],
    openedAt: now,
    lease: 120,
    leaseExpiresAt: now + 120,
    hardEnd: now + 3600,
    ...change,
  };
}
