import { AssayError } from "../../../errors/assay-error.ts";
import { pathFault, type SpiffeId } from "../../../spiffe/id.ts";
import { agentId } from "../../../spiffe/reserved.ts";
import type { TrustDomain } from "../../../spiffe/trust-domain.ts";
import type { LeafFacts } from "./facts.ts";

/** Makes an agent's ID of its certificate's facts. */
export type AgentPathTemplate = (facts: LeafFacts, trustDomain: TrustDomain) => SpiffeId;

/** The template of SPIRE: the leaf's SHA-1 fingerprint. */
export const DEFAULT_AGENT_PATH_TEMPLATE = "/{{ .PluginName }}/{{ .Fingerprint }}";

/**
 * Parses a template for agent paths, a small part of SPIRE's language: literal text and `{{ .Field }}` with the fields
 * `PluginName`, `TrustDomain`, `Fingerprint`, `SerialNumberHex` and `Subject.CommonName`. It must begin with the
 * plugin's own name and use at least one field that tells certificates apart.
 *
 * The template it gives throws `ATTESTATION_FAILED` where a value is not one path segment: a common name with a slash
 * or dots in it must not reach another agent's path.
 * @throws AssayError `CONFIG_INVALID` naming what is wrong.
 */
export function parseAgentPathTemplate(text: string): AgentPathTemplate {
  const parts = text.split(FIELD);
  const fields = parts.filter((_, index) => index % 2 === 1);
  const unknown = fields.find((field) => !VALUES.has(field));
  if (unknown !== undefined)
    refuse(`has the unknown field ${unknown}, expected ${[...VALUES.keys()].join(", ")}`);
  if (parts.some((part, index) => index % 2 === 0 && /[{}]/.test(part)))
    refuse("has a brace outside of {{ .Field }}");
  if (!fields.some((field) => DISTINCT.has(field))) refuse(`needs one of ${[...DISTINCT].join(", ")}`);
  const sample: LeafFacts = { fingerprint: "f", serialNumberHex: "f", commonName: "f", names: new Map() };
  const path = render(parts, sample, "f" as TrustDomain);
  const fault = path.startsWith(OWN) ? pathFault(path) : `it must begin with ${OWN} or /{{ .PluginName }}/`;
  if (fault !== undefined) refuse(`gives no agent path: ${fault}`);
  return (facts, trustDomain) => {
    const rendered = render(parts, facts, trustDomain);
    return agentIdOf(rendered.slice(OWN.length), trustDomain);
  };
}

function render(parts: readonly string[], facts: LeafFacts, trustDomain: TrustDomain): string {
  return parts
    .map((part, index) =>
      index % 2 === 0 ? part : segment(part, VALUES.get(part)?.(facts, trustDomain) ?? ""),
    )
    .join("");
}

function segment(field: string, value: string): string {
  if (value === "" || value.includes("/") || pathFault(`/${value}`) !== undefined) {
    throw new AssayError(
      "ATTESTATION_FAILED",
      `${field} of the certificate cannot be part of an agent's path`,
    );
  }
  return value;
}

function agentIdOf(suffix: string, trustDomain: TrustDomain): SpiffeId {
  try {
    return agentId(trustDomain, "x509pop", suffix);
  } catch (cause) {
    throw new AssayError("ATTESTATION_FAILED", "the certificate's facts make no agent path", { cause });
  }
}

function refuse(detail: string): never {
  throw new AssayError("CONFIG_INVALID", `agent_path_template ${detail}`);
}

type ValueOf = (facts: LeafFacts, trustDomain: TrustDomain) => string;

const OWN = "/x509pop/";
const FIELD = /\{\{\s*\.([A-Za-z.]+)\s*\}\}/;
const VALUES: ReadonlyMap<string, ValueOf> = new Map<string, ValueOf>([
  ["PluginName", () => "x509pop"],
  ["TrustDomain", (_, trustDomain) => trustDomain],
  ["Fingerprint", ({ fingerprint }) => fingerprint],
  ["SerialNumberHex", ({ serialNumberHex }) => serialNumberHex],
  ["Subject.CommonName", ({ commonName }) => commonName],
]);
const DISTINCT: ReadonlySet<string> = new Set(["Fingerprint", "SerialNumberHex", "Subject.CommonName"]);
