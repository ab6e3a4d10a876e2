import { dirname, resolve } from "node:path";
import { parse } from "yaml";
import { z } from "zod";
import { AssayError } from "../../errors/assay-error.ts";
import type { ErrorCode } from "../../errors/codes.ts";
import { readBounded } from "../../files/read-bounded.ts";
import { readSecretFile, requireClosed } from "../secret-file.ts";
import type { KubernetesAccess } from "./kubernetes-api.ts";
import { readToken } from "./service-account.ts";

/** What a kubeconfig says of the cluster and the user of its current context. */
export interface Kubeconfig {
  /** An https URL. */
  readonly server: string;
  /**
   * Reads the files that the kubeconfig names.
   * @throws AssayError of the code `unavailable` given to {@link readKubeconfig}, also where others can read the client key.
   */
  readonly access: () => Promise<KubernetesAccess>;
}

/** Which of our codes stand for a kubeconfig that cannot be used, and for files named in it that cannot be used now. */
export interface KubeconfigCodes {
  readonly invalid: ErrorCode;
  readonly unavailable: ErrorCode;
}

/**
 * Reads a kubeconfig: the current context's cluster and user, with a token or a client certificate, in the file or in others
 * whose paths count from its folder. One that holds a token or a key itself must be closed to others.
 * @param setting Name of the setting that holds the path, for errors.
 * @throws AssayError of the code `invalid` where it cannot be read or others can read the credential in it, asks to believe
 * any server, or logs in by a program or a plugin.
 */
export async function readKubeconfig(
  setting: string,
  path: string,
  { invalid, unavailable: code }: KubeconfigCodes,
): Promise<Kubeconfig> {
  const text = (await readBounded(path, MAX_CONFIG, { code: invalid })).toString("utf8");
  const fail = (why: string): never => {
    throw new AssayError(invalid, `${setting} ${path} ${why}`);
  };
  const read = schema.safeParse(parsed(text));
  if (!read.success) return fail("is no kubeconfig with a current context");
  const { "current-context": current, contexts, clusters, users } = read.data;
  const context = contexts.find(({ name }) => name === current)?.context;
  const cluster = clusters.find(({ name }) => name === context?.cluster)?.cluster;
  const user = users.find(({ name }) => name === context?.user)?.user;
  if (cluster === undefined || user === undefined)
    return fail("has no cluster and user of its current context");
  if (!isServer(cluster.server))
    return fail("must name its server by an https URL without user, query and fragment");
  if (cluster["insecure-skip-tls-verify"] === true) return fail("must not ask to believe any server");
  if (user.exec !== undefined || user["auth-provider"] !== undefined) {
    return fail("must have a token or a client certificate: no program is run for a login");
  }
  if (user.token !== undefined || user["client-key-data"] !== undefined) {
    await requireClosed(setting, path, invalid);
  }
  const folder = dirname(resolve(path));
  const pem = async (data: string | undefined, file: string | undefined) => {
    if (data !== undefined) return Buffer.from(data, "base64");
    return file === undefined ? undefined : readBounded(resolve(folder, file), MAX_CONFIG, { code });
  };
  const privateKey = async (data: string | undefined, file: string | undefined) => {
    if (data !== undefined || file === undefined) return pem(data, file);
    return readSecretFile(`client-key of ${setting}`, resolve(folder, file), MAX_CONFIG, code);
  };
  return {
    server: cluster.server,
    access: async () => ({
      token:
        user.tokenFile === undefined ? user.token : await readToken(resolve(folder, user.tokenFile), code),
      peer: {
        ca: await pem(cluster["certificate-authority-data"], cluster["certificate-authority"]),
        serverName: cluster["tls-server-name"],
        certificate: await pem(user["client-certificate-data"], user["client-certificate"]),
        key: await privateKey(user["client-key-data"], user["client-key"]),
      },
    }),
  };
}

function parsed(text: string): unknown {
  try {
    return parse(text, { maxAliasCount: 0 });
  } catch {
    // The cause stays out: it quotes the line, which may hold a token.
    return undefined;
  }
}

function isServer(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, username, password, search, hash } = new URL(text);
  return protocol === "https:" && `${username}${password}${search}${hash}` === "";
}

const MAX_CONFIG = 1024 * 1024;
const text = z.string().min(1).max(MAX_CONFIG);
const named = z.string().max(1024);
const token = z.string().regex(/^[\x21-\x7e]{1,65536}$/);
const schema = z.object({
  "current-context": named,
  contexts: z.array(z.object({ name: named, context: z.object({ cluster: named, user: named }) })).max(1000),
  clusters: z
    .array(
      z.object({
        name: named,
        cluster: z.object({
          server: z.string().max(4096),
          "certificate-authority": text.optional(),
          "certificate-authority-data": text.optional(),
          "insecure-skip-tls-verify": z.boolean().optional(),
          "tls-server-name": named.optional(),
        }),
      }),
    )
    .max(1000),
  users: z
    .array(
      z.object({
        name: named,
        user: z.object({
          token: token.optional(),
          tokenFile: text.optional(),
          "client-certificate": text.optional(),
          "client-certificate-data": text.optional(),
          "client-key": text.optional(),
          "client-key-data": text.optional(),
          exec: z.unknown().optional(),
          "auth-provider": z.unknown().optional(),
        }),
      }),
    )
    .max(1000),
});
