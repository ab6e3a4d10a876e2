import { createHash } from "node:crypto";
import { type Clock, unixSeconds } from "../clock.ts";
import { AssayError } from "../errors/assay-error.ts";
import { pathFault, type SpiffeId } from "../spiffe/id.ts";
import { agentId } from "../spiffe/reserved.ts";
import type { TrustDomain } from "../spiffe/trust-domain.ts";
import type { JoinTokenUse } from "../store/records.ts";
import type { JoinTokenStore } from "../store/store.ts";
import { entrySpiffeId } from "./entry-rules.ts";

/** A join token to make. */
export interface JoinTokenRequest {
  /** The token itself, one segment of a SPIFFE ID's path; a random one of 128 bits where it is left out or empty. */
  readonly token?: string | undefined;
  /** Seconds, 1 to 2^31−1. */
  readonly ttl: number;
  /** The SPIFFE ID that an entry will give the node that uses the token. */
  readonly aliasId?: string | undefined;
}

/** A join token that was made. Only its hash is kept: nobody will see it again. */
export interface CreatedJoinToken {
  readonly token: string;
  /** Unix seconds. */
  readonly expiresAt: number;
}

/** Join tokens as the registry serves them. */
export interface JoinTokenRegistry {
  /**
   * @throws AssayError `INVALID_REQUEST` for the TTL or the token, `INVALID_SPIFFE_ID` or `INVALID_ENTRY` for the
   * alias, `ALREADY_EXISTS` for a token that was made before.
   */
  create(request: JoinTokenRequest): Promise<CreatedJoinToken>;
  /** Uses up a token, atomically and durably; of parallel calls exactly one is told `consumed`. */
  consume(token: string): Promise<JoinTokenUse>;
  /** Forgets tokens that have expired; gives their number. */
  prune(): Promise<number>;
}

/** What the join tokens of the registry stand on. */
export interface JoinTokenRegistryOptions {
  readonly store: JoinTokenStore;
  readonly trustDomain: TrustDomain;
  readonly clock: Clock;
  readonly randomBytes: (count: number) => Uint8Array;
}

/** Makes the join tokens' part of a registry. */
export function joinTokenRegistry(options: JoinTokenRegistryOptions): JoinTokenRegistry {
  const { store, trustDomain, clock } = options;
  return {
    async create({ token: wanted = "", ttl, aliasId }) {
      const expiresAt = unixSeconds(clock) + checkedTtl(ttl);
      const token = wanted === "" ? randomToken(options) : checkedToken(wanted, trustDomain);
      const alias: { aliasId?: SpiffeId } =
        aliasId === undefined || aliasId === "" ? {} : { aliasId: entrySpiffeId(aliasId, trustDomain) };
      await store.create({ hash: hashOf(token), expiresAt, ...alias });
      return { token, expiresAt };
    },
    consume: (token) => store.consume(hashOf(token), unixSeconds(clock)),
    prune: () => store.prune(unixSeconds(clock)),
  };
}

function randomToken({ randomBytes }: JoinTokenRegistryOptions): string {
  return Buffer.from(randomBytes(TOKEN_BYTES)).toString("hex");
}

function checkedTtl(ttl: number): number {
  if (ttl === 0) throw new AssayError("INVALID_REQUEST", "ttl is required, you must provide one");
  if (Number.isInteger(ttl) && ttl > 0 && ttl <= MAX_TTL) return ttl;
  throw new AssayError("INVALID_REQUEST", `ttl: expected whole seconds from 1 to ${MAX_TTL}`);
}

// The token becomes a segment of the agent's ID; one that cannot would only fail when it is used.
function checkedToken(token: string, trustDomain: TrustDomain): string {
  if (token.includes("/") || pathFault(`/${token}`) !== undefined) {
    throw new AssayError("INVALID_REQUEST", "token: expected letters, numbers, dots, dashes and underscores");
  }
  try {
    agentId(trustDomain, "join_token", token);
  } catch (cause) {
    throw new AssayError("INVALID_REQUEST", "token: too long for the SPIFFE ID of its agent", { cause });
  }
  return token;
}

function hashOf(token: string): string {
  return createHash("sha256").update(token).digest("hex");
}

const TOKEN_BYTES = 16;
const MAX_TTL = 2 ** 31 - 1;
