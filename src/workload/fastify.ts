import type { FastifyInstance, FastifyPluginAsync, FastifyReply, FastifyRequest } from "fastify";
import { AssayError, toAssayError } from "../errors/assay-error.ts";
import { CODES } from "../errors/codes.ts";
import type { SpiffeId } from "../spiffe/id.ts";
import { type Authorizer, requireAuthorized } from "./authorize.ts";
import { peerOf } from "./tls-peer.ts";

declare module "fastify" {
  interface FastifyRequest {
    /** The SPIFFE ID that the peer has proved; empty where it has proved none and the route does not ask. */
    spiffeId: SpiffeId | "";
  }
  interface FastifyContextConfig {
    /** Who may call this route, in place of the plugin's own rule; `"anyone"` asks for no SPIFFE ID at all. */
    spiffe?: Authorizer | "anyone";
  }
}

/** How {@link spiffePeers} judges callers. */
export interface SpiffePeersOptions {
  /** Who may call routes that say nothing themselves. */
  readonly authorize: Authorizer;
  /** Told of callers that were turned away, and why. */
  readonly onRefused?: (reason: AssayError, request: FastifyRequest) => void;
}

/**
 * Fastify plugin for applications behind `createHttpsServer`: puts the peer's ID into `request.spiffeId` and answers 403
 * with a problem document (RFC 9457) where the route, or the plugin for routes that say nothing, does not authorize it.
 * A connection that did not come through a guarded server has no ID, so that a plaintext listener beside it opens nothing.
 * A route says who may call it by `config: { spiffe: authorizeId("spiffe://…") }`.
 */
export const spiffePeers: FastifyPluginAsync<SpiffePeersOptions> = Object.assign(
  async (app: FastifyInstance, options: SpiffePeersOptions): Promise<void> => {
    app.decorateRequest("spiffeId", "");
    app.addHook("onRequest", async (request, reply) => {
      const peer = peerOf(request.raw.socket)?.spiffeId;
      request.spiffeId = peer ?? "";
      const rule = request.routeOptions.config.spiffe ?? options.authorize;
      if (rule === "anyone") return undefined;
      const refusal = refusalOf(rule, peer);
      if (refusal === undefined) return undefined;
      options.onRefused?.(refusal, request);
      return refuse(reply);
    });
  },
  // Fastify encloses a plugin's hooks and decorators unless it says this (what fastify-plugin does).
  { [Symbol.for("skip-override")]: true, [Symbol.for("fastify.display-name")]: "assay-spiffe-peers" },
);

function refusalOf(rule: Authorizer, peer: SpiffeId | undefined): AssayError | undefined {
  if (peer === undefined) return new AssayError("PEER_REFUSED", "the peer has proved no SPIFFE ID");
  try {
    requireAuthorized(rule, peer);
    return undefined;
  } catch (error) {
    return toAssayError(error);
  }
}

function refuse(reply: FastifyReply): FastifyReply {
  const { http, title } = CODES.PEER_REFUSED;
  return reply
    .code(http)
    .type("application/problem+json")
    .send(
      JSON.stringify({ type: "urn:assay:error:PEER_REFUSED", title, status: http, code: "PEER_REFUSED" }),
    );
}
