import { durationText, facts, table } from "./table.ts";
import type {
  CredentialView,
  EntryFacts,
  JobExplanationView,
  MatchingView,
  RunView,
  TaskExplanationView,
  TaskView,
  TrailRecord,
} from "./task-view.ts";

/** Tasks as a table. */
export function taskTable(tasks: readonly TaskView[]): string {
  return table(
    ["TASK", "STATE", "ATTESTOR", "OPENED", "UNTIL", "RUN"],
    tasks.map((task) => [
      task.id,
      stateText(task),
      task.attestor,
      task.opened_at,
      task.ended_at ?? task.lease_expires_at,
      shown(task.description),
    ]),
  );
}

/** One task with what was issued to it. */
export function taskText(task: TaskView, issued: readonly CredentialView[]): string {
  return [facts(taskFacts(task)), "", issuedText(issued)].join("\n");
}

/** One task on a page: claims, selectors, entries, lease and cap, what was issued, the end, the audit log. */
export function taskExplanationText(view: TaskExplanationView): string {
  const { task, matching, cap, issued, trail } = view;
  return [
    ...(task === null || matching === null
      ? [
          facts([
            ["Task", view.id],
            ["State", "forgotten by the store; what follows is from the audit log"],
          ]),
        ]
      : [
          facts(taskFacts(task)),
          "",
          ...evidenceText(task),
          "",
          "What the entries give for it now",
          ...matchingText(matching),
          "",
          "How long it lives",
          ...indented(facts(lifeFacts(task, cap))),
        ]),
    "",
    issuedText(issued),
    ...(task === null ? [] : ["", ...endText(task, issued)]),
    "",
    view.trail_cut_off ? "Audit log (the oldest records are left out)" : "Audit log",
    ...(trail.length === 0 ? ["  no record names it"] : trail.flatMap(recordText)),
  ].join("\n");
}

/** What a job's claims would earn, and why not more. */
export function jobExplanationText(view: JobExplanationView): string {
  const head: (readonly [string, string])[] = [["Attestor", view.attestor]];
  const { run, matching, task } = view;
  if (run === null || matching === null) {
    return facts([...head, ["Outcome", `refused: ${view.refusal ?? "for no reason"}`]]);
  }
  const [first] = matching.identities;
  return [
    facts([
      ...head,
      ["Outcome", first === undefined ? "no identity" : `would be ${first.earned}`],
      ["Run", shown(run.description)],
      ["Platform", `${run.platform}, ${run.issuer}`],
      [
        "Task key",
        `${run.task_key}${run.granularity === "run" ? "  (a run; its jobs cannot be told apart)" : ""}`,
      ],
      ...(task === null ? [] : [["Its task", `${task.id} (${task.state})`] as const]),
      ...(run.ends_by === null ? [] : [["Platform's end", run.ends_by] as const]),
    ]),
    "",
    ...evidenceText(run),
    "",
    "What the entries give for it",
    ...matchingText(matching),
  ].join("\n");
}

function taskFacts(task: TaskView): (readonly [string, string | readonly string[]])[] {
  return [
    ["Task", task.id],
    ["State", stateText(task)],
    ["Run", shown(task.description)],
    ["Platform", `${task.platform}, ${task.issuer}`],
    ["Attestor", task.attestor],
    ["Opened", task.opened_at],
    ...(task.ended_at === null
      ? [["Lease until", task.lease_expires_at] as const, ["At most until", task.hard_end] as const]
      : [["Ended", task.ended_at] as const]),
    ["Key", task.key_thumbprint],
    ...(task.granularity === "run" ? [["Stands for", "a run; its jobs cannot be told apart"] as const] : []),
    ...(task.identities.length === 0
      ? []
      : [["Identities", task.identities.map(({ spiffe_id: id, hint }) => withHint(id, hint))] as const]),
  ];
}

function stateText({ state, end_reason: reason }: TaskView): string {
  return reason === null ? state : `${state} (${END_WORDS.get(reason) ?? reason})`;
}

function evidenceText(
  run: Pick<RunView, "claims" | "author_claims" | "selectors" | "guarded_selectors">,
): readonly string[] {
  const guarded = new Set(run.guarded_selectors);
  return [
    "Claims that the platform vouches for",
    ...claimLines(run.claims),
    "Claims that the job's author can choose",
    ...claimLines(run.author_claims),
    "Selectors",
    ...lines(
      run.selectors.map((text) =>
        guarded.has(text) ? `${text}  (guarded: an entry must name it to give anything)` : text,
      ),
    ),
  ];
}

function matchingText({ identities, faults, near_misses: misses }: MatchingView): readonly string[] {
  return [
    ...(identities.length === 0 ? ["  nothing"] : []),
    ...identities.flatMap((identity, index) => [
      `  ${withHint(identity.earned, identity.hint)}${index === 0 && identities.length > 1 ? "  (the default)" : ""}`,
      `    ${entryText(identity)}`,
    ]),
    ...faults.flatMap((fault) => [`  no ID by ${entryText(fault)}:`, `    ${fault.reason}`]),
    ...(misses.length === 0 ? [] : ["  Came near:"]),
    ...misses.flatMap((miss) => [
      `    ${entryText(miss)}  ${miss.spiffe_id}`,
      ...(miss.missing.length === 0 ? [] : [`      not seen: ${miss.missing.join(", ")}`]),
      ...(miss.unnamed.length === 0
        ? []
        : [`      does not name, though guarded: ${miss.unnamed.join(", ")}`]),
    ]),
  ];
}

