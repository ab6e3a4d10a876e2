import { X509Certificate } from "node:crypto";
import { join } from "node:path";
import type { Clock } from "../../clock.ts";
import { parsePemCertificates, toPem } from "../../crypto/pem.ts";
import { AssayError } from "../../errors/assay-error.ts";
import type { ServerCredential } from "../../endpoint/tls-listener.ts";
import { atomicWrite } from "../../files/atomic-write.ts";
import { ensurePrivateFolder } from "../../files/private-folder.ts";
import { readBounded, readBoundedIfPresent } from "../../files/read-bounded.ts";
import { FIELD } from "../../observe/fields.ts";
import type { Log } from "../../observe/log.ts";
import type { Metrics } from "../../observe/metrics.ts";
import { type AcmeAnswer, type AcmeOrder, newAccountKey, orderCertificate } from "./acme-order.ts";
import { checkedCredential } from "./certificate-files.ts";
import type { AcmeOptions } from "./federation-options.ts";

/** What a certificate had by ACME stands on. */
export interface AcmeCertificateParts {
  readonly options: AcmeOptions;
  /** Where account and certificate are kept, mode 0700; the files have 0600. */
  readonly folder: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly random: () => number;
  /** Who answers the CA when it validates a name. */
  readonly challenges: { setChallenge(name: string, credential: ServerCredential | undefined): void };
  /** Takes the certificate, the kept one first, then each new one. */
  readonly onCredential: (credential: ServerCredential) => void;
  /** Asks the CA; the real thing unless given. */
  readonly order?: (order: AcmeOrder) => Promise<AcmeAnswer>;
}

/**
 * A certificate that a CA makes by ACME (RFC 8555), kept on disk and renewed at two thirds of its life. Where the CA
 * cannot be reached or will not, the certificate at hand stays, and it is asked again after a minute, later each time
 * up to half a day.
 */
export class AcmeCertificate implements AsyncDisposable {
  readonly #parts: AcmeCertificateParts;
  readonly #abort = new AbortController();
  readonly #directoryAuthorities: readonly string[];
  #certificate: X509Certificate | undefined;
  #failures = 0;
  #wait: Disposable | undefined;
  #running: Promise<void> | undefined;

  private constructor(parts: AcmeCertificateParts, directoryAuthorities: readonly string[]) {
    this.#parts = parts;
    this.#directoryAuthorities = directoryAuthorities;
    parts.metrics.observedGauge(
      {
        name: "bundle_endpoint_certificate_expiry_timestamp_seconds",
        help: "End of the bundle endpoint's certificate had by ACME, 0 without one",
      },
      () => (this.#certificate === undefined ? 0 : this.#certificate.validToDate.getTime() / 1000),
    );
  }

  /**
   * Hands out the kept certificate if it is still good, and begins to see to the next one; waits for no CA.
   * @throws AssayError `FILE_UNAVAILABLE`, `CONFIG_INVALID` for a CA file that cannot be used.
   */
  static async open(parts: AcmeCertificateParts): Promise<AcmeCertificate> {
    const { folder, options, onCredential, clock, log } = parts;
    await ensurePrivateFolder(folder);
    const keeper = new AcmeCertificate(parts, await authoritiesOf(options.directoryCaFile));
    try {
      const kept = await keeper.#kept();
      if (kept !== undefined) {
        onCredential(kept.credential);
        keeper.#certificate = kept.certificate;
      }
    } catch (error) {
      log.warn("the kept certificate cannot be used, another is asked for", { [FIELD.error]: error });
    }
    keeper.#schedule(Math.max(0, keeper.#dueAt() - clock.now()));
    return keeper;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#abort.abort();
    this.#wait?.[Symbol.dispose]();
    await this.#running;
  }

  /** When the next certificate is due, Unix milliseconds; at once where there is none. */
  #dueAt(): number {
    if (this.#certificate === undefined) return 0;
    const [from, to] = [this.#certificate.validFromDate.getTime(), this.#certificate.validToDate.getTime()];
    return from + (to - from) * RENEW_AT;
  }

  #schedule(milliseconds: number): void {
    const { clock } = this.#parts;
    this.#wait = clock.schedule(Math.min(milliseconds, LONGEST_WAIT), () => {
      if (this.#dueAt() > clock.now()) this.#schedule(this.#dueAt() - clock.now());
      else this.#running = this.#renew();
    });
  }

