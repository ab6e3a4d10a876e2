import { join } from "node:path";
import { AssayError } from "../../errors/assay-error.ts";
import { atomicWrite } from "../../files/atomic-write.ts";
import { readBoundedIfPresent } from "../../files/read-bounded.ts";
import type { SpiffeBundle } from "../../spiffe/bundle.ts";
import { removeFile } from "./remove-file.ts";
import { identityFile, toJson } from "./disk-format.ts";

/** What an agent remembers of itself. */
export interface StoredIdentity {
  /** DER, leaf first. */
  readonly chain: readonly Uint8Array[];
  /** PKCS#8 DER of the leaf's key. */
  readonly privateKey: Uint8Array;
  /** Whether the server takes the same evidence again. */
  readonly reattestable: boolean;
  /** The trust domain's bundle as last seen: what the server is believed by. */
  readonly bundle: SpiffeBundle;
  /** The digest of the operator's bundle when a server was last heard, see `OperatorBundle`. */
  readonly operatorBundle?: string | undefined;
}

/** The file in which an agent keeps its own SVID, its key and the bundle: mode 0600, replaced in one step. */
export class IdentityFile {
  readonly path: string;

  constructor(dataDir: string) {
    this.path = join(dataDir, IDENTITY_FILE);
  }

  /**
   * What was stored, or `undefined` at first start.
   * @throws AssayError `FILE_UNAVAILABLE` where the file is there and cannot be used: to begin anew silently would use
   * up a join token or hide that a disk is failing.
   */
  async read(): Promise<StoredIdentity | undefined> {
    const text = await readBoundedIfPresent(this.path, MAX_BYTES);
    if (text === undefined) return undefined;
    const parsed = identityFile.safeParse(parseJson(text.toString()));
    if (parsed.success) return parsed.data;
    throw new AssayError(
      "FILE_UNAVAILABLE",
      `${this.path} is not an agent identity; remove it to attest anew`,
    );
  }

  /** @throws AssayError `FILE_UNAVAILABLE`. */
  async write(identity: StoredIdentity): Promise<void> {
    await atomicWrite(this.path, Buffer.from(toJson({ version: 1, ...identity })));
  }

  /** Forgets the identity. @throws AssayError `FILE_UNAVAILABLE`. */
  async wipe(): Promise<void> {
    await removeFile(this.path);
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

const IDENTITY_FILE = "agent-identity.json";
const MAX_BYTES = 16 * 1024 * 1024;
