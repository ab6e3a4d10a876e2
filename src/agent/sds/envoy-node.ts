import { AssayError } from "../../errors/assay-error.ts";
import type { Node } from "../../proto/gen/envoy/config/core/v3/base_pb.ts";

/** How peers are validated: by Envoy's SPIFFE validator, or by its own against plain CA certificates. */
export type Validation = "spiffe" | "plain";

/**
 * How the Envoy that introduced itself validates its peers: as its metadata says under `disable_spiffe_cert_validation`
 * (a boolean, or a text that spells one), else as the operator said. One older than 1.18 has no SPIFFE validator.
 * @throws AssayError `INVALID_REQUEST` where the metadata says something else than yes or no.
 */
export function validationFor(node: Node | undefined, disabled: boolean): Validation {
  return (saidBy(node) ?? disabled) || isTooOld(node) ? "plain" : "spiffe";
}

function saidBy(node: Node | undefined): boolean | undefined {
  const { metadata } = node ?? {};
  if (metadata === undefined || !Object.hasOwn(metadata, KEY)) return undefined;
  const value = metadata[KEY];
  if (typeof value === "boolean") return value;
  if (typeof value === "string" && /^(1|t|true)$/i.test(value)) return true;
  if (typeof value === "string" && /^(0|f|false)$/i.test(value)) return false;
  throw new AssayError("INVALID_REQUEST", `node.metadata.${KEY} must be true or false`);
}

function isTooOld(node: Node | undefined): boolean {
  const told = node?.userAgentVersionType;
  if (told?.case !== "userAgentBuildVersion") return false;
  const { version } = told.value;
  return version !== undefined && version.majorNumber === 1 && version.minorNumber < FIRST_MINOR;
}

const KEY = "disable_spiffe_cert_validation";
const FIRST_MINOR = 18;
