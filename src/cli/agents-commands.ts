import type { Command } from "commander";
import { Agent as AgentService } from "../proto/gen/spire/api/server/agent/v1/agent_pb.ts";
import type { Agent } from "../proto/gen/spire/api/types/agent_pb.ts";
import type { RpcClient } from "../rpc/client.ts";
import { withAdminClient } from "./admin-client.ts";
import { durationOf } from "./duration-flag.ts";
import { type CliIo, writeResult } from "./io.ts";
import { adminOptions, type AdminOptions } from "./options.ts";
import { agentView } from "./agent-view.ts";
import { facts, table, timeText } from "./table.ts";
import { idText, selectorTexts, wireId } from "./wire-text.ts";

/** Adds `assay agents …`: attested nodes, on the server's admin socket. */
export function addAgentsCommands(program: Command, io: CliIo): void {
  const agents = program.command("agents").description("agents: the nodes that have attested");

  adminOptions(agents.command("list").description("list agents"))
    .option("--attestation-type <name>", "only agents attested by this attestor")
    .option("--banned", "only banned agents")
    .action((flags: AdminOptions & { attestationType?: string; banned?: boolean }) =>
      withAdminClient(io, flags.adminSocket, async (client) => {
        const found = await listAgents(client, {
          ...(flags.attestationType === undefined ? {} : { byAttestationType: flags.attestationType }),
          ...(flags.banned === undefined ? {} : { byBanned: flags.banned }),
        });
        writeResult(io, flags.output, found.map(agentView), () =>
          found.length === 0 ? "no agents" : agentTable(found),
        );
      }),
    );

  adminOptions(agents.command("show").description("show one agent").argument("<spiffe-id>")).action(
    (id: string, flags: AdminOptions) =>
      withAdminClient(io, flags.adminSocket, async (client) => {
        const agent = await client.service(AgentService).getAgent({ id: wireId(id, "<spiffe-id>") });
        writeResult(io, flags.output, agentView(agent), () => agentText(agent));
      }),
  );

  adminOptions(
    agents
      .command("evict")
      .description("forget an agent: it stops working and may attest again")
      .argument("<spiffe-id>"),
  ).action((id: string, flags: AdminOptions) =>
    withAdminClient(io, flags.adminSocket, async (client) => {
      await client.service(AgentService).deleteAgent({ id: wireId(id, "<spiffe-id>") });
      writeResult(io, flags.output, { evicted: id }, () => `evicted ${id}`);
    }),
  );

  adminOptions(
    agents
      .command("ban")
      .description("ban an agent: it stops working and may not attest again")
      .argument("<spiffe-id>"),
  ).action((id: string, flags: AdminOptions) =>
    withAdminClient(io, flags.adminSocket, async (client) => {
      await client.service(AgentService).banAgent({ id: wireId(id, "<spiffe-id>") });
      writeResult(io, flags.output, { banned: id }, () => `banned ${id}`);
    }),
  );

  adminOptions(
    agents.command("purge").description("evict agents whose SVID expired long ago; banned ones stay"),
  )
    .option("--expired-for <duration>", "how long ago it expired at least", "720h")
    .option("--dry-run", "name the agents and evict none", false)
    .action((flags: AdminOptions & { expiredFor: string; dryRun: boolean }) =>
      withAdminClient(io, flags.adminSocket, async (client) => {
        const before = new Date(io.clock.now() - durationOf(flags.expiredFor, "--expired-for"));
        const found = await listAgents(client, { byExpiresBefore: rfc3339(before), byBanned: false });
        const evicted: string[] = [];
        for (const { id } of found) {
          if (id === undefined) continue;
          if (!flags.dryRun) await client.service(AgentService).deleteAgent({ id });
          evicted.push(idText(id));
        }
        writeResult(io, flags.output, { evicted, dry_run: flags.dryRun }, () =>
          evicted.length === 0
            ? "no agent expired that long ago"
            : evicted.map((id) => `${flags.dryRun ? "would evict" : "evicted"} ${id}`).join("\n"),
        );
      }),
    );
}

interface AgentFilter {
  readonly byAttestationType?: string;
  readonly byBanned?: boolean;
  readonly byExpiresBefore?: string;
}

async function listAgents(client: RpcClient, filter: AgentFilter): Promise<readonly Agent[]> {
  const found: Agent[] = [];
  let pageToken = "";
  do {
    const page = await client.service(AgentService).listAgents({ filter, pageSize: PAGE_SIZE, pageToken });
    found.push(...page.agents);
    pageToken = page.nextPageToken;
  } while (pageToken !== "");
  return found;
}

function agentTable(agents: readonly Agent[]): string {
  return table(
    ["SPIFFE ID", "ATTESTED BY", "SVID EXPIRES", "STATE", "VERSION"],
    agents.map((agent) => [
      idText(agent.id),
      agent.attestationType,
      timeText(agent.x509svidExpiresAt),
      agent.banned ? "banned" : "active",
      agent.agentVersion,
    ]),
  );
}

function agentText(agent: Agent): string {
  return facts([
    ["SPIFFE ID", idText(agent.id)],
    ["Attested by", agent.attestationType],
    ["State", agent.banned ? "banned" : "active"],
    ["SVID serial", agent.x509svidSerialNumber],
    ["SVID expires", timeText(agent.x509svidExpiresAt)],
    ["Can attest again", agent.canReattest ? "yes" : "no"],
    ["Version", agent.agentVersion],
    ["Selectors", selectorTexts(agent.selectors)],
  ]);
}

function rfc3339(time: Date): string {
  return time.toISOString().replace(/\.\d{3}Z$/, "Z");
}

const PAGE_SIZE = 500;
