import type { MessageInitShape } from "@bufbuild/protobuf";
import type { Command } from "commander";
import { parseDuration } from "../config/duration.ts";
import { AssayError } from "../errors/assay-error.ts";
import type { EntryMaskSchema, EntrySchema } from "../proto/gen/spire/api/types/entry_pb.ts";
import { collect } from "./options.ts";
import { wireId, wireSelectors } from "./wire-text.ts";

/** What an entry is described with on the command line. */
export interface EntryFlags {
  readonly spiffeId?: string;
  readonly parentId?: string;
  readonly node?: boolean;
  readonly selector?: readonly string[];
  readonly x509SvidTtl?: string;
  readonly jwtSvidTtl?: string;
  readonly federatesWith?: readonly string[];
  readonly dnsName?: readonly string[];
  readonly hint?: string;
  readonly expiresAt?: string;
  readonly admin?: boolean;
  readonly downstream?: boolean;
  readonly storeSvid?: boolean;
  readonly x509Prefetch?: boolean;
  readonly includeJti?: boolean;
}

/** Adds the flags of an entry's fields. */
export function withEntryFlags(command: Command): Command {
  return command
    .option("--spiffe-id <id>", "the SPIFFE ID that is earned")
    .option("--parent-id <id>", "who may hand it out: an agent's ID or a node alias")
    .option("--node", "make a node alias: the parent is the server itself")
    .option("--selector <type:value>", "a selector that must be found; may be given again", collectOptional)
    .option("--x509-svid-ttl <duration>", "lifetime of X509-SVIDs, e.g. 1h (default: the server's)")
    .option("--jwt-svid-ttl <duration>", "lifetime of JWT-SVIDs, e.g. 5m (default: the server's)")
    .option("--federates-with <trust-domain>", "a foreign trust domain; may be given again", collectOptional)
    .option("--dns-name <name>", "a DNS name in X509-SVIDs; may be given again", collectOptional)
    .option("--hint <hint>", "tells a workload's several identities apart")
    .option("--expires-at <time>", "RFC 3339 time after which nothing is earned")
    .option("--admin", "the SVID may call the server's operator API")
    .option("--downstream", "the SVID may have an intermediate authority signed")
    .option("--store-svid", "for stores of SVIDs, not for the Workload API")
    .option("--no-x509-prefetch", "sign X509-SVIDs only when asked for")
    .option("--include-jti", "every JWT-SVID carries a jti and is never served from a cache");
}

/** The entry that the flags describe; fields whose flag is absent keep the wire's default. @throws AssayError `USAGE`. */
export function entryFromFlags(flags: EntryFlags): MessageInitShape<typeof EntrySchema> {
  if (flags.node === true && flags.parentId !== undefined) {
    throw new AssayError("USAGE", "--node and --parent-id exclude each other");
  }
  const parentId = flags.node === true ? serverIdOf(flags.spiffeId) : flags.parentId;
  return {
    ...(flags.spiffeId === undefined ? {} : { spiffeId: wireId(flags.spiffeId) }),
    ...(parentId === undefined ? {} : { parentId: wireId(parentId) }),
    selectors: wireSelectors(flags.selector ?? []),
    x509SvidTtl: seconds("--x509-svid-ttl", flags.x509SvidTtl),
    jwtSvidTtl: seconds("--jwt-svid-ttl", flags.jwtSvidTtl),
    federatesWith: [...(flags.federatesWith ?? [])],
    dnsNames: [...(flags.dnsName ?? [])],
    hint: flags.hint ?? "",
    expiresAt: expiry(flags.expiresAt),
    admin: flags.admin ?? false,
    downstream: flags.downstream ?? false,
    storeSvid: flags.storeSvid ?? false,
    additionalAttributes: {
      disableX509SvidPrefetch: flags.x509Prefetch === false,
      jwtSvidIncludeJti: flags.includeJti ?? false,
    },
  };
}

/** The mask that names the fields whose flags are there. */
export function maskOfFlags(flags: EntryFlags): MessageInitShape<typeof EntryMaskSchema> {
  const given: Record<string, boolean> = {
    spiffeId: flags.spiffeId !== undefined,
    parentId: flags.parentId !== undefined || flags.node === true,
    selectors: flags.selector !== undefined,
    x509SvidTtl: flags.x509SvidTtl !== undefined,
    jwtSvidTtl: flags.jwtSvidTtl !== undefined,
    federatesWith: flags.federatesWith !== undefined,
    dnsNames: flags.dnsName !== undefined,
    hint: flags.hint !== undefined,
    expiresAt: flags.expiresAt !== undefined,
    admin: flags.admin !== undefined,
    downstream: flags.downstream !== undefined,
    storeSvid: flags.storeSvid !== undefined,
    additionalAttributes: flags.x509Prefetch === false || flags.includeJti !== undefined,
  };
  return Object.fromEntries(Object.entries(given).filter(([, isGiven]) => isGiven));
}

function collectOptional(value: string, before: readonly string[] | undefined): readonly string[] {
  return collect(value, before ?? []);
}

function serverIdOf(spiffeId: string | undefined): string {
  if (spiffeId === undefined)
    throw new AssayError("USAGE", "--node needs --spiffe-id, which names the trust domain");
  return `spiffe://${wireId(spiffeId).trustDomain}/spire/server`;
}

function seconds(flag: string, text: string | undefined): number {
  if (text === undefined) return 0;
  const milliseconds = parseDuration(text, flag);
  if (milliseconds % 1000 !== 0) throw new AssayError("USAGE", `${flag}: expected whole seconds`);
  return milliseconds / 1000;
}

function expiry(text: string | undefined): bigint {
  if (text === undefined) return 0n;
  const milliseconds = Date.parse(text);
  if (Number.isNaN(milliseconds))
    throw new AssayError("USAGE", "--expires-at: expected a time such as 2030-01-31T12:00:00Z");
  return BigInt(Math.floor(milliseconds / 1000));
}
