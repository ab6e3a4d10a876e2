import type { Clock } from "../clock.ts";
import { AssayError } from "../errors/assay-error.ts";
import type { TaskAttestation, TaskAttestor } from "../plugin/task-attestor.ts";
import { canonicalSelectors, formatSelector, type Selector } from "../spiffe/selector.ts";
import { checkedSelectors } from "./checked-selectors.ts";
import { raceAbort } from "./race-abort.ts";

/** One job's attempt to open a task. */
export interface TaskAttestationRequest {
  /** The task attestors of the configuration, by their instances' names. */
  readonly attestors: ReadonlyMap<string, TaskAttestor>;
  /** The platform's token, as the job sent it. */
  readonly token: string;
  readonly clock: Clock;
  /** Ends the attempt: the caller went away. An `AssayError` as reason is what is thrown. */
  readonly signal: AbortSignal;
}

/** What one attestor made of a job's evidence. */
export interface AttestedTask {
  /** Name of the attestor's instance. */
  readonly instance: string;
  readonly attestation: TaskAttestation;
}

/** Bounds of one task attestation. */
export const TASK_ATTESTATION_LIMITS = {
  /** Characters of the token. */
  tokenCharacters: 20_000,
  /** Milliseconds for everything, the platform's keys included. */
  timeout: 10_000,
  /** Characters of a key, and of each text in an attestation. */
  textCharacters: 8192,
  /** Claims in an attestation. */
  claims: 500,
} as const;

/**
 * Has a job's evidence verified by the one attestor that accepts it, among those that recognise it, and checks what the
 * attestor made of it. Several instances may trust one issuer under different conditions; evidence that two of them
 * accept is refused, as it would be chance which task it opens.
 * @throws AssayError `ATTESTATION_FAILED` or `REMOTE_UNAVAILABLE` with a detail for the operator, never for the caller;
 * `INTERNAL` where an attestor breaks its contract; `DEADLINE_EXCEEDED`; else what `signal` holds.
 */
export async function attestTask(request: TaskAttestationRequest): Promise<AttestedTask> {
  const { attestors, token, clock } = request;
  const { tokenCharacters, timeout } = TASK_ATTESTATION_LIMITS;
  if (token.length > tokenCharacters) fail(`token is longer than ${tokenCharacters} characters`);
  const candidates = [...attestors].filter(([, attestor]) => recognises(attestor, token));
  if (candidates.length === 0) fail("no task attestor is configured for the issuer of the token");
  const deadline = new AbortController();
  using _timer = clock.schedule(timeout, () =>
    deadline.abort(new AssayError("DEADLINE_EXCEEDED", `the evidence was not verified within ${timeout} ms`)),
  );
  const signal = AbortSignal.any([request.signal, deadline.signal]);
  await live(signal);
  const outcomes = await Promise.all(
    candidates.map(async ([instance, attestor]): Promise<Outcome> => {
      try {
        const work = attestor.attest({ token }, signal);
        const attestation = await raceAbort(work, signal, "ATTESTATION_FAILED");
        return { instance, attestation: checkedTaskAttestation(attestation, instance) };
      } catch (error) {
        await live(signal);
        return { instance, fault: faultOf(error) };
      }
    }),
  );
  return onlyOne(outcomes);
}

/**
 * What `attestTask` would make of a token with these claims, without a signature, a clock or a replay check.
 * @param instance The only instance to ask; all that can judge unless given.
 * @throws AssayError `ATTESTATION_FAILED` saying what each instance says; `ATTESTOR_UNKNOWN`; `INTERNAL`.
 */
export function judgeTask(
  attestors: ReadonlyMap<string, TaskAttestor>,
  claims: Readonly<Record<string, unknown>>,
  instance?: string,
): AttestedTask {
  const asked = [...attestors].filter(
    ([name, attestor]) => attestor.judge !== undefined && (instance === undefined || name === instance),
  );
  if (asked.length === 0) {
    throw new AssayError("ATTESTOR_UNKNOWN", "no such task attestor that judges claims is configured");
  }
  return onlyOne(
    asked.map(([name, attestor]): Outcome => {
      try {
        const attestation = attestor.judge?.(claims);
        return { instance: name, attestation: checkedTaskAttestation(attestation, name) };
      } catch (error) {
        return { instance: name, fault: faultOf(error) };
      }
    }),
  );
}

type Outcome =
  | { readonly instance: string; readonly attestation: TaskAttestation }
  | { readonly instance: string; readonly fault: AssayError };

