/** When the agent was not there, Unix milliseconds. */
export interface Window {
  readonly from: number;
  readonly to: number;
}

/** What a fast-forward run came to. */
export interface FastForwardReport {
  readonly handshakes: number;
  readonly validations: number;
  /** Handshakes and validations that failed, seen from either side. */
  readonly failed: number;
  /** JWT-SVIDs that could not be asked for as the agent was restarting; the workload used the one it had. */
  readonly away: number;
  /** Turns that were left out as the machine did not keep the pace. */
  readonly skipped: number;
  /** How many different ones the workloads met. */
  readonly x509Svids: number;
  readonly x509Authorities: number;
  readonly jwtAuthorities: number;
  /** Everything that must not have been, in words; empty is good. */
  readonly problems: readonly string[];
}

/** What two workloads have said, and when they had no agent. */
export interface FastForwardEvidence {
  readonly calling: readonly string[];
  readonly serving: readonly string[];
  readonly away: readonly Window[];
}

/** Holds what the workloads said against what must be. */
export function judge({ calling, serving, away }: FastForwardEvidence): FastForwardReport {
  const [called, served] = [calling.map(parse), serving.map(parse)];
  const problems: string[] = [];
  for (const [who, lines] of [
    ["caller", called],
    ["responder", served],
  ] as const) {
    for (const { event, at = "", what = "", message = "" } of lines) {
      if (event === "failed") problems.push(`${at} ${who}: ${what}: ${message}`);
      if (event === "error") problems.push(`${who}: ${message}`);
      if (event === "away" && !isExcused(Date.parse(at), away)) {
        problems.push(`${at} ${who}: the agent gave no JWT-SVID though it was there: ${message}`);
      }
    }
    if (!lines.some(({ event }) => event === "sum")) problems.push(`the ${who} did not reach its end`);
  }
  const caller = sumOf(called);
  const responder = sumOf(served);
  return {
    handshakes: caller.handshakes ?? 0,
    // Each by the caller's own bundle and by the responder's.
    validations: (caller.validations ?? 0) + (responder.validations ?? 0),
    failed: (caller.failed ?? 0) + (responder.failed ?? 0),
    away: caller.away ?? 0,
    skipped: caller.skipped ?? 0,
    x509Svids: caller.svids ?? 0,
    x509Authorities: caller.authorities ?? 0,
    jwtAuthorities: caller.keys ?? 0,
    problems,
  };
}

function isExcused(at: number, away: readonly Window[]): boolean {
  return away.some(({ from, to }) => at >= from && at <= to + RECONNECTING);
}

function sumOf(lines: readonly SteadyLine[]): SteadyLine {
  return lines.findLast(({ event }) => event === "sum") ?? { event: "none" };
}

function parse(line: string): SteadyLine {
  try {
    return JSON.parse(line) as SteadyLine;
  } catch {
    return { event: "error", message: line };
  }
}

/** A line of the go-spiffe programs; counts are there in those that count. */
interface SteadyLine {
  readonly event: string;
  readonly at?: string;
  readonly what?: string;
  readonly message?: string;
  readonly handshakes?: number;
  readonly validations?: number;
  readonly failed?: number;
  readonly away?: number;
  readonly skipped?: number;
  readonly svids?: number;
  readonly authorities?: number;
  readonly keys?: number;
}

/** Milliseconds that a gRPC client pauses at most before it tries an agent again that was away for a few seconds. */
const RECONNECTING = 15_000;
