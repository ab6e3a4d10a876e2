import { AssayError } from "../../errors/assay-error.ts";
import type { ErrorCode } from "../../errors/codes.ts";
import { readBounded } from "../../files/read-bounded.ts";
import type { KubernetesAccess } from "./kubernetes-api.ts";

/** Where a cluster puts what its programs need to ask its API. */
export const SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount";

/** The URL of a cluster's API inside of it. */
export const CLUSTER_API = "https://kubernetes.default.svc";

/**
 * Access by a token in a file, to a server that a file's authorities vouch for. Both are read at each call.
 * @returns a function that throws AssayError of the code where a file cannot be read or holds no token.
 */
export function serviceAccountAccess(
  files: { readonly tokenFile: string; readonly caFile: string },
  code: ErrorCode,
): () => Promise<KubernetesAccess> {
  return async () => ({
    token: await readToken(files.tokenFile, code),
    peer: { ca: await readBounded(files.caFile, MAX_CA, { code }) },
  });
}

/** The bearer token in a file. @throws AssayError of the code. */
export async function readToken(path: string, code: ErrorCode): Promise<string> {
  const token = (await readBounded(path, MAX_TOKEN, { code })).toString("utf8").trim();
  if (!/^[\x21-\x7e]+$/.test(token)) throw new AssayError(code, `${path} holds no token`);
  return token;
}

const MAX_TOKEN = 64 * 1024;
const MAX_CA = 1024 * 1024;
