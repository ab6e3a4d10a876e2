import { chmod, mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileError } from "../files/file-error.ts";

/** The folder that a laptop's server and agent live in. */
export interface DevPlace extends AsyncDisposable {
  readonly folder: string;
  /** Whether the folder is gone after this run. */
  readonly isTemporary: boolean;
  readonly server: { readonly dataDir: string; readonly adminSocket: string };
  readonly agent: { readonly dataDir: string; readonly socket: string; readonly adminSocket: string };
  readonly trustBundleFile: string;
  readonly joinTokenFile: string;
}

/**
 * Makes the folder: the one named, which stays, or a temporary one, which is removed at the end. Other users may walk
 * through it to the workload socket; what is secret lies in folders of mode 0700 inside.
 * @throws AssayError `FILE_UNAVAILABLE`.
 */
export async function makeDevPlace(dataDir: string | undefined): Promise<DevPlace> {
  const folder = dataDir === undefined ? await temporaryFolder() : await keptFolder(resolve(dataDir));
  const server = join(folder, "server");
  const agent = join(folder, "agent");
  return {
    folder,
    isTemporary: dataDir === undefined,
    server: { dataDir: server, adminSocket: join(folder, "server-admin.sock") },
    agent: {
      dataDir: agent,
      socket: join(folder, "agent.sock"),
      adminSocket: join(folder, "agent-admin.sock"),
    },
    trustBundleFile: join(folder, "bundle.pem"),
    joinTokenFile: join(folder, "join-token"),
    [Symbol.asyncDispose]: async () => {
      if (dataDir === undefined) await rm(folder, { recursive: true, force: true, maxRetries: 3 });
    },
  };
}

async function temporaryFolder(): Promise<string> {
  try {
    const folder = await mkdtemp(join(tmpdir(), "assay-dev-"));
    await chmod(folder, 0o755);
    return folder;
  } catch (cause) {
    throw fileError("make a folder in", tmpdir(), cause);
  }
}

async function keptFolder(folder: string): Promise<string> {
  try {
    await mkdir(folder, { recursive: true, mode: 0o755 });
    return folder;
  } catch (cause) {
    throw fileError("use folder", folder, cause);
  }
}
