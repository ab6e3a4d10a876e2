import { AssayError } from "../../errors/assay-error.ts";

/** Whether an error says that an upstream authority could not be used, or gave nothing that could be. */
export function isUpstreamFault(error: unknown): boolean {
  return (
    error instanceof AssayError &&
    (error.code === "UPSTREAM_UNAVAILABLE" || error.code === "UPSTREAM_REFUSED")
  );
}
