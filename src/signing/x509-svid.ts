import { type Clock, unixSeconds } from "../clock.ts";
import { keyIdentifier } from "../crypto/keys.ts";
import { type Random, randomSerial, serialToHex } from "../crypto/random.ts";
import { readSpki } from "../crypto/spki.ts";
import { AssayError } from "../errors/assay-error.ts";
import { isMemberOf } from "../spiffe/id.ts";
import type { TrustDomain } from "../spiffe/trust-domain.ts";
import { signBounded } from "./bounded-sign.ts";
import { Pending } from "./pending.ts";
import type { PreparedX509Svid, Signing } from "./signing.ts";
import type { X509Authority } from "./x509-authority.ts";

/** What the signer works with. */
export interface X509SvidSignerDependencies {
  readonly trustDomain: TrustDomain;
  readonly clock: Clock;
  readonly random: Random;
  /** The active authority. */
  readonly authority: () => X509Authority;
}

/** The two steps in which X509-SVIDs are made; the second accepts nothing but what the first has checked. */
export type X509SvidSigner = Pick<Signing, "prepareX509Svid" | "signX509Svid">;

/** The signer of X509-SVIDs: workloads', agents' and the server's own alike. */
export function createX509SvidSigner(dependencies: X509SvidSignerDependencies): X509SvidSigner {
  const { trustDomain, clock, random, authority } = dependencies;
  const pending = new Pending<PreparedX509Svid, { readonly tbs: Uint8Array; readonly by: X509Authority }>(
    "X509-SVID",
  );

  return {
    prepareX509Svid(order) {
      const { spiffeId, publicKey, dnsNames, ttl, subject } = order;
      const by = authority();
      const now = unixSeconds(clock);
      if (!isMemberOf(spiffeId, trustDomain)) throw refused(`SPIFFE ID must be a member of ${trustDomain}`);
      if (!(ttl >= 1)) throw refused("lifetime must be at least one second");
      const { keyBits } = readSpki(publicKey, "INVALID_CSR");
      const serial = randomSerial(random);
      const notBefore = Math.max(now - BACKDATE_SECONDS, by.record.notBefore);
      const notAfter = Math.min(now + Math.floor(ttl), by.record.notAfter);
      const tbs = by.template.build({
        spki: publicKey,
        subjectKeyId: keyIdentifier(keyBits),
        spiffeId,
        dnsNames,
        serial,
        notBefore,
        notAfter,
        ...(subject === undefined ? {} : { subject }),
      });
      const [finding] = by.lint.findings(tbs, { spiffeId, spki: publicKey, dnsNames, notAfter, serial });
      if (finding !== undefined) throw refused(`${finding.rule}: ${finding.detail}`);
      return pending.add(
        { spiffeId, serial: serialToHex(serial), notBefore, notAfter, authorityId: by.record.id },
        { tbs, by },
      );
    },

    async signX509Svid(prepared, waiter) {
      const { tbs, by } = pending.take(prepared);
      const certificate = by.template.assemble(tbs, await signBounded(by.key, tbs, "der", waiter));
      return { ...prepared, certificate, chain: [certificate, ...by.intermediates] };
    },
  };
}

function refused(detail: string): AssayError {
  return new AssayError("CERTIFICATE_LINT_FAILED", `X509-SVID: ${detail}`);
}

const BACKDATE_SECONDS = 10;
