import { z } from "zod";
import { AssayError } from "../../../errors/assay-error.ts";
import { defineNodeAttestor } from "../../../plugin/node-attestor.ts";
import { pathFault } from "../../../spiffe/id.ts";
import { agentId } from "../../../spiffe/reserved.ts";

/** The server's half of `join_token`: the evidence is a secret that the server made, and that works once. */
export const joinToken = defineNodeAttestor({
  kind: "nodeAttestor",
  apiVersion: 1,
  name: "join_token",
  config: z.strictObject({}),
  create: (_config, host) => ({
    async attest({ payload }, signal) {
      signal.throwIfAborted();
      const joinTokenText = tokenIn(payload);
      // The ID is made first: a token must not be used up for an agent that could not be named.
      const id = agentId(host.trustDomain, "join_token", joinTokenText);
      await consume(() => host.consumeJoinToken(joinTokenText));
      return { agentId: id, selectors: [], canReattest: false };
    },
    async [Symbol.asyncDispose]() {},
  }),
});

/** The token as text, if it could be one: it becomes one segment of the agent's path (SPIFFE-ID §2.2). */
function tokenIn(payload: Uint8Array): string {
  const text = Buffer.from(payload.buffer, payload.byteOffset, payload.length).toString("latin1");
  const fits = text.length >= 1 && text.length <= MAX_TOKEN_BYTES && !text.includes("/");
  if (!fits || pathFault(`/${text}`) !== undefined) throw refused();
  return text;
}

async function consume(use: () => Promise<void>): Promise<void> {
  try {
    await use();
  } catch (error) {
    // One text for every reason, so that nobody learns which tokens exist.
    throw error instanceof AssayError && error.code === "JOIN_TOKEN_INVALID" ? refused(error) : error;
  }
}

function refused(cause?: unknown): AssayError {
  return new AssayError("JOIN_TOKEN_INVALID", "join token does not exist or has already been used", {
    cause,
  });
}

const MAX_TOKEN_BYTES = 1024;
