/**
 * wire/ — our own values in the messages that both programs exchange with others, and back.
 *
 * Must never know a call, a listener or what a message is for.
 * Called by the server and the agent, which must not import each other.
 */
import { AssayError } from "../errors/assay-error.ts";
import { parseSpiffeId, pathOf, type SpiffeId, trustDomainOf } from "../spiffe/id.ts";

/** A SPIFFE ID as the server API carries it (`spire.api.types.SPIFFEID`). */
export interface WireSpiffeId {
  readonly trustDomain: string;
  readonly path: string;
}

/**
 * Reads a SPIFFE ID from the wire.
 * @param field The name of the field, for the error.
 * @throws AssayError `INVALID_SPIFFE_ID`.
 */
export function spiffeIdFromWire(wire: WireSpiffeId | undefined, field: string): SpiffeId {
  return parseSpiffeId(spiffeIdText(wire, field));
}

/**
 * The text of a SPIFFE ID from the wire, not yet parsed; for callers whose own rules do the parsing.
 * @throws AssayError `INVALID_SPIFFE_ID` where the field is missing.
 */
export function spiffeIdText(wire: WireSpiffeId | undefined, field: string): string {
  if (wire === undefined)
    throw new AssayError("INVALID_SPIFFE_ID", `${field}: request must specify SPIFFE ID`);
  if (wire.trustDomain === "") throw new AssayError("INVALID_SPIFFE_ID", `${field}: trust domain is missing`);
  // A slash in the trust domain, or none before the path, would move the border between the two halves.
  if (wire.trustDomain.includes("/")) {
    throw new AssayError("INVALID_SPIFFE_ID", `${field}: trust domain must not contain a slash`);
  }
  if (wire.path !== "" && !wire.path.startsWith("/")) {
    throw new AssayError("INVALID_SPIFFE_ID", `${field}: path must begin with a slash`);
  }
  return `spiffe://${wire.trustDomain}${wire.path}`;
}

/** Writes a SPIFFE ID for the wire. */
export function spiffeIdToWire(id: SpiffeId): WireSpiffeId {
  return { trustDomain: trustDomainOf(id), path: pathOf(id) };
}
