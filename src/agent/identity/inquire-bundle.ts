import { type AssayError, toAssayError } from "../../errors/assay-error.ts";
import { FIELD } from "../../observe/fields.ts";
import type { Log } from "../../observe/log.ts";
import type { SpiffeBundle } from "../../spiffe/bundle.ts";
import type { OperatorBundle } from "./operator-bundle.ts";

/** What asking for the bundle needs. */
export interface BundleInquiry {
  /** What servers are believed by. */
  readonly believed: SpiffeBundle;
  /** What they may be believed by where that does not do. */
  readonly operatorBundle: Pick<OperatorBundle, "news">;
  readonly link: { askBundle(believed: SpiffeBundle, signal: AbortSignal): Promise<SpiffeBundle> };
  readonly log: Log;
  readonly signal: AbortSignal;
}

/**
 * The trust domain's bundle as a server tells it to anybody: one that proves itself by the bundle that is believed, or by
 * what the operator has newly given. `undefined` where none does, and where what it tells is of no use; never rejects.
 */
export async function inquireBundle(inquiry: BundleInquiry): Promise<SpiffeBundle | undefined> {
  const { believed, operatorBundle, link, log, signal } = inquiry;
  const asked = async (by: SpiffeBundle): Promise<SpiffeBundle | undefined> => {
    const bundle = await link.askBundle(by, signal);
    const isUseful = bundle.trustDomain === believed.trustDomain && bundle.x509Authorities.length > 0;
    return isUseful ? bundle : undefined;
  };
  try {
    return await asked(believed);
  } catch (thrown) {
    if (signal.aborted) return undefined;
    const news = await operatorBundle.news(believed);
    if (news !== undefined) {
      try {
        const bundle = await asked(news);
        log.warn("the server is believed by trust_bundle, which is newer than what the agent knew");
        return bundle;
      } catch {
        // What the operator gave does not help either; what follows says so.
      }
    }
    warnOfUnbelieved(toAssayError(thrown), log);
    return undefined;
  }
}

function warnOfUnbelieved(error: AssayError, log: Log): void {
  // The words are OpenSSL's or our own, and decide about nothing but the hint.
  if (!/certificate/i.test(error.detail)) return;
  log.warn(
    "the server proves itself by no authority that the agent knows; if authorities were replaced while the agent was away, write the present bundle to trust_bundle",
    { [FIELD.error]: error },
  );
}
