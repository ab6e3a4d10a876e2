import type { Agent } from "../proto/gen/spire/api/types/agent_pb.ts";
import { timeText } from "./table.ts";
import { idText, selectorTexts } from "./wire-text.ts";

/** An attested node as JSON shows it, spelled as in the server's HTTP API. Times are RFC 3339. */
export interface AgentView {
  readonly id: string;
  readonly attestation_type: string;
  readonly banned: boolean;
  readonly can_reattest: boolean;
  /** Of the active SVID, decimal. */
  readonly serial: string;
  readonly expires_at: string | null;
  readonly agent_version: string;
  readonly selectors: readonly string[];
}

/** An attested node of the wire for programs. */
export function agentView(agent: Agent): AgentView {
  return {
    id: idText(agent.id),
    attestation_type: agent.attestationType,
    banned: agent.banned,
    can_reattest: agent.canReattest,
    serial: agent.x509svidSerialNumber,
    expires_at: agent.x509svidExpiresAt === 0n ? null : timeText(agent.x509svidExpiresAt),
    agent_version: agent.agentVersion,
    selectors: selectorTexts(agent.selectors),
  };
}
