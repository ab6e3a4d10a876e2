import type { Agent } from "../proto/gen/spire/api/types/agent_pb.ts";
import { timeText } from "./table.ts";
import { idText, selectorTexts } from "./wire-text.ts";

/** An attested node as JSON shows it. Times are RFC 3339, the serial number is decimal. */
export interface AgentView {
  readonly spiffe_id: string;
  readonly attestation_type: string;
  readonly banned: boolean;
  readonly can_reattest: boolean;
  readonly serial_number: string;
  readonly svid_expires_at: string;
  readonly version: string;
  readonly selectors: readonly string[];
}

/** An attested node of the wire for programs. */
export function agentView(agent: Agent): AgentView {
  return {
    spiffe_id: idText(agent.id),
    attestation_type: agent.attestationType,
    banned: agent.banned,
    can_reattest: agent.canReattest,
    serial_number: agent.x509svidSerialNumber,
    svid_expires_at: timeText(agent.x509svidExpiresAt),
    version: agent.agentVersion,
    selectors: selectorTexts(agent.selectors),
  };
}
