import { contextConstructed, contextPrimitive, type DerReader, openDer, SEQUENCE } from "./der/reader.ts";
import { constructed, type Der, primitive, sequence } from "./der/writer.ts";

/** What nameConstraints of a CA say about URI names (RFC 5280 §4.2.1.10). */
export interface UriConstraints {
  /** Hosts, or with a leading dot the domains below one, of which a URI must have one; `undefined` where all may be. */
  readonly permitted: readonly string[] | undefined;
  /** Hosts and domains that a URI must not have. */
  readonly excluded: readonly string[];
  /** Whether they say something about names of other kinds too, which is not read here. */
  readonly hasOthers: boolean;
}

/**
 * Reads a nameConstraints extension as far as it is about URI names, by which alone an X509-SVID is known (X509-SVID §4.2);
 * at most 256 subtrees of each sort.
 * @throws AssayError `INVALID_CERTIFICATE`.
 */
export function readUriConstraints(value: Uint8Array): UriConstraints {
  const outer = openDer(value, "INVALID_CERTIFICATE", MAX_BYTES, "nameConstraints");
  const fields = outer.enter(SEQUENCE, "nameConstraints");
  outer.done("nameConstraints");
  if (!fields.more()) fields.fail("name constraints must not be empty");
  const permitted = fields.is(contextConstructed(0)) ? subtrees(fields, 0) : NO_SUBTREES;
  const excluded = fields.is(contextConstructed(1)) ? subtrees(fields, 1) : NO_SUBTREES;
  fields.done("nameConstraints");
  return {
    // With no URI among the permitted names, constraints say nothing about URIs.
    permitted: permitted.hosts.length === 0 ? undefined : permitted.hosts,
    excluded: excluded.hosts,
    hasOthers: permitted.hasOthers || excluded.hasOthers,
  };
}

/**
 * Whether a URI satisfies the constraints: its host is permitted and not excluded. One without a host does not, as RFC 5280
 * wants it.
 */
export function permitsUri({ permitted, excluded }: UriConstraints, uri: string): boolean {
  if (permitted === undefined && excluded.length === 0) return true;
  const host = HOST.exec(uri)?.[1]?.toLowerCase() ?? "";
  if (host === "") return false;
  const matches = (constraint: string) => {
    const wanted = constraint.toLowerCase();
    return wanted.startsWith(".") ? host.endsWith(wanted) && host.length > wanted.length : host === wanted;
  };
  return !excluded.some(matches) && (permitted === undefined || permitted.some(matches));
}

/** The value of nameConstraints that permits one trust domain's SPIFFE IDs and no other URI. */
export function writeUriConstraint(trustDomain: string): Der {
  return sequence(constructed(0xa0, [sequence(primitive(URI, trustDomain))]));
}

/** Object identifier of nameConstraints. */
export const NAME_CONSTRAINTS = "2.5.29.30";

interface Subtrees {
  readonly hosts: readonly string[];
  readonly hasOthers: boolean;
}

function subtrees(fields: DerReader, tag: number): Subtrees {
  const list = fields.enter(contextConstructed(tag), "name subtrees");
  const hosts: string[] = [];
  let count = 0;
  if (!list.more()) list.fail("name subtrees must not be an empty list");
  while (list.more()) {
    if (++count > MAX_SUBTREES) list.fail(`nameConstraints must have at most ${MAX_SUBTREES} subtrees`);
    const subtree = list.enter(SEQUENCE, "name subtree");
    if (subtree.is(contextPrimitive(6))) {
      hosts.push(text(subtree.content(contextPrimitive(6), "URI of a subtree")));
    } else subtree.anyElement("name of a subtree");
    // RFC 5280 §4.2.1.10: minimum is 0 and so left out, maximum is absent.
    subtree.done("name subtree");
  }
  return { hosts, hasOthers: hosts.length < count };
}

function text(content: Uint8Array): string {
  return Buffer.from(content.buffer, content.byteOffset, content.length).toString("latin1");
}

const NO_SUBTREES: Subtrees = { hosts: [], hasOthers: false };
// Scheme, and of the authority the host without user and port (RFC 3986 §3.2).
const HOST = /^[a-z][a-z0-9+.-]*:\/\/(?:[^/?#@]*@)?([^/?#@:]*)/i;
const URI = 0x86;
const MAX_BYTES = 65_536;
const MAX_SUBTREES = 256;
