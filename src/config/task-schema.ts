import { z } from "zod";
import * as kind from "./kinds.ts";
import type { ConfigProblem } from "./problems.ts";

/** Task attestors: whose tokens open tasks, each under a name of the operator's. */
export const taskAttestorsSchema = z
  .array(
    z.strictObject({
      name: z
        .string()
        .refine((name) => /^[a-z0-9-]{1,64}$/.test(name), { error: "expected 1 to 64 of a-z 0-9 -" })
        .meta({
          description: "Name of this attestor; its entries have the parent ID `/spire/task/<name>`",
        }),
      type: z
        .string()
        .regex(/^[a-z][a-z0-9_-]{0,62}$/)
        .default("oidc")
        .meta({ description: "Name of the plugin" }),
      module: z.string().min(1).max(4096).optional().meta({
        description: "npm package or absolute path that the plugin is loaded from; built in where absent",
      }),
      config: z.unknown().optional().meta({ description: "The plugin's own settings, as its page says" }),
    }),
  )
  .max(64)
  .default([])
  .meta({
    description: "Task attestors, each name once; they need `jwt_issuer`, the audience of their tokens",
  });

/** How long tasks live. */
export const tasksSchema = z
  .strictObject({
    lease: kind
      .lifetime("60s", "300s")
      .prefault("2m")
      .meta({ description: "How long a task lives without a heartbeat" }),
    max_duration: kind
      .lifetime("1m", "6h")
      .prefault("6h")
      .meta({ description: "How long a task lives at most, whatever its platform and entries allow" }),
    grace: kind
      .lifetime("0s", "2m")
      .prefault("30s")
      .meta({ description: "How long after its task's lease an SVID may still be good, by its own words" }),
  })
  .prefault({});

/** What a schema cannot say: how keys of tasks fit together and with the rest. */
export function taskProblems(parsed: {
  readonly jwt_issuer?: string | undefined;
  readonly task_attestors: z.output<typeof taskAttestorsSchema>;
}): readonly ConfigProblem[] {
  const { task_attestors: attestors, jwt_issuer: issuer } = parsed;
  const problems: ConfigProblem[] = [];
  if (attestors.length > 0 && issuer === undefined) {
    problems.push({
      path: ["jwt_issuer"],
      text: "is missing, task_attestors need it: it is the audience that a platform's token must name",
    });
  }
  for (const [at, { name }] of attestors.entries()) {
    if (attestors.findIndex((other) => other.name === name) === at) continue;
    problems.push({
      path: ["task_attestors", at, "name"],
      text: `expected each name once, got ${name} twice (rename one)`,
    });
  }
  return problems;
}
