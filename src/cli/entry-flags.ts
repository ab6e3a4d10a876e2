import { SVID_KEY_TYPES, svidKeyTypeOf } from "../spiffe/svid-key-type.ts";
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { Command } from "commander";
import { AssayError } from "../errors/assay-error.ts";
import type { Entry, EntryMaskSchema, EntrySchema } from "../proto/gen/spire/api/types/entry_pb.ts";
import { secondsOf } from "./duration-flag.ts";
import { collect } from "./options.ts";
import { typedTrustDomain, wireId, wireSelectors } from "./wire-text.ts";

/** What an entry is described with, on the command line or in a file. A field that was not given is absent. */
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
  readonly idTemplate?: string;
  readonly maxTaskDuration?: string;
  readonly exchangeAudience?: readonly string[];
  readonly svidKeyType?: string;
}

/** An entry to be sent. */
export type EntryDraft = Exclude<MessageInitShape<typeof EntrySchema>, Entry>;

/** How messages call the fields that can be malformed. */
export type EntryFieldNames = Readonly<
  Record<
    | "spiffeId"
    | "parentId"
    | "selector"
    | "x509SvidTtl"
    | "jwtSvidTtl"
    | "federatesWith"
    | "expiresAt"
    | "maxTaskDuration"
    | "svidKeyType",
    string
  >
>;

/** Adds the flags of an entry's fields. Each switch can be turned off too, so that an update can take it back. */
export function withEntryFlags(command: Command): Command {
  command
    .option("--spiffe-id <id>", "the SPIFFE ID that is earned")
    .option(
      "--parent-id <id>",
      "who may hand it out: an agent's ID, a node alias, or /spire/task/ and a task attestor's name",
    )
    .option("--node", "make a node alias: the parent is the server itself")
    .option("--selector <type:value>", "a selector that must be found; may be given again", collect)
    .option("--x509-svid-ttl <duration>", "lifetime of X509-SVIDs, such as 1h, or default")
    .option("--jwt-svid-ttl <duration>", "lifetime of JWT-SVIDs, such as 5m, or default")
    .option(
      "--federates-with <trust-domain>",
      "a foreign trust domain, or '' for none; may be given again",
      collect,
    )
    .option("--dns-name <name>", "a DNS name in X509-SVIDs, or '' for none; may be given again", collect)
    .option("--hint <hint>", "tells a workload's several identities apart")
    .option("--expires-at <time>", "RFC 3339 time after which nothing is earned, or never")
    .option(
      "--id-template <path>",
      "of tasks: the ID's path over verified claims, such as /ci/{repository_id}/run/{run_id}, or '' for none",
    )
    .option("--max-task-duration <duration>", "of tasks: the longest life of one, such as 1h, or default")
    .option(
      "--exchange-audience <audience>",
      "what it may be exchanged for access tokens for, or '' for none; may be given again",
      collect,
    )
    .option(
      "--svid-key-type <type>",
      `the one type of key of its SVIDs: ${SVID_KEY_TYPES.join(", ")}, or any`,
    );
  for (const [name, description] of SWITCHES) {
    command.option(`--${name}`, description).option(`--no-${name}`, `not --${name}`);
  }
  return command;
}

/**
 * The entry that is described; fields that were not given keep the wire's default.
 * @throws AssayError `USAGE` naming the field.
 */
