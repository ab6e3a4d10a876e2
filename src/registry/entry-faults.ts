import { AssayError } from "../errors/assay-error.ts";
import type { TrustDomain } from "../spiffe/trust-domain.ts";

/** The error of an entry that federates with a trust domain whose bundle is not there. */
export function unknownBundle(trustDomain: TrustDomain): AssayError {
  const detail = `unable to find federated bundle of ${trustDomain}`;
  return new AssayError("INVALID_ENTRY", `federatesWith: ${detail}`, {
    violations: [{ pointer: "/federatesWith", detail }],
  });
}
