/**
 * attestation/task/oidc/ — runs of CI platforms and other schedulers by the OpenID Connect tokens that these give them.
 *
 * Must never know what a run may be called or get; nor a platform by name: what is particular to one is its preset.
 * Called by the catalog, and by whatever imitates a platform for its presets.
 */
import { getCACertificates } from "node:tls";
import { unixSeconds } from "../../../clock.ts";
import {
  claimedIssuer,
  judgeOidcParties,
  OIDC_TOKEN_LIMITS,
  type OidcTokenDates,
  verifyOidcToken,
} from "../../../crypto/jose/oidc-token.ts";
import { parsePemCertificates, toPem } from "../../../crypto/pem.ts";
import { AssayError } from "../../../errors/assay-error.ts";
import { readBounded } from "../../../files/read-bounded.ts";
import { addressRules, parseAddressBlock } from "../../../outbound/address-rules.ts";
import { createOutbound } from "../../../outbound/outbound.ts";
import {
  defineTaskAttestor,
  type TaskAttestation,
  type TaskAttestor,
  type TaskAttestorHost,
} from "../../../plugin/task-attestor.ts";
import { config, type OidcConfig } from "./config.ts";
import { IssuerKeys } from "./issuer-keys.ts";
import { judgeClaims } from "./judge-claims.ts";
import { fetchKeys, readKeys } from "./load-keys.ts";
import { taskKeyOf } from "./task-key.ts";
import { type OidcTrust, trustOf } from "./trust.ts";
import { readWebhookSecret } from "./webhooks/webhook-secret.ts";

/** Verifies the tokens of one issuer, by a preset and the operator's conditions. */
export const oidc = defineTaskAttestor({
  kind: "taskAttestor",
  apiVersion: 1,
  name: "oidc",
  config,
  async create(settings, host) {
    const trust = trustOf(settings, host.audience);
    const { issuer, audience, maxAge, maxLifetime } = trust;
    const keys = await issuerKeys(settings, trust, host);
    const readWebhook = await webhookReader(settings, trust, host);
    if (settings.imitation) host.log.info("tokens of an imitation are trusted", { issuer });
    return {
      recognises: (token) => claimedIssuer(token) === issuer,
      async attest({ token }, signal) {
        const facts = await verifyOidcToken(token, {
          issuer,
          audience,
          maxAge,
          maxLifetime,
          algorithms: settings.algorithms,
          now: unixSeconds(host.clock),
          keysFor: (keyId) => keys.keysOf(keyId, signal),
        });
        return attestationOf(trust, facts.claims, facts, facts.replayKey);
      },
      ...(readWebhook !== undefined && { readWebhook }),
      judge: (claims) => attestationOf(trust, claims, judgeOidcParties(claims, trust), "judged"),
      async [Symbol.asyncDispose]() {
        keys[Symbol.dispose]();
      },
    };
  },
});

function attestationOf(
  trust: OidcTrust,
  claims: Readonly<Record<string, unknown>>,
  { issuedAt, expiresAt }: OidcTokenDates,
  replayKey: string,
): TaskAttestation {
  const { endsAtExpiry } = trust.preset;
  const ends = endsAtExpiry !== undefined && expiresAt - issuedAt > endsAtExpiry.ifLongerThan;
  return {
    ...judgeClaims(trust, claims),
    replayKey,
    replayUntil: expiresAt + OIDC_TOKEN_LIMITS.leeway + REPLAY_MARGIN,
    issuedAt,
    ...(ends ? { endsBy: expiresAt } : {}),
  };
}

/** How the platform's messages are read, where the operator shares a secret with it. */
async function webhookReader(
  { webhook_secret_file: file }: OidcConfig,
  { preset, issuer }: OidcTrust,
  { clock }: TaskAttestorHost,
): Promise<TaskAttestor["readWebhook"]> {
  if (file === undefined) return undefined;
  const { webhook, title } = preset;
  if (webhook === undefined) {
    throw new AssayError("CONFIG_INVALID", `webhook_secret_file: messages of ${title} are not understood`);
  }
  const secret = await readWebhookSecret(file);
  return ({ headers, body }) => {
    const end = webhook.read({ headers, body, secret, now: unixSeconds(clock) });
    if (end === undefined) return undefined;
    const { run, deliveryId } = end;
    return { taskKey: taskKeyOf(issuer, run), ...(deliveryId !== undefined && { deliveryId }) };
  };
}

async function issuerKeys(
  settings: OidcConfig,
  { issuer }: OidcTrust,
  host: TaskAttestorHost,
): Promise<IssuerKeys> {
  const { clock, log } = host;
  const { jwks_file: file, jwks_url: jwksUrl } = settings;
  if (file !== undefined) {
    // A file that is wrong now is a mistake; one that goes wrong later keeps the keys that it had.
    await configured(() => readKeys(file));
    return new IssuerKeys({ load: () => readKeys(file), clock, log });
  }
  const authorities = await webAuthorities(settings.ca_file);
  const outbound = createOutbound({
    clock,
    addresses: addressRules(settings.allowed_addresses.map(parseAddressBlock)),
  });
  const remote = {
    issuer,
    outbound,
    proof: { kind: "web", authorities } as const,
    ...(jwksUrl !== undefined && { jwksUrl }),
  };
  return new IssuerKeys({ load: (signal) => fetchKeys(remote, signal), clock, log });
}

async function webAuthorities(file: string | undefined): Promise<readonly string[]> {
  const known = getCACertificates("default");
  if (file === undefined) return known;
  const text = (await readBounded(file, MAX_CA_BYTES, { code: "CONFIG_INVALID" })).toString("latin1");
  const own = await configured(() => parsePemCertificates(text));
  return [...known, ...own.map(({ der }) => toPem("CERTIFICATE", der))];
}

async function configured<Value>(read: () => Value | Promise<Value>): Promise<Value> {
  try {
    return await read();
  } catch (cause) {
    const reason = cause instanceof AssayError ? cause.detail : "a file cannot be used";
    throw new AssayError("CONFIG_INVALID", reason, { cause });
  }
}

const MAX_CA_BYTES = 4 * 1024 * 1024;
// Clocks of several servers differ, and a key is forgotten a little late rather than a little early.
const REPLAY_MARGIN = 60;
