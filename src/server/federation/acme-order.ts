import { Agent } from "node:https";
import { getCACertificates } from "node:tls";
import acme from "acme-client";
import type { ServerCredential } from "../../endpoint/tls-listener.ts";

/** What a CA is asked for, and as whom. */
export interface AcmeOrder {
  readonly directoryUrl: string;
  /** CAs that the directory's own certificate may chain to beside the public ones, PEM. */
  readonly directoryAuthorities: readonly string[];
  /** PEM. */
  readonly accountKey: string;
  /** Of the account, where there is one already. */
  readonly accountUrl?: string | undefined;
  readonly email?: string | undefined;
  readonly domains: readonly string[];
  /** Answers for a name until it is called without a certificate. */
  readonly setChallenge: (name: string, credential: ServerCredential | undefined) => void;
  readonly signal: AbortSignal;
}

/** What the CA gave. */
export interface AcmeAnswer {
  readonly credential: ServerCredential;
  readonly accountUrl: string;
}

/** A fresh account key, PEM. */
export async function newAccountKey(): Promise<string> {
  return (await acme.crypto.createPrivateEcdsaKey("P-256")).toString("utf8");
}

/**
 * Gets a certificate with a fresh key by ACME (RFC 8555) and the challenge TLS-ALPN-01 (RFC 8737), one try at each
 * step; trying again is the caller's. Makes an account where there is none.
 */
export async function orderCertificate(order: AcmeOrder): Promise<AcmeAnswer> {
  settle(order);
  const client = new acme.Client({
    directoryUrl: order.directoryUrl,
    accountKey: order.accountKey,
    ...(order.accountUrl !== undefined && { accountUrl: order.accountUrl }),
    backoffAttempts: POLLS,
    backoffMin: POLL_MIN,
    backoffMax: POLL_MAX,
  });
  const key = await acme.crypto.createPrivateEcdsaKey("P-256");
  const [, csr] = await acme.crypto.createCsr({ altNames: [...order.domains] }, key);
  const chain = await client.auto({
    csr,
    ...(order.email !== undefined && { email: order.email }),
    termsOfServiceAgreed: true,
    challengePriority: ["tls-alpn-01"],
    // It would connect to port 443 from here; whether the CA can is all that counts.
    skipChallengeVerification: true,
    async challengeCreateFn(authorization, challenge, keyAuthorization) {
      // The library's types have not heard of it, the library has.
      if ((challenge.type as string) !== "tls-alpn-01") {
        throw new Error(
          `the CA offers no challenge of type tls-alpn-01 for ${authorization.identifier.value}`,
        );
      }
      const [privateKey, certificate] = await acme.crypto.createAlpnCertificate(
        authorization,
        keyAuthorization,
      );
      order.setChallenge(authorization.identifier.value, {
        certificateChain: certificate.toString("utf8"),
        privateKey: privateKey.toString("utf8"),
      });
    },
    challengeRemoveFn: async ({ identifier }) => order.setChallenge(identifier.value, undefined),
  });
  return {
    credential: { certificateChain: chain, privateKey: key.toString("utf8") },
    accountUrl: client.getAccountUrl(),
  };
}

/** The library keeps its HTTP client in one place for the process; nothing else here uses it. */
function settle({ directoryAuthorities, signal }: AcmeOrder): void {
  const { defaults } = acme.axios;
  defaults.timeout = TIMEOUT;
  defaults.proxy = false;
  defaults.maxRedirects = 0;
  defaults.maxContentLength = MAX_ANSWER;
  defaults.signal = signal;
  defaults.httpsAgent = new Agent({ ca: [...getCACertificates("default"), ...directoryAuthorities] });
  Object.assign(defaults, { acmeSettings: { retryMaxAttempts: 1, retryDefaultDelay: 1 } });
}

const TIMEOUT = 30_000;
const MAX_ANSWER = 1024 * 1024;
const POLLS = 60;
const POLL_MIN = 1_000;
// Short, since a server that is told to stop waits for the pause to end.
const POLL_MAX = 3_000;