function onlyOne(outcomes: readonly Outcome[]): AttestedTask {
  const accepted = outcomes.filter((outcome) => "attestation" in outcome);
  const faults = outcomes.flatMap((outcome) => ("fault" in outcome ? [outcome] : []));
  const [first, second] = accepted;
  if (first !== undefined && second === undefined) return first;
  if (first !== undefined) {
    fail(
      `several task attestors accept the evidence: ${accepted.map(({ instance }) => instance).join(", ")}`,
    );
  }
  const broken = faults.find(({ fault }) => fault.code === "INTERNAL");
  if (broken !== undefined) throw broken.fault;
  const detail = faults.map(({ instance, fault }) => `${instance}: ${fault.detail}`).join("; ");
  // Where one of them could not tell, asking again may help.
  const unavailable = faults.find(({ fault }) => fault.code === "REMOTE_UNAVAILABLE");
  if (unavailable !== undefined) {
    throw new AssayError("REMOTE_UNAVAILABLE", detail, { cause: unavailable.fault });
  }
  return fail(detail, faults[0]?.fault);
}

/** Throws what the signal holds, once it is aborted. */
async function live(signal: AbortSignal): Promise<void> {
  if (signal.aborted) await raceAbort(new Promise<never>(() => {}), signal, "ATTESTATION_FAILED");
}

function recognises(attestor: TaskAttestor, token: string): boolean {
  try {
    return attestor.recognises === undefined || attestor.recognises(token);
  } catch {
    return false;
  }
}

/** A third party's code may give anything, so nothing is taken at its type's word and nothing else is kept. */
function checkedTaskAttestation(given: unknown, instance: string): TaskAttestation {
  const broken = (what: string): never => {
    throw new AssayError("INTERNAL", `task attestor ${instance} gave ${what}`);
  };
  if (typeof given !== "object" || given === null) return broken("no attestation");
  const parts = given as Readonly<Record<keyof TaskAttestation, unknown>>;
  const text = (name: keyof TaskAttestation): string => {
    const value = parts[name];
    return isText(value)
      ? value
      : broken(`no ${name} of 1 to ${TASK_ATTESTATION_LIMITS.textCharacters} characters`);
  };
  const second = (name: keyof TaskAttestation): number => {
    const value = parts[name];
    return typeof value === "number" && Number.isSafeInteger(value) && value > 0
      ? value
      : broken(`no ${name}`);
  };
  const selectors = ofOneType(parts.selectors, instance);
  const guarded = ofOneType(parts.guarded, instance);
  const all = new Set(selectors.map(formatSelector));
  if (!guarded.every((selector) => all.has(formatSelector(selector)))) broken("a guarded selector of none");
  const claims = claimsOf(parts.claims) ?? broken("no claims that are texts");
  const { authoredClaims, granularity } = parts;
  const isClaim = (name: unknown) => typeof name === "string" && Object.hasOwn(claims, name);
  if (!Array.isArray(authoredClaims) || !authoredClaims.every(isClaim)) return broken("no authoredClaims");
  if (granularity !== "job" && granularity !== "run") return broken("no granularity");
  return {
    platform: text("platform"),
    issuer: text("issuer"),
    selectors,
    guarded,
    claims,
    authoredClaims: [...new Set(authoredClaims as readonly string[])].toSorted(),
    taskKey: text("taskKey"),
    granularity,
    description: text("description"),
    replayKey: text("replayKey"),
    replayUntil: second("replayUntil"),
    ...(parts.issuedAt === undefined ? {} : { issuedAt: second("issuedAt") }),
    ...(parts.endsBy === undefined ? {} : { endsBy: second("endsBy") }),
  };
}

/** Selectors of one attestation are all of one type, the platform's: an instance is found by its entries' parent. */
function ofOneType(given: unknown, instance: string): readonly Selector[] {
  const list = given as readonly Partial<Selector>[];
  const first = Array.isArray(given) ? list[0]?.type : undefined;
  const type = typeof first === "string" ? first : instance;
  return canonicalSelectors(checkedSelectors(given as readonly Selector[], type));
}

function claimsOf(given: unknown): Readonly<Record<string, string>> | undefined {
  if (typeof given !== "object" || given === null) return undefined;
  const entries: readonly (readonly [string, unknown])[] = Object.entries(given);
  if (entries.length > TASK_ATTESTATION_LIMITS.claims) return undefined;
  const { textCharacters } = TASK_ATTESTATION_LIMITS;
  const good = entries.every(
    ([name, value]) =>
      isText(name) && typeof value === "string" && value.length <= LIST_FACTOR * textCharacters,
  );
  return good ? Object.fromEntries(entries as readonly (readonly [string, string])[]) : undefined;
}

function isText(value: unknown): value is string {
  return typeof value === "string" && value !== "" && value.length <= TASK_ATTESTATION_LIMITS.textCharacters;
}

function faultOf(error: unknown): AssayError {
  if (error instanceof AssayError) return error;
  return new AssayError("ATTESTATION_FAILED", "the evidence could not be verified", { cause: error });
}

function fail(detail: string, cause?: unknown): never {
  throw new AssayError("ATTESTATION_FAILED", detail, { cause });
}

// Lists are one text here; a whole token is not longer than this.
const LIST_FACTOR = 4;
