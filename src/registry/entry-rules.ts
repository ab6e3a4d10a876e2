import { SVID_KEY_TYPES, type SvidKeyType, svidKeyTypeOf } from "../spiffe/svid-key-type.ts";
import { AssayError, type Violation } from "../errors/assay-error.ts";
import type { ErrorCode } from "../errors/codes.ts";
import { isMemberOf, parseSpiffeId, pathOf, type SpiffeId, spiffeIdFault } from "../spiffe/id.ts";
import { isReservedPath, isTaskPath, taskInstanceOf } from "../spiffe/reserved.ts";
import { canonicalSelectors, type Selector, selectorOf } from "../spiffe/selector.ts";
import { parseTrustDomainOrId, type TrustDomain } from "../spiffe/trust-domain.ts";
import type { EntryContent } from "../store/records.ts";
import { dnsNameFault } from "./dns-name.ts";
import { parseIdTemplate, prefixIdOf } from "./id-template.ts";
import { exchangeAudience, taskRuleFaults } from "./task-entry-rules.ts";

/** A registration entry as somebody wrote it, on whichever protocol: nothing is checked yet. */
export interface EntryDraft {
  /** Chosen by the registry where it is left out or empty. */
  readonly id?: string | undefined;
  /** With a template it may be empty: it is then what the template says before its first claim. */
  readonly spiffeId: string;
  readonly parentId: string;
  readonly selectors: readonly Selector[];
  readonly x509SvidTtl?: number | undefined;
  readonly jwtSvidTtl?: number | undefined;
  /** Bare names or `spiffe://` URIs. */
  readonly federatesWith?: readonly string[] | undefined;
  readonly admin?: boolean | undefined;
  readonly downstream?: boolean | undefined;
  readonly storeSvid?: boolean | undefined;
  readonly expiresAt?: number | undefined;
  readonly dnsNames?: readonly string[] | undefined;
  readonly hint?: string | undefined;
  readonly disableX509SvidPrefetch?: boolean | undefined;
  readonly jwtSvidIncludeJti?: boolean | undefined;
  readonly idTemplate?: string | undefined;
  readonly maxTaskDuration?: number | undefined;
  readonly exchangeAudiences?: readonly string[] | undefined;
  readonly svidKeyType?: string | undefined;
}

/**
 * Checks a draft against every rule of a registration entry and gives its content in canonical form: selectors and
 * trust domains sorted and each once, DNS names each once in their order.
 * @throws AssayError of the first thing that is wrong (`INVALID_SPIFFE_ID`, `INVALID_SELECTOR`,
 * `INVALID_TRUST_DOMAIN`, `INVALID_AUDIENCE` or `INVALID_ENTRY`), with all of them as violations.
 */
