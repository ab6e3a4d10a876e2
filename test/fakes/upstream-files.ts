import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { toPem } from "../../src/crypto/pem.ts";
import { makeCertificate, makeKey } from "./certificates.ts";

/** A CA in files, as the upstream authority `disk` reads it; real time. */
export class UpstreamFiles implements AsyncDisposable {
  readonly folder: string;
  /** Subject key identifier of the root, in hex. */
  rootId = "";

  private constructor(folder: string) {
    this.folder = folder;
  }

  static async make(): Promise<UpstreamFiles> {
    const files = new UpstreamFiles(await mkdtemp(join(tmpdir(), "assay-upstream-")));
    await files.renew();
    return files;
  }

  /** What the plugin is configured with. */
  get config() {
    return { cert_file_path: join(this.folder, "ca.pem"), key_file_path: join(this.folder, "key.pem") };
  }

  /** Puts another root in place. */
  async renew(): Promise<void> {
    const key = makeKey();
    const now = Math.floor(Date.now() / 1000);
    const root = makeCertificate({
      subject: `root ${now}`,
      key,
      ca: true,
      notBefore: now - 60,
      notAfter: now + 90 * 86_400,
    });
    await writeFile(this.config.cert_file_path, toPem("CERTIFICATE", root.der));
    await writeFile(this.config.key_file_path, toPem("PRIVATE KEY", key.pkcs8), { mode: 0o600 });
    this.rootId = Buffer.from(root.subjectKeyId ?? []).toString("hex");
  }

  [Symbol.asyncDispose](): Promise<void> {
    return rm(this.folder, { recursive: true });
  }
}
