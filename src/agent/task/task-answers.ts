import { type SvidKeyType, svidKeyTypeOf } from "../../spiffe/svid-key-type.ts";
import { z } from "zod";
import { AssayError } from "../../errors/assay-error.ts";
import { CODES, type ErrorCode } from "../../errors/codes.ts";
import { parseSpiffeId, type SpiffeId } from "../../spiffe/id.ts";
import type { WebAnswer } from "./web-client.ts";

/** An identity that a task has earned. */
export interface TaskIdentityFacts {
  readonly spiffeId: SpiffeId;
  readonly hint: string;
  /** The one type of key that its SVIDs have; empty where any will do. */
  readonly svidKeyType: SvidKeyType | "";
}

/** How long a task lives. */
export interface TaskLife {
  readonly id: string;
  /** How long a heartbeat is good for, seconds. */
  readonly lease: number;
  /** Nothing keeps the task alive beyond this, Unix seconds. */
  readonly hardEnd: number;
}

/** A task and what it has earned, the default first; none twice. */
export interface TaskFacts extends TaskLife {
  readonly identities: readonly TaskIdentityFacts[];
}

const spiffeId = z.string().transform((text, context) => {
  try {
    return parseSpiffeId(text);
  } catch (error) {
    context.addIssue(error instanceof AssayError ? error.detail : "no SPIFFE ID");
    return z.NEVER;
  }
});

/** Unix seconds, from RFC 3339 text. */
const time = z.iso.datetime({ offset: true }).transform((text) => Math.floor(Date.parse(text) / 1000));

const life = { id: z.string().min(1).max(255), lease: z.number().int().positive(), hard_end: time };

/** Answer of `POST /v1/task/heartbeat`. */
export const lifeAnswer = z
  .object(life)
  .transform(({ id, lease, hard_end: hardEnd }): TaskLife => ({ id, lease, hardEnd }));

/** Answer of `GET /v1/task`, and member of the answer that opens a task. */
export const taskAnswer = z
  .object({
    ...life,
    identities: z.array(
      z.object({
        spiffe_id: spiffeId,
        hint: z.string(),
        // Absent from servers that let any key do; one that is not known here is left to the server to refuse.
        svid_key_type: z
          .string()
          .default("")
          .transform((text): SvidKeyType | "" => svidKeyTypeOf(text) ?? ""),
      }),
    ),
  })
  .transform(({ id, lease, hard_end: hardEnd, identities }): TaskFacts => {
    const seen = new Set<SpiffeId>();
    const each = identities.flatMap(({ spiffe_id: name, hint, svid_key_type: svidKeyType }) =>
      seen.has(name) ? [] : [seen.add(name) && { spiffeId: name, hint, svidKeyType }],
    );
    return { id, lease, hardEnd, identities: each };
  });

/** Answer of the token endpoint that opened a task (RFC 8693 §2.2.1). */
export const openAnswer = z.object({
  access_token: z.string().min(1).max(20_000),
  token_type: z.string().refine((text) => text.toLowerCase() === "dpop", "expected DPoP"),
  task: taskAnswer,
});

const base64 = z.base64().transform((text) => new Uint8Array(Buffer.from(text, "base64")));

/** Answer of `POST /v1/task/x509-svid`. */
export const x509Answer = z.object({ x509_svid: z.array(base64).min(1) });

/** Answer of `POST /v1/task/jwt-svid`. */
export const jwtAnswer = z.object({ spiffe_id: spiffeId, jwt_svid: z.string().min(1), expires_at: time });

/** Answer of `POST /v1/task/wit-svid`. */
export const witAnswer = z.object({ wit_svid: z.string().min(1) });

/** The revocation lists of `GET /v1/task/bundles`, beside its bundle map. */
export const crlsAnswer = z.object({ crls: z.record(z.string(), z.array(base64)).default({}) });

/**
 * The value of an answer with status 200.
 * @throws AssayError what the server said is wrong; `SERVER_UNAVAILABLE` where it is not to be understood.
 */
export function readAnswer<Schema extends z.ZodType>(answer: WebAnswer, schema: Schema): z.output<Schema> {
  const value = jsonOf(answer);
  if (answer.status !== 200) throw refusal(answer, value);
  const read = schema.safeParse(value);
  if (read.success) return read.data;
  const [issue] = read.error.issues;
  throw new AssayError(
    "SERVER_UNAVAILABLE",
    `the server's answer is not understood: ${issue?.path.join(".") ?? ""} ${issue?.message ?? ""}`,
  );
}

/** Whether the server wants the same request with its newest nonce (RFC 9449 §8, §9). */
export function wantsNonce({ status, headers, body }: WebAnswer): boolean {
  if (typeof headers["dpop-nonce"] !== "string") return false;
  if (status === 401) return /\buse_dpop_nonce\b/.test(String(headers["www-authenticate"]));
  return status === 400 && body.includes('"use_dpop_nonce"');
}

/** Whether the server takes the proof itself for a bad one. */
export function refusesProof({ status, body }: WebAnswer): boolean {
  return (
    (status === 400 || status === 401) && /"(?:invalid_dpop_proof|INVALID_DPOP_PROOF)"/.test(body.toString())
  );
}

/** Whether an error is the server's word that the task is over, or that we are not the one who holds it. */
export function isTaskOver(code: ErrorCode): boolean {
  return code === "TASK_OVER" || code === "TASK_NOT_FOUND" || code === "INVALID_ACCESS_TOKEN";
}

function refusal({ status }: WebAnswer, value: unknown): AssayError {
  const problem = z
    .object({ code: z.string(), title: z.string(), detail: z.string().optional() })
    .safeParse(value);
  if (problem.success) {
    const { code, title, detail = title } = problem.data;
    return new AssayError(isCode(code) ? code : codeOf(status), clipped(detail));
  }
  const oauth = z.object({ error: z.string(), error_description: z.string().optional() }).safeParse(value);
  if (!oauth.success) return new AssayError(codeOf(status), `the server answered with status ${status}`);
  const { error, error_description: description } = oauth.data;
  const text = description === undefined ? error : `${description} (${error})`;
  return new AssayError(OAUTH_CODES.get(error) ?? codeOf(status), clipped(text));
}

function codeOf(status: number): ErrorCode {
  if (status === 429) return "RATE_LIMITED";
  return status >= 400 && status < 500 ? "NO_IDENTITY_ISSUED" : "SERVER_UNAVAILABLE";
}

function isCode(text: string): text is ErrorCode {
  return Object.hasOwn(CODES, text);
}

function jsonOf({ body }: WebAnswer): unknown {
  try {
    return JSON.parse(body.toString("utf8"));
  } catch {
    return undefined;
  }
}

// It ends up in a log line of a job.
function clipped(text: string): string {
  return text.slice(0, 500).replaceAll(/\p{Cc}/gu, " ");
}

const OAUTH_CODES: ReadonlyMap<string, ErrorCode> = new Map([
  ["invalid_dpop_proof", "INVALID_DPOP_PROOF"],
  ["temporarily_unavailable", "SERVER_UNAVAILABLE"],
  ["server_error", "SERVER_UNAVAILABLE"],
]);
