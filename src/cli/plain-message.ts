import type { Agent } from "../proto/gen/spire/api/types/agent_pb.ts";
import type { Entry } from "../proto/gen/spire/api/types/entry_pb.ts";
import type { Selector } from "../proto/gen/spire/api/types/selector_pb.ts";
import type { SPIFFEID } from "../proto/gen/spire/api/types/spiffeid_pb.ts";
import { agentView } from "./agent-view.ts";
import { entryView } from "./entry-view.ts";
import { idText } from "./wire-text.ts";

/**
 * A message of the wire as plain JSON in this program's own spelling: keys in snake_case, SPIFFE IDs and selectors as
 * text, entries and agents as their own commands show them.
 */
export function plainMessage(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(plainMessage);
  if (typeof value !== "object" || value === null || value instanceof Uint8Array) return value;
  const message = value as Readonly<Record<string, unknown>>;
  switch (message["$typeName"]) {
    case "spire.api.types.SPIFFEID":
      return idText(value as SPIFFEID);
    case "spire.api.types.Selector":
      return `${(value as Selector).type}:${(value as Selector).value}`;
    case "spire.api.types.Entry":
      return entryView(value as Entry);
    case "spire.api.types.Agent":
      return agentView(value as Agent);
    default:
      return Object.fromEntries(
        Object.entries(message)
          .filter(([key, item]) => !key.startsWith("$") && item !== undefined)
          .map(([key, item]) => [
            key.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
            plainMessage(item),
          ]),
      );
  }
}
