import { z } from "zod";
import { AssayError } from "../../src/errors/assay-error.ts";
import { defineTaskAttestor } from "../../src/plugin/task-attestor.ts";

/** A task attestor as a third party would bring it: a token is `<run>.<serial>`, and whoever can write is believed. */
export const wordAttestor = defineTaskAttestor({
  kind: "taskAttestor",
  apiVersion: 1,
  name: "word",
  config: z.strictObject({ life: z.number().optional() }),
  create: ({ life }, { clock }) => ({
    async attest({ token }) {
      const [, run = "", serial = ""] = /^(\w+)\.(\w+)$/.exec(token) ?? [];
      if (run === "") throw new AssayError("ATTESTATION_FAILED", "the token is no word");
      const now = Math.floor(clock.now() / 1000);
      return {
        platform: "word",
        issuer: "https://ci.example",
        selectors: [{ type: "word", value: "team:one" }],
        guarded: [],
        claims: { run },
        authoredClaims: [],
        taskKey: run,
        granularity: "job",
        description: `run ${run}`,
        replayKey: serial,
        replayUntil: now + 600,
        ...(life !== undefined && { endsBy: now + life }),
      };
    },
    async [Symbol.asyncDispose]() {},
  }),
});
