import { createHash } from "node:crypto";
import type { TrustDomain } from "../../spiffe/trust-domain.ts";
import { isKeyId } from "../key-id.ts";

/** What CryptoKeys of one server are called and labelled in Cloud KMS: as SPIRE does, so that either finds the other's. */
export interface CryptoKeyNames {
  /** The ID of a CryptoKey. */
  cryptoKeyIdOf(id: string): string;
  /** The labels of a key in use. @param now Unix seconds. */
  labelsOf(id: string, now: number): Readonly<Record<string, string>>;
  /** The key id of a CryptoKey by its name and labels; `undefined` where it is none of this server's. */
  idOf(name: string, labels: Readonly<Record<string, unknown>>): string | undefined;
  /** Whether labels say that a CryptoKey is of this server and trust domain: two of them may give it one name. */
  isOurs(labels: Readonly<Record<string, string>>): boolean;
  /** Filter for the keys of this server. */
  readonly ownFilter: string;
  /** Filter for keys of other servers of the trust domain that nobody cared for since. @param before Unix seconds. */
  staleFilter(before: number): string;
  /** Whether labels say what that filter asks for. */
  isStale(labels: Readonly<Record<string, string>>, before: number): boolean;
}

/**
 * The names of a server's keys. The trust domain is a label by its SHA-1, as a label takes no dot. A CryptoKey's ID has 63
 * characters at most: a key id for which SPIRE's form leaves no room is replaced in it by the beginning of its SHA-256, and
 * stands whole in labels of ours.
 */
export function cryptoKeyNames(trustDomain: TrustDomain, serverId: string): CryptoKeyNames {
  const prefix = `spire-key-${serverId}-`;
  const domain = createHash("sha1").update(trustDomain).digest("hex");
  const room = MAX_ID - prefix.length;
  const ofDomain = `labels.spire-server-td = ${domain}`;

  return {
    ownFilter: `${ofDomain} AND labels.spire-server-id = ${serverId} AND labels.spire-active = true`,
    staleFilter: (before) =>
      `${ofDomain} AND labels.spire-server-id != ${serverId} AND labels.spire-active = true AND labels.spire-last-update < ${before}`,
    isOurs: (labels) => labels["spire-server-td"] === domain && labels["spire-server-id"] === serverId,
    isStale(labels, before) {
      const { "spire-server-td": td, "spire-server-id": id, "spire-active": active } = labels;
      if (td !== domain || id === undefined || id === serverId || active !== "true") return false;
      return Number(labels["spire-last-update"]) < before;
    },
    cryptoKeyIdOf(id) {
      if (id.length <= room) return `${prefix}${id}`;
      const short = createHash("sha256")
        .update(id)
        .digest("hex")
        .slice(0, room - 1);
      return `${prefix}h${short}`;
    },
    labelsOf(id, now) {
      return {
        "spire-server-td": domain,
        "spire-server-id": serverId,
        "spire-active": "true",
        "spire-last-update": String(now),
        ...(id.length <= room ? {} : wholeId(id)),
      };
    },
    idOf(name, labels) {
      const cryptoKeyId = name.slice(name.lastIndexOf("/") + 1);
      if (!cryptoKeyId.startsWith(prefix)) return undefined;
      const id = readWholeId(labels) ?? cryptoKeyId.slice(prefix.length);
      // Whatever the labels say, a key is what its name says.
      return isKeyId(id) && this.cryptoKeyIdOf(id) === cryptoKeyId ? id : undefined;
    },
  };
}

/** A label has 63 characters of a few kinds, hence hexadecimal, and as many labels as that needs. */
function wholeId(id: string): Readonly<Record<string, string>> {
  const parts =
    Buffer.from(id)
      .toString("hex")
      .match(/.{1,60}/g) ?? [];
  return Object.fromEntries(parts.map((part, index) => [`${WHOLE_ID}${index}`, part]));
}

function readWholeId(labels: Readonly<Record<string, unknown>>): string | undefined {
  let hex = "";
  for (let index = 0; ; index++) {
    const part = labels[`${WHOLE_ID}${index}`];
    if (typeof part !== "string") break;
    hex += part;
  }
  return hex === "" ? undefined : Buffer.from(hex, "hex").toString("latin1");
}

const MAX_ID = 63;
const WHOLE_ID = "assay-key-id-";