export function entryFromFlags(flags: EntryFlags, names: EntryFieldNames = FLAG_NAMES): EntryDraft {
  const parentId = parentOf(flags, names);
  return {
    ...(flags.spiffeId === undefined ? {} : { spiffeId: wireId(flags.spiffeId, names.spiffeId) }),
    ...(parentId === undefined ? {} : { parentId }),
    selectors: wireSelectors(flags.selector ?? [], names.selector),
    x509SvidTtl: ttl(flags.x509SvidTtl, names.x509SvidTtl),
    jwtSvidTtl: ttl(flags.jwtSvidTtl, names.jwtSvidTtl),
    federatesWith: given(flags.federatesWith).map((text) => typedTrustDomain(text, names.federatesWith)),
    dnsNames: given(flags.dnsName),
    hint: flags.hint ?? "",
    expiresAt: expiry(flags.expiresAt, names.expiresAt),
    admin: flags.admin ?? false,
    downstream: flags.downstream ?? false,
    storeSvid: flags.storeSvid ?? false,
    additionalAttributes: {
      disableX509SvidPrefetch: flags.x509Prefetch === false,
      jwtSvidIncludeJti: flags.includeJti ?? false,
    },
    ...(namesExtension(flags) && {
      assay: {
        idTemplate: flags.idTemplate ?? "",
        maxTaskDuration: ttl(flags.maxTaskDuration, names.maxTaskDuration),
        exchangeAudiences: given(flags.exchangeAudience),
        svidKeyType: keyType(flags.svidKeyType, names.svidKeyType),
      },
    }),
  };
}

/** The mask that names the fields that were given. */
export function maskOfFlags(flags: EntryFlags): MessageInitShape<typeof EntryMaskSchema> {
  const isGiven: Record<string, boolean> = {
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
    additionalAttributes: flags.x509Prefetch !== undefined || flags.includeJti !== undefined,
    assay: namesExtension(flags),
  };
  return Object.fromEntries(Object.entries(isGiven).filter(([, value]) => value));
}

function namesExtension({ idTemplate, maxTaskDuration, exchangeAudience, svidKeyType }: EntryFlags): boolean {
  return [idTemplate, maxTaskDuration, exchangeAudience, svidKeyType].some((given) => given !== undefined);
}

function keyType(text: string | undefined, name: string): string {
  if (text === undefined || text === "" || text === "any") return "";
  if (svidKeyTypeOf(text) !== undefined) return text;
  throw new AssayError("USAGE", `${name}: expected one of ${SVID_KEY_TYPES.join(", ")}, or any`);
}

function parentOf(flags: EntryFlags, names: EntryFieldNames) {
  if (flags.node !== true)
    return flags.parentId === undefined ? undefined : wireId(flags.parentId, names.parentId);
  if (flags.parentId !== undefined)
    throw new AssayError("USAGE", "--node and --parent-id exclude each other");
  if (flags.spiffeId === undefined)
    throw new AssayError("USAGE", "--node needs --spiffe-id, which names the trust domain");
  return { trustDomain: wireId(flags.spiffeId, names.spiffeId).trustDomain, path: "/spire/server" };
}

// An empty value is how a command line says "none".
function given(values: readonly string[] | undefined): string[] {
  return (values ?? []).filter((value) => value !== "");
}

function ttl(text: string | undefined, name: string): number {
  return text === undefined || text === "default" ? 0 : secondsOf(text, name);
}

function expiry(text: string | undefined, name: string): bigint {
  if (text === undefined || text === "never") return 0n;
  const milliseconds = RFC_3339.test(text) ? Date.parse(text) : Number.NaN;
  if (Number.isNaN(milliseconds)) {
    throw new AssayError(
      "USAGE",
      `${name}: expected a time such as 2030-01-31T12:00:00Z, got ${JSON.stringify(text)}`,
    );
  }
  return BigInt(Math.floor(milliseconds / 1000));
}

const SWITCHES = [
  ["admin", "the SVID may call the server's operator API"],
  ["downstream", "the SVID may have an intermediate authority signed"],
  ["store-svid", "for stores of SVIDs, not for the Workload API"],
  ["x509-prefetch", "have X509-SVIDs ready before they are asked for (the default)"],
  ["include-jti", "every JWT-SVID carries a jti and is never served from a cache"],
] as const;
const FLAG_NAMES: EntryFieldNames = {
  spiffeId: "--spiffe-id",
  parentId: "--parent-id",
  selector: "--selector",
  x509SvidTtl: "--x509-svid-ttl",
  jwtSvidTtl: "--jwt-svid-ttl",
  federatesWith: "--federates-with",
  expiresAt: "--expires-at",
  maxTaskDuration: "--max-task-duration",
  svidKeyType: "--svid-key-type",
};
const RFC_3339 = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})$/;
