import { randomUUID } from "node:crypto";
import { join } from "node:path";
import { atomicWrite } from "../files/atomic-write.ts";
import { readBoundedIfPresent } from "../files/read-bounded.ts";

/**
 * The name under which this server's authorities are journaled: made once, kept beside its keys.
 * @throws AssayError `STORE_UNAVAILABLE`.
 */
export async function ownServerId(dataDir: string): Promise<string> {
  const path = join(dataDir, SERVER_ID_FILE);
  const known = (await readBoundedIfPresent(path, 128, { code: "STORE_UNAVAILABLE" }))
    ?.toString("utf8")
    .trim();
  if (known !== undefined && known !== "") return known;
  const id = randomUUID();
  await writeServerId(dataDir, id);
  return id;
}

/** Gives a server the name of another, whose store it has. @throws AssayError `STORE_UNAVAILABLE`. */
export async function writeServerId(dataDir: string, id: string): Promise<void> {
  await atomicWrite(join(dataDir, SERVER_ID_FILE), Buffer.from(`${id}\n`), { code: "STORE_UNAVAILABLE" });
}

const SERVER_ID_FILE = "server-id";
