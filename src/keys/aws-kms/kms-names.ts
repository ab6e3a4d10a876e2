import type { TrustDomain } from "../../spiffe/trust-domain.ts";
import type { KmsTag } from "./kms-client.ts";
import { isKeyId } from "../key-id.ts";

/** What keys of one server are called in KMS: exactly as SPIRE calls them, so that either finds the other's. */
export interface KmsNames {
  /** What the aliases of every server of the trust domain begin with. */
  readonly trustDomainPrefix: string;
  /** What the aliases of this server begin with. */
  readonly serverPrefix: string;
  /** What the descriptions of every key of the trust domain begin with. */
  readonly descriptionPrefix: string;
  aliasOf(id: string): string;
  descriptionOf(id: string): string;
  /** The key id in an alias of this server; `undefined` for any other alias. */
  idOf(alias: string): string | undefined;
}

/** The names of a server's keys. KMS allows no dot in an alias, so the trust domain's become underscores. */
export function kmsNames(trustDomain: TrustDomain, serverId: string): KmsNames {
  const domain = trustDomain.replaceAll(".", "_");
  const trustDomainPrefix = `alias/SPIRE_SERVER/${domain}/`;
  const serverPrefix = `${trustDomainPrefix}${serverId}/`;
  const descriptionPrefix = `SPIRE_SERVER_KEY/${domain}/`;
  return {
    trustDomainPrefix,
    serverPrefix,
    descriptionPrefix,
    aliasOf: (id) => `${serverPrefix}${id}`,
    descriptionOf: (id) => `${descriptionPrefix}${id}`,
    idOf(alias) {
      const id = alias.startsWith(serverPrefix) ? alias.slice(serverPrefix.length) : "";
      return isKeyId(id) ? id : undefined;
    },
  };
}

/**
 * The tags by which SPIRE servers that discover keys by tags know a key: without them, or where the time is not
 * refreshed, they take a key with these tags for abandoned after two weeks.
 * @param now Unix seconds.
 */
export function discoveryTags(
  trustDomain: TrustDomain,
  serverId: string,
  id: string,
  now: number,
): readonly KmsTag[] {
  return [
    { TagKey: "spire-server-td", TagValue: trustDomain },
    { TagKey: "spire-server-id", TagValue: serverId },
    { TagKey: "spire-active", TagValue: "true" },
    { TagKey: "spire-key-id", TagValue: id },
    lastUpdateTag(now),
  ];
}

/** The tag that says when its server last cared for a key, in Unix seconds. */
export function lastUpdateTag(now: number): KmsTag {
  return { TagKey: "spire-last-update", TagValue: String(now) };
}
