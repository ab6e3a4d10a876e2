import type { Command } from "commander";
import { AssayError } from "../errors/assay-error.ts";
import { Explain as AgentExplain } from "../proto/gen/assay/api/agent/v1/explain_pb.ts";
import { Explain as ServerExplain } from "../proto/gen/assay/api/server/v1/explain_pb.ts";
import {
  type Decision,
  Decision_Outcome,
  type NearMiss,
} from "../proto/gen/assay/api/types/v1/decision_pb.ts";
import { withAdminClient } from "./admin-client.ts";
import { addExplainTaskCommands } from "./explain-task-commands.ts";
import { type CliIo, writeResult } from "./io.ts";
import { adminOptions, agentAdminOptions, type AdminOptions } from "./options.ts";
import { plainMessage } from "./plain-message.ts";
import { facts, timeText } from "./table.ts";
import { idText, selectorTexts, wireId } from "./wire-text.ts";

/** Adds `assay explain …`: why somebody got what it got, or nothing. */
export function addExplainCommands(program: Command, io: CliIo): void {
  const explain = program.command("explain").description("why somebody got an identity, or none");

  agentAdminOptions(
    explain
      .command("pid")
      .description("what a process on this node is and what it may have")
      .argument("<pid>"),
  ).action((text: string, flags: AdminOptions) =>
    withAdminClient(io, flags.adminSocket, async (client) => {
      const pid = Number(text);
      if (!/^[1-9]\d{0,9}$/.test(text) || pid > MAX_PID)
        throw new AssayError("USAGE", `<pid>: expected a process id, got ${JSON.stringify(text)}`);
      const found = await client.service(AgentExplain).explainPid({ pid });
      writeResult(io, flags.output, withOutcome(found), () =>
        [
          facts([
            ["Process", `${found.process?.pid ?? pid} ${found.process?.path ?? ""}`.trimEnd()],
            ["User and group", `uid ${found.process?.uid ?? "?"}, gid ${found.process?.gid ?? "?"}`],
            ["Selectors", selectorTexts(found.selectors)],
            ["Outcome", outcomeText(found.outcome, found.code)],
            ...given("Why", found.detail === "" ? [] : [found.detail]),
            [
              "May have",
              found.matchedEntries.map((entry) => `${idText(entry.spiffeId)}  (entry ${entry.id})`),
            ],
          ]),
          ...nearMissText(found.nearMisses),
        ].join("\n"),
      );
    }),
  );

  adminOptions(
    explain
      .command("decision")
      .description("one decision of the audit log of the server or an agent")
      .argument("<id>"),
  )
    .option("--agent-admin-socket <path>", "ask the agent behind this admin socket instead")
    .action((id: string, flags: AdminOptions & { agentAdminSocket?: string }) =>
      withAdminClient(io, flags.agentAdminSocket ?? flags.adminSocket, async (client) => {
        const service = flags.agentAdminSocket === undefined ? ServerExplain : AgentExplain;
        const { decision } = await client.service(service).explainDecision({ decisionId: id });
        if (decision === undefined) throw new AssayError("DECISION_NOT_FOUND", `no decision ${id}`);
        writeResult(io, flags.output, withOutcome(decision), () => decisionText(decision));
      }),
    );

  adminOptions(
    explain
      .command("node")
      .description("what the server knows of an agent and lets it hand out")
      .argument("<spiffe-id>"),
  ).action((id: string, flags: AdminOptions) =>
    withAdminClient(io, flags.adminSocket, async (client) => {
      const found = await client.service(ServerExplain).explainNode({ agentId: wireId(id, "<spiffe-id>") });
      writeResult(io, flags.output, plainMessage(found), () =>
        [
          facts([
            ["Agent", id],
            ["Status", found.status],
            ["Attested by", found.agent?.attestationType ?? ""],
            ["Selectors", selectorTexts(found.agent?.selectors ?? [])],
            ["Aliases", found.aliases.map((entry) => `${idText(entry.spiffeId)}  (entry ${entry.id})`)],
            [
              "May hand out",
              found.authorizedEntries.map((entry) => `${idText(entry.spiffeId)}  (entry ${entry.id})`),
            ],
          ]),
          ...nearMissText(found.nearMisses),
        ].join("\n"),
      );
    }),
  );

  addExplainTaskCommands(explain, io);
}

function decisionText(decision: Decision): string {
  const caller = decision.caller;
  return [
    facts([
      ["Decision", decision.id],
      ["Time", new Date(Number(decision.time)).toISOString()],
      ["Event", decision.event],
      ["Outcome", outcomeText(decision.outcome, decision.code)],
      ...given("Why", decision.detail === "" ? [] : [decision.detail]),
      ...given("Caller", [
        ...(caller?.spiffeId === undefined ? [] : [idText(caller.spiffeId)]),
        ...(caller?.address === undefined || caller.address === "" ? [] : [caller.address]),
        ...(caller?.process === undefined
          ? []
          : [
              `pid ${caller.process.pid}, uid ${caller.process.uid}, gid ${caller.process.gid} ${caller.process.path}`.trimEnd(),
            ]),
      ]),
      ...given("Selectors", selectorTexts(decision.selectors)),
      ...given("Entry", decision.entryId === "" ? [] : [decision.entryId]),
      ...given("SPIFFE ID", decision.spiffeId === undefined ? [] : [idText(decision.spiffeId)]),
      ...given("Audience", decision.audience),
      ...given("Authority", decision.authorityId === "" ? [] : [decision.authorityId]),
      ...given("Serial", decision.serialNumber === "" ? [] : [decision.serialNumber]),
      ...given("Token id", decision.jti === "" ? [] : [decision.jti]),
      ...given("Expires", decision.expiresAt === 0n ? [] : [timeText(decision.expiresAt)]),
    ]),
    ...nearMissText(decision.nearMisses),
  ].join("\n");
}

function given(name: string, values: readonly string[]): (readonly [string, readonly string[]])[] {
  return values.length === 0 ? [] : [[name, values]];
}

function nearMissText(misses: readonly NearMiss[]): readonly string[] {
  if (misses.length === 0) return [];
  return [
    "Came near:",
    ...misses.flatMap(({ entry, missing, reason }) => [
      `  ${idText(entry?.spiffeId)}  (entry ${entry?.id ?? "?"})`,
      ...(missing.length > 0 ? [`    missing ${selectorTexts(missing).join(", ")}`] : []),
      ...(reason === "" ? [] : [`    ${reason}`]),
    ]),
  ];
}

function withOutcome(message: { readonly outcome: Decision_Outcome }): object {
  return { ...(plainMessage(message) as object), outcome: OUTCOMES.get(message.outcome) ?? "unknown" };
}

function outcomeText(outcome: Decision_Outcome, code: string): string {
  const name = OUTCOMES.get(outcome) ?? "unknown";
  return code === "" ? name : `${name} (${code})`;
}

// The largest process id that the wire can carry.
const MAX_PID = 2 ** 31 - 1;
const OUTCOMES: ReadonlyMap<Decision_Outcome, string> = new Map<Decision_Outcome, string>([
  [Decision_Outcome.ISSUED, "issued"],
  [Decision_Outcome.DENIED, "denied"],
  [Decision_Outcome.FAILED, "failed"],
]);
