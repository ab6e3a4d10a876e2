import { createPrivateKey, X509Certificate } from "node:crypto";
import { stat } from "node:fs/promises";
import type { Clock } from "../../clock.ts";
import { AssayError } from "../../errors/assay-error.ts";
import { readBounded } from "../../files/read-bounded.ts";
import { FIELD } from "../../observe/fields.ts";
import type { Log } from "../../observe/log.ts";
import type { ServerCredential } from "../../endpoint/tls-listener.ts";

/** A certificate in two files, and who wants to know when they change. */
export interface CertificateFilesOptions {
  readonly certificateFile: string;
  readonly keyFile: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly onChanged: (credential: ServerCredential) => void;
}

/**
 * A certificate and its key from files, read again within seconds of a change. Files that do not fit each other, as
 * between the writing of the one and of the other, change nothing until they do.
 */
export class CertificateFiles implements AsyncDisposable {
  readonly #options: CertificateFilesOptions;
  readonly #credential: ServerCredential;
  #version: string;
  #fault = "";
  #wait: Disposable | undefined;
  #looking: Promise<void> | undefined;
  #closed = false;

  private constructor(options: CertificateFilesOptions, credential: ServerCredential, version: string) {
    this.#options = options;
    this.#credential = credential;
    this.#version = version;
    this.#again();
  }

  /** Reads the files. @throws AssayError `CONFIG_INVALID` naming the file that cannot be used and why. */
  static async open(options: CertificateFilesOptions): Promise<CertificateFiles> {
    const version = await versionOf(options);
    return new CertificateFiles(options, await credentialOf(options), version);
  }

  /** What was in the files when they were opened. */
  get credential(): ServerCredential {
    return this.#credential;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    this.#wait?.[Symbol.dispose]();
    await this.#looking;
  }

  #again(): void {
    this.#wait = this.#options.clock.schedule(INTERVAL, () => {
      this.#looking = this.#look().finally(() => {
        if (!this.#closed) this.#again();
      });
    });
  }

  async #look(): Promise<void> {
    const { log, onChanged, certificateFile } = this.#options;
    try {
      const version = await versionOf(this.#options);
      if (version === this.#version) return;
      const credential = await credentialOf(this.#options);
      this.#version = version;
      this.#fault = "";
      onChanged(credential);
      log.info("the bundle endpoint's certificate was read again", { [FIELD.path]: certificateFile });
    } catch (error) {
      const fault = error instanceof AssayError ? error.detail : String(error);
      // Said once and not every few seconds, as long as it is the same.
      if (fault === this.#fault) return;
      this.#fault = fault;
      log.error("the bundle endpoint's certificate cannot be read again, the one before stays", {
        [FIELD.error]: error,
      });
    }
  }
}

async function versionOf({ certificateFile, keyFile }: CertificateFilesOptions): Promise<string> {
  const facts = await Promise.all(
    [certificateFile, keyFile].map(async (path) => {
      try {
        const { dev, ino, size, mtimeMs } = await stat(path);
        return [dev, ino, size, mtimeMs].join(":");
      } catch (cause) {
        const code = (cause as NodeJS.ErrnoException).code ?? "unknown error";
        throw new AssayError("CONFIG_INVALID", `${path} cannot be read (${code})`, { cause });
      }
    }),
  );
  return facts.join(" ");
}

async function credentialOf({
  certificateFile,
  keyFile,
}: CertificateFilesOptions): Promise<ServerCredential> {
  const [certificateChain, privateKey] = await Promise.all(
    [certificateFile, keyFile].map(async (path) =>
      (await readBounded(path, MAX_FILE, { code: "CONFIG_INVALID" })).toString("utf8"),
    ),
  );
  return checkedCredential(certificateChain ?? "", privateKey ?? "", { certificateFile, keyFile });
}

/** A certificate chain and a key that belong together. @throws AssayError `CONFIG_INVALID` naming the file. */
export function checkedCredential(
  certificateChain: string,
  privateKey: string,
  { certificateFile, keyFile }: { readonly certificateFile: string; readonly keyFile: string },
): ServerCredential {
  const certificate = usable(
    certificateFile,
    "a PEM certificate",
    () => new X509Certificate(certificateChain),
  );
  const key = usable(keyFile, "a PEM private key without passphrase", () => createPrivateKey(privateKey));
  if (!certificate.checkPrivateKey(key)) {
    throw new AssayError(
      "CONFIG_INVALID",
      `${keyFile} does not hold the key of the certificate in ${certificateFile}`,
    );
  }
  return { certificateChain, privateKey };
}

function usable<Value>(file: string, what: string, read: () => Value): Value {
  try {
    return read();
  } catch (cause) {
    throw new AssayError("CONFIG_INVALID", `${file} cannot be used: expected ${what}`, { cause });
  }
}

const INTERVAL = 5_000;
const MAX_FILE = 1024 * 1024;