export function validateEntry(draft: EntryDraft, trustDomain: TrustDomain): EntryContent {
  const faults: Fault[] = [];
  const check = <T>(pointer: string, value: () => T, fallback: T): T => {
    try {
      return value();
    } catch (error) {
      if (!(error instanceof AssayError)) throw error;
      faults.push({ code: error.code, pointer, detail: error.detail });
      return fallback;
    }
  };
  const number = (field: NumberField, most: number): number =>
    check(`/${field}`, () => wholeNumber(draft[field] ?? 0, most), 0);

  const content: EntryContent = {
    spiffeId: checkedSpiffeId(draft, trustDomain, check),
    parentId: check("/parentId", () => entryParentId(draft.parentId, trustDomain), NOWHERE),
    selectors: canonicalSelectors(
      bounded("/selectors", draft.selectors, check).flatMap(({ type, value }, n) =>
        check<readonly Selector[]>(`/selectors/${n}`, () => [selectorOf(type, value)], []),
      ),
    ),
    x509SvidTtl: number("x509SvidTtl", MAX_TTL),
    jwtSvidTtl: number("jwtSvidTtl", MAX_TTL),
    federatesWith: sortedOnce(
      bounded("/federatesWith", draft.federatesWith ?? [], check).flatMap((text, n) =>
        check<TrustDomain[]>(`/federatesWith/${n}`, () => [foreign(text, trustDomain)], []),
      ),
    ),
    admin: draft.admin ?? false,
    downstream: draft.downstream ?? false,
    storeSvid: draft.storeSvid ?? false,
    expiresAt: number("expiresAt", Number.MAX_SAFE_INTEGER),
    dnsNames: [
      ...new Set(
        bounded("/dnsNames", draft.dnsNames ?? [], check).map((name, n) =>
          check(`/dnsNames/${n}`, () => dnsName(name), name),
        ),
      ),
    ],
    hint: check("/hint", () => checkedHint(draft.hint ?? ""), ""),
    disableX509SvidPrefetch: draft.disableX509SvidPrefetch ?? false,
    jwtSvidIncludeJti: draft.jwtSvidIncludeJti ?? false,
    idTemplate: draft.idTemplate ?? "",
    maxTaskDuration: number("maxTaskDuration", MAX_TASK_DURATION),
    exchangeAudiences: sortedOnce(
      bounded("/exchangeAudiences", draft.exchangeAudiences ?? [], check, MAX_AUDIENCES).flatMap((text, n) =>
        check<readonly string[]>(`/exchangeAudiences/${n}`, () => [exchangeAudience(text)], []),
      ),
    ),
    svidKeyType: check("/svidKeyType", () => checkedKeyType(draft.svidKeyType ?? ""), ""),
  };
  check("/selectors", () => requireSelectors(draft, content), undefined);
  check("/disableX509SvidPrefetch", () => requirePrefetch(content), undefined);
  const isOfTasks = taskInstanceOf(content.parentId, trustDomain) !== undefined;
  for (const { pointer, detail } of taskRuleFaults(content, isOfTasks)) {
    faults.push({ code: "INVALID_ENTRY", pointer, detail });
  }
  const [first] = faults;
  if (first === undefined) return content;
  const violations: Violation[] = faults.map(({ pointer, detail }) => ({ pointer, detail }));
  throw new AssayError(first.code, `${first.pointer.slice(1)}: ${first.detail}`, { violations });
}

/**
 * The SPIFFE ID that an entry may give: in the own trust domain, with a path, not `/spire` nor below it.
 * @throws AssayError `INVALID_SPIFFE_ID`, `INVALID_ENTRY`.
 */
export function entrySpiffeId(text: string, trustDomain: TrustDomain): SpiffeId {
  const id = memberWithPath(text, trustDomain);
  if (isReservedPath(pathOf(id))) throw refused("the path /spire and all below it are reserved");
  return id;
}

/**
 * Checks an id that the creator of an entry chose: 1 to 255 characters of `a-z A-Z 0-9 . - _`.
 * @throws AssayError `INVALID_ENTRY`.
 */
export function checkedEntryId(id: string): string {
  if (ENTRY_ID.test(id)) return id;
  throw refused("id: expected 1 to 255 letters, numbers, dots, dashes or underscores", "/id");
}

interface Fault {
  readonly code: ErrorCode;
  readonly pointer: string;
  readonly detail: string;
}

type NumberField = "x509SvidTtl" | "jwtSvidTtl" | "expiresAt" | "maxTaskDuration";
type Check = <T>(pointer: string, value: () => T, fallback: T) => T;

function bounded<T>(pointer: string, list: readonly T[], check: Check, most = MAX_LIST): readonly T[] {
  return check(pointer, () => {
    if (list.length > most) throw refused(`expected at most ${most} items`);
    return list;
  }, []);
}