  async #renew(): Promise<void> {
    const { log, onCredential, clock, random, options } = this.#parts;
    try {
      const credential = await this.#ordered();
      if (this.#abort.signal.aborted) return;
      this.#certificate = new X509Certificate(credential.certificateChain);
      this.#failures = 0;
      onCredential(credential);
      log.info("the bundle endpoint has a new certificate", {
        domains: options.domains,
        [FIELD.expiresAt]: Math.floor(this.#certificate.validToDate.getTime() / 1000),
      });
      this.#schedule(Math.max(SHORTEST_WAIT, this.#dueAt() - clock.now()));
    } catch (error) {
      if (this.#abort.signal.aborted) return;
      const wait = Math.min(SHORTEST_WAIT * 2 ** this.#failures++, LONGEST_WAIT) * (1 + random() / 4);
      const certificate = this.#certificate;
      const hasOne = certificate !== undefined && certificate.validToDate.getTime() > clock.now();
      log.error(
        hasOne
          ? "the bundle endpoint's certificate cannot be renewed, the one before stays"
          : "the bundle endpoint has no certificate and serves nobody",
        { [FIELD.error]: error, [FIELD.retryMs]: Math.round(wait), directory_url: options.directoryUrl },
      );
      this.#schedule(wait);
    }
  }

  async #ordered(): Promise<ServerCredential> {
    const { folder, options, challenges, order = orderCertificate } = this.#parts;
    const { accountKey, accountUrl } = await this.#account();
    const answer = await order({
      directoryUrl: options.directoryUrl,
      directoryAuthorities: this.#directoryAuthorities,
      accountKey,
      accountUrl,
      email: options.email,
      domains: options.domains,
      setChallenge: (name, credential) => challenges.setChallenge(name, credential),
      signal: this.#abort.signal,
    });
    const { certificateChain, privateKey } = answer.credential;
    const credential = checkedCredential(certificateChain, privateKey, {
      certificateFile: "the CA's answer",
      keyFile: "the key of the order",
    });
    if (answer.accountUrl !== accountUrl) {
      // An account belongs to one directory; another CA gets another.
      await write(join(folder, ACCOUNT), `${options.directoryUrl}\n${answer.accountUrl}\n`);
    }
    // In one file, so that certificate and key are never of two orders.
    await write(join(folder, CERTIFICATE), `${privateKey.trimEnd()}\n${certificateChain}`);
    return credential;
  }

  async #account(): Promise<{ readonly accountKey: string; readonly accountUrl: string | undefined }> {
    const { folder, options } = this.#parts;
    const path = join(folder, ACCOUNT_KEY);
    let accountKey = (await readBoundedIfPresent(path, MAX_FILE))?.toString("utf8");
    if (accountKey === undefined) {
      accountKey = await newAccountKey();
      await write(path, accountKey);
    }
    const account = (await readBoundedIfPresent(join(folder, ACCOUNT), MAX_FILE))?.toString("utf8");
    const [directory, accountUrl] = account?.split("\n") ?? [];
    return { accountKey, accountUrl: directory === options.directoryUrl ? accountUrl : undefined };
  }

  /** The certificate on disk, if it is for the names configured and has not ended. */
  async #kept(): Promise<{ credential: ServerCredential; certificate: X509Certificate } | undefined> {
    const { folder, options, clock } = this.#parts;
    const path = join(folder, CERTIFICATE);
    const text = (await readBoundedIfPresent(path, MAX_FILE))?.toString("utf8");
    if (text === undefined) return undefined;
    const split = text.indexOf(BEGIN_CERTIFICATE);
    const credential = checkedCredential(text.slice(split), text.slice(0, split), {
      certificateFile: path,
      keyFile: path,
    });
    const certificate = new X509Certificate(credential.certificateChain);
    const isGood = certificate.validToDate.getTime() > clock.now();
    const isOurs = options.domains.every((domain) => certificate.checkHost(domain) !== undefined);
    return isGood && isOurs ? { credential, certificate } : undefined;
  }
}

async function authoritiesOf(file: string | undefined): Promise<readonly string[]> {
  if (file === undefined) return [];
  const text = (await readBounded(file, MAX_FILE, { code: "CONFIG_INVALID" })).toString("utf8");
  try {
    return parsePemCertificates(text).map(({ der }) => toPem("CERTIFICATE", der));
  } catch (cause) {
    const reason = cause instanceof AssayError ? cause.detail : "malformed";
    throw new AssayError("CONFIG_INVALID", `${file} cannot be used: ${reason}`, { cause });
  }
}

function write(path: string, text: string): Promise<void> {
  return atomicWrite(path, Buffer.from(text));
}

const ACCOUNT_KEY = "account.key";
const ACCOUNT = "account";
const CERTIFICATE = "certificate.pem";
const BEGIN_CERTIFICATE = "-----BEGIN CERTIFICATE-----";
const RENEW_AT = 2 / 3;
const SHORTEST_WAIT = 60_000;
const LONGEST_WAIT = 12 * 3_600_000;
const MAX_FILE = 1024 * 1024;
