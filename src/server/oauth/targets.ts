import type { FormParameters } from "./form-parameters.ts";
import { OAuthError } from "./oauth-error.ts";

/**
 * The one thing that a token is wanted for, by `audience` (RFC 8693 §2.1) or `resource` (RFC 8707 §2); `undefined` where
 * nothing is named.
 * @throws OAuthError `invalid_target` for more than one, and for a resource that is no absolute URI without a fragment.
 */
export function targetOf({ targets }: FormParameters): string | undefined {
  const [target, ...more] = targets;
  if (more.length > 0) throw new OAuthError("invalid_target", "a token is for one audience or resource");
  if (target?.name === "resource" && !RESOURCE.test(target.value)) {
    throw new OAuthError("invalid_target", "resource must be an absolute URI without a fragment");
  }
  return target?.value;
}

const RESOURCE = /^[A-Za-z][A-Za-z0-9+.-]*:[\x21\x24-\x7e]{1,2000}$/;
