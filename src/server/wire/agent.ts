import type { MessageInitShape } from "@bufbuild/protobuf";
import type { AgentMask, AgentSchema } from "../../proto/gen/spire/api/types/agent_pb.ts";
import type { NodeRecord } from "../../store/records.ts";
import { spiffeIdToWire } from "../../wire/spiffe-id.ts";

/** An agent as the wire library takes it. */
export type WireAgent = MessageInitShape<typeof AgentSchema>;

/**
 * Writes an attested node for the wire. A mask that is absent keeps everything; one that is there keeps the id and
 * what it names. The serial number is decimal there.
 */
export function agentToWire(node: NodeRecord, mask?: AgentMask): WireAgent {
  const keeps = (field: Exclude<keyof AgentMask, `$${string}`>): boolean => mask === undefined || mask[field];
  return {
    id: spiffeIdToWire(node.id),
    ...(keeps("attestationType") && { attestationType: node.attestationType }),
    ...(keeps("x509svidSerialNumber") && { x509svidSerialNumber: decimalSerial(node.serial) }),
    ...(keeps("x509svidExpiresAt") && { x509svidExpiresAt: BigInt(node.expiresAt) }),
    ...(keeps("selectors") && { selectors: node.selectors.map(({ type, value }) => ({ type, value })) }),
    ...(keeps("banned") && { banned: node.banned }),
    ...(keeps("canReattest") && { canReattest: node.canReattest }),
    ...(keeps("agentVersion") && { agentVersion: node.agentVersion }),
  };
}

function decimalSerial(hex: string): string {
  return hex === "" ? "" : BigInt(`0x${hex}`).toString();
}
