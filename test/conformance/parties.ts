import type { Line, Party } from "./lines/document.ts";

/** Whether Assay is one of those whom a line binds: then a MUST needs a test and no reason will do. */
export function bindsUs(line: Line): boolean {
  return line.binds.some((party) => !STRANGERS.has(party) && !isStrangerIn(line.id, party));
}

/** Some documents use a party's name for somebody else than the others do. */
function isStrangerIn(id: string, party: Party): boolean {
  // The client of JWT-SVID shows tokens to a service, that of the Broker API is fed by a broker: we ship neither.
  return party === "client" && /^(JS|BA)-/.test(id);
}

/** Who writes standards, who runs Assay, and the broker, which is a program between us and workloads. */
const STRANGERS: ReadonlySet<Party> = new Set<Party>(["spec authors", "profile", "operator", "broker"]);