function checkedSpiffeId(draft: EntryDraft, trustDomain: TrustDomain, check: Check): SpiffeId {
  const { spiffeId, idTemplate = "" } = draft;
  if (idTemplate === "") return check("/spiffeId", () => entrySpiffeId(spiffeId, trustDomain), NOWHERE);
  const prefix = check("/idTemplate", () => prefixIdOf(parseIdTemplate(idTemplate), trustDomain), NOWHERE);
  return check(
    "/spiffeId",
    () => {
      if (spiffeId === "" || spiffeId === prefix) return prefix;
      const given = entrySpiffeId(spiffeId, trustDomain);
      if (prefix === NOWHERE) return given;
      throw refused(`expected ${prefix}, where the template's IDs lie, or nothing`);
    },
    NOWHERE,
  );
}

function entryParentId(text: string, trustDomain: TrustDomain): SpiffeId {
  const id = memberWithPath(text, trustDomain);
  if (isTaskPath(pathOf(id)) && taskInstanceOf(id, trustDomain) === undefined) {
    throw refused("expected /spire/task/ and a task attestor's name, 1 to 64 of a-z 0-9 and dashes");
  }
  return id;
}

function memberWithPath(text: string, trustDomain: TrustDomain): SpiffeId {
  if (text === "" || spiffeIdFault(text) !== undefined) return parseSpiffeId(text);
  const id = parseSpiffeId(text);
  if (!isMemberOf(id, trustDomain)) throw refused(`expected an ID of trust domain ${trustDomain}`);
  if (pathOf(id) === "") throw refused("expected an ID with a path");
  return id;
}

function requireSelectors(draft: EntryDraft, content: EntryContent): void {
  if (draft.selectors.length === 0) throw refused("expected at least one selector");
  const types = new Set(content.selectors.map((selector) => selector.type));
  if (content.storeSvid && types.size > 1) {
    throw refused("the selectors of an entry with storeSvid must all be of one type");
  }
}

function requirePrefetch(content: EntryContent): void {
  if (content.storeSvid && content.disableX509SvidPrefetch) {
    throw refused("prefetch cannot be disabled for an entry with storeSvid");
  }
}

function wholeNumber(value: number, most: number): number {
  if (Number.isInteger(value) && value >= 0 && value <= most) return value;
  throw refused(`expected a whole number from 0 to ${most}`);
}

function foreign(text: string, own: TrustDomain): TrustDomain {
  const trustDomain = parseTrustDomainOrId(text);
  if (trustDomain === own) throw refused("an entry cannot federate with its own trust domain");
  return trustDomain;
}

function dnsName(name: string): string {
  const fault = dnsNameFault(name);
  if (fault !== undefined) throw refused(fault);
  return name;
}

function checkedKeyType(text: string): SvidKeyType | "" {
  const type = text === "" ? "" : svidKeyTypeOf(text);
  if (type === undefined) throw refused(`expected one of ${SVID_KEY_TYPES.join(", ")}, or nothing`);
  return type;
}

function checkedHint(hint: string): string {
  if (!hint.isWellFormed()) throw refused("expected well-formed Unicode");
  if (Buffer.byteLength(hint) > MAX_HINT_BYTES) throw refused(`expected at most ${MAX_HINT_BYTES} bytes`);
  return hint;
}

function sortedOnce<T extends string>(items: readonly T[]): readonly T[] {
  return [...new Set(items)].toSorted();
}

function refused(detail: string, pointer?: string): AssayError {
  return new AssayError(
    "INVALID_ENTRY",
    detail,
    pointer === undefined ? {} : { violations: [{ pointer, detail }] },
  );
}

const ENTRY_ID = /^[A-Za-z0-9._-]{1,255}$/;
const MAX_TTL = 2 ** 31 - 1;
const MAX_HINT_BYTES = 1024;
const MAX_LIST = 1000;
const MAX_AUDIENCES = 100;
// The hard cap of every task; what is longer would never be reached. Seconds.
const MAX_TASK_DURATION = 6 * 3600;
const NOWHERE = "" as SpiffeId;
