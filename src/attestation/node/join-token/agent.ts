import { z } from "zod";
import { AssayError } from "../../../errors/assay-error.ts";
import { readBounded } from "../../../files/read-bounded.ts";
import { defineAgentNodeAttestor } from "../../../plugin/agent-node-attestor.ts";

/** The agent's half of `join_token`: shows the token it was given, once. */
export const joinTokenAgent = defineAgentNodeAttestor({
  kind: "agentNodeAttestor",
  apiVersion: 1,
  name: "join_token",
  config: z
    .strictObject({
      token: z.string().min(1).max(1024).optional().describe("The join token itself"),
      token_file: z
        .string()
        .min(1)
        .max(4096)
        .optional()
        .describe("File that holds the join token; white space around it is ignored"),
    })
    .refine((config) => (config.token === undefined) !== (config.token_file === undefined), {
      message: "exactly one of token and token_file must be set",
    }),
  create: ({ token, token_file: tokenFile }) => ({
    async begin(signal) {
      signal.throwIfAborted();
      const text = token ?? (await readToken(tokenFile ?? ""));
      return {
        payload: Buffer.from(text, "utf8"),
        async answer() {
          throw new AssayError("ATTESTATION_FAILED", "the server sent a challenge, join_token has none");
        },
      };
    },
    async [Symbol.asyncDispose]() {},
  }),
});

async function readToken(path: string): Promise<string> {
  const text = (await readBounded(path, MAX_FILE_BYTES, { code: "CONFIG_INVALID" })).toString("utf8").trim();
  if (text === "") throw new AssayError("CONFIG_INVALID", `token_file ${path} is empty`);
  return text;
}

const MAX_FILE_BYTES = 4096;