function entryText({ entry_id: id, id_template: template }: EntryFacts): string {
  return template === "" ? `entry ${id}` : `entry ${id}, template ${template}`;
}

function lifeFacts(
  { lease, lease_expires_at: leaseEnd, hard_end: hardEnd }: TaskView,
  cap: TaskExplanationView["cap"],
): (readonly [string, string])[] {
  const by =
    cap === null ? "" : cap.by === "entry" ? `entry ${cap.entry_id}` : (CAP_WORDS.get(cap.by) ?? cap.by);
  return [
    ["Lease", `${durationText(lease)} from each heartbeat, until ${leaseEnd}`],
    ["Cap", `${hardEnd}${by === "" ? "" : `  (${by})`}`],
  ];
}

function issuedText(
  issued: readonly (CredentialView & {
    readonly audience?: readonly string[];
    readonly decision_id?: string | null;
  })[],
): string {
  if (issued.length === 0) return "Nothing was issued to it";
  return [
    "Issued",
    ...issued.flatMap((one) => [
      `  ${one.issued_at}  ${KIND_WORDS.get(one.kind) ?? one.kind}  ${one.spiffe_id}`,
      `    ${one.kind === "x509" ? "serial" : "token id"} ${one.id}, good until ${one.expires_at}`,
      ...(one.audience === undefined || one.audience.length === 0
        ? []
        : [`    audience ${one.audience.join(", ")}`]),
      ...(one.parent === "" ? [] : [`    exchanged for ${one.parent}`]),
      ...(one.decision_id === undefined || one.decision_id === null
        ? []
        : [`    decision ${one.decision_id}`]),
      ...(one.revoked_at === null
        ? []
        : [`    revoked ${one.revoked_at} (${one.reason ?? "no reason given"})`]),
    ]),
  ].join("\n");
}

function endText(task: TaskView, issued: readonly CredentialView[]): readonly string[] {
  if (task.ended_at === null) return ["Not ended"];
  const revoked = issued.filter((one) => one.revoked_at !== null).length;
  return [
    "End",
    ...indented(
      facts([
        ["When", task.ended_at],
        ["By", END_WORDS.get(task.end_reason ?? "") ?? "unknown"],
        ["Revoked", `${revoked} of ${issued.length} issued`],
        ["Published", task.state === "ended" ? "yes" : "not to everybody yet"],
      ]),
    ),
  ];
}

function recordText(record: TrailRecord): readonly string[] {
  const about = [
    record.code,
    record.spiffe_id,
    record.serial === undefined ? undefined : `serial ${record.serial}`,
    record.jti === undefined ? undefined : `token id ${record.jti}`,
    record.reason,
    callerText(record),
  ].filter((text) => text !== undefined);
  return [
    `  ${record.time}  ${record.event}  ${record.outcome}`,
    ...(about.length === 0 ? [] : [`    ${about.join(", ")}`]),
    ...(record.decision_id === undefined ? [] : [`    decision ${record.decision_id}`]),
    ...(record.reasons ?? []).map((reason) => `    ${reason}`),
  ];
}

function callerText({
  caller_id: id,
  caller_address: address,
  caller_uid: uid,
}: TrailRecord): string | undefined {
  const caller = id ?? address ?? (uid === undefined ? undefined : `uid ${uid}`);
  return caller === undefined ? undefined : `by ${caller}`;
}

function claimLines(claims: Readonly<Record<string, string>>): readonly string[] {
  return lines(Object.entries(claims).map(([name, value]) => `${name}=${shown(value)}`));
}

/** Text that somebody else chose, without what would steer a terminal or turn its words about. */
function shown(text: string): string {
  return text.replaceAll(UNSHOWN, "\uFFFD");
}

function lines(texts: readonly string[]): readonly string[] {
  return texts.length === 0 ? ["  none"] : texts.map((text) => `  ${text}`);
}

function indented(text: string): readonly string[] {
  return text.split("\n").map((line) => `  ${line}`);
}

function withHint(text: string, hint: string): string {
  return hint === "" ? text : `${text}  (hint ${hint})`;
}

const END_WORDS: ReadonlyMap<string, string> = new Map([
  ["job", "the job"],
  ["lease", "no heartbeat came"],
  ["cap", "its cap"],
  ["operator", "an operator"],
  ["platform", "the platform"],
]);
const CAP_WORDS: ReadonlyMap<string, string> = new Map([
  ["setting", "tasks.max_duration"],
  ["other", "the platform's end, or an entry as it was then"],
]);
const KIND_WORDS: ReadonlyMap<string, string> = new Map([
  ["x509", "X509-SVID"],
  ["jwt", "JWT-SVID"],
  ["wit", "WIT-SVID"],
  ["access_token", "access token"],
]);
const UNSHOWN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;
