/**
 * attestation/task/platforms/ — the job's side of CI platforms: which one a process runs on, and how it asks for its token.
 *
 * Must never know whom the token is shown to, nor what it earns there.
 * Called by the task runner, and by whatever imitates a platform.
 */
import { AssayError } from "../../../errors/assay-error.ts";

/** The variables of a process's environment. */
export type Variables = Readonly<Record<string, string | undefined>>;

/** A platform as its jobs see it. */
export interface JobPlatform {
  /** `github`: what `--platform` takes. */
  readonly name: string;
  /** For people. */
  readonly title: string;
  /** Whether a process with these variables runs on it. */
  recognises(variables: Variables): boolean;
  /** Names of variables that hold a token, or the right to ask for one. */
  readonly secrets: readonly string[];
  /** Names of further variables that this platform is recognised or asked by. */
  readonly signs: readonly string[];
  /**
   * The platform's token for this run.
   * @throws AssayError `CONFIG_INVALID` saying what the job lacks to get one, `REMOTE_UNAVAILABLE` where the platform fails.
   */
  token(job: JobSurroundings, request: TokenRequest): Promise<string>;
}

/** What a token is wanted for. */
export interface TokenRequest {
  /** Its one audience, where the platform lets jobs choose. */
  readonly audience: string;
  readonly signal: AbortSignal;
}

/** What a job can reach. Each part is bounded in time and size by whoever hands it out. */
export interface JobSurroundings {
  readonly variables: Variables;
  /** The text of a file. @throws AssayError `CONFIG_INVALID` naming it. */
  readonly readFile: (path: string) => Promise<string>;
  /**
   * Runs a program of the platform and gives what it printed.
   * @throws AssayError `CONFIG_INVALID` where there is no such program, `REMOTE_UNAVAILABLE` where it fails.
   */
  readonly run: (command: string, args: readonly string[], signal: AbortSignal) => Promise<string>;
  /** Asks the platform's endpoint; follows no redirect. @throws AssayError `REMOTE_UNAVAILABLE`. */
  readonly ask: (request: PlatformRequest, signal: AbortSignal) => Promise<PlatformAnswer>;
}

/** A request to a platform's endpoint. */
export interface PlatformRequest {
  readonly method: "GET" | "POST";
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
}

/** What a platform's endpoint answered. */
export interface PlatformAnswer {
  readonly status: number;
  readonly body: string;
}

/**
 * The value of a variable that the platform sets.
 * @param remedy What the job's author does about it.
 * @throws AssayError `CONFIG_INVALID`.
 */
export function requireVariable(variables: Variables, name: string, remedy: string): string {
  const value = variables[name];
  if (value === undefined || value === "")
    throw new AssayError("CONFIG_INVALID", `${name} is not set: ${remedy}`);
  return value;
}

/**
 * A token as a platform or a file gives it: a compact JWS without the white space around it.
 * @throws AssayError `CONFIG_INVALID`; the text never holds any of it.
 */
export function tokenFrom(text: string, where: string): string {
  const token = text.trim();
  if (token.length > MAX_TOKEN) throw new AssayError("CONFIG_INVALID", `${where} holds more than a token`);
  if (!COMPACT_JWS.test(token))
    throw new AssayError("CONFIG_INVALID", `${where} holds no token (compact JWS)`);
  return token;
}

/**
 * The token in a member of a JSON answer.
 * @throws AssayError with the status alone, as an answer may hold anything: `CONFIG_INVALID` where the platform refuses,
 * `REMOTE_UNAVAILABLE` where another attempt may help.
 */
export function tokenInAnswer({ status, body }: PlatformAnswer, member: string, title: string): string {
  if (status !== 200) {
    const isRefusal = status >= 400 && status < 500 && !PASSING.has(status);
    throw new AssayError(
      isRefusal ? "CONFIG_INVALID" : "REMOTE_UNAVAILABLE",
      `${title} gave no token, it answered with status ${status}`,
    );
  }
  const value = memberOf(body, member);
  if (value === undefined) {
    throw new AssayError("REMOTE_UNAVAILABLE", `${title} gave no token, its answer has no ${member}`);
  }
  return tokenFrom(value, `the answer of ${title}`);
}

function memberOf(body: string, member: string): string | undefined {
  try {
    const document = JSON.parse(body) as Readonly<Record<string, unknown>> | null;
    const value = document?.[member];
    return typeof value === "string" ? value : undefined;
  } catch {
    return undefined;
  }
}

const COMPACT_JWS = /^[\w-]+\.[\w-]+\.[\w-]+$/;
const MAX_TOKEN = 20_000;
// Request Timeout, Too Many Requests.
const PASSING: ReadonlySet<number> = new Set([408, 429]);
