import type { Clock } from "../../clock.ts";
import { awsError } from "../../cloud/aws/aws-error.ts";
import type { StsClient } from "../../cloud/aws/sts.ts";
import { withDeadline } from "../../cloud/deadline.ts";
import { AssayError } from "../../errors/assay-error.ts";
import { readBounded } from "../../files/read-bounded.ts";
import type { PluginLog } from "../../plugin/host.ts";

/**
 * The operator's own key policy.
 * @throws AssayError `CONFIG_INVALID` where the file cannot be read, is no JSON object or is larger than KMS takes.
 */
export async function readKeyPolicy(file: string): Promise<string> {
  const text = (await readBounded(file, MAX_POLICY, { code: "CONFIG_INVALID" })).toString("utf8");
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    parsed = undefined;
  }
  if (typeof parsed !== "object" || parsed === null || Array.isArray(parsed)) {
    throw new AssayError("CONFIG_INVALID", `key_policy_file ${file} must hold a JSON object`);
  }
  return text;
}

/**
 * The policy that keys get where the operator gave none, as SPIRE's: the role that the server runs as may do
 * everything, the account may look, and nobody else is let in by a policy of IAM. It is made at the first key and kept.
 * A server that runs as no role gets `undefined`, and a warning: KMS's own policy leaves everything to IAM.
 * @throws AssayError `KEY_UNAVAILABLE` from the function it gives.
 */
export function defaultKeyPolicy(
  sts: StsClient,
  clock: Clock,
  log: PluginLog,
): () => Promise<string | undefined> {
  let made: { readonly policy: string | undefined } | undefined;
  return async () => {
    made ??= { policy: policyFor(await callerArn(sts, clock)) };
    if (made.policy === undefined) {
      log.warn("the server runs as no IAM role, so its keys get the default policy of KMS");
    }
    return made.policy;
  };
}

async function callerArn(sts: StsClient, clock: Clock): Promise<string> {
  const { Arn } = await withDeadline({ clock, timeout: TIMEOUT }, (abortSignal) =>
    sts.getCallerIdentity({}, { abortSignal }),
  ).catch((error: unknown) => {
    throw awsError("KEY_UNAVAILABLE", "sts:GetCallerIdentity", error);
  });
  if (!Arn) throw new AssayError("KEY_UNAVAILABLE", "sts:GetCallerIdentity gave no ARN");
  return Arn;
}

function policyFor(arn: string): string | undefined {
  const [, partition = "", account = "", role = ""] = ASSUMED_ROLE.exec(arn) ?? [];
  if (partition === "") return undefined;
  const statement = (sid: string, principal: string, actions: string | readonly string[]) => ({
    Sid: sid,
    Effect: "Allow",
    Principal: { AWS: `arn:${partition}:iam::${account}:${principal}` },
    Action: actions,
    Resource: "*",
  });
  return JSON.stringify({
    Version: "2012-10-17",
    Statement: [
      statement("TheServersRole", `role/${role}`, "kms:*"),
      statement("TheAccountMayLook", "root", ["kms:Describe*", "kms:List*", "kms:Get*"]),
    ],
  });
}

const ASSUMED_ROLE = /^arn:([a-z-]{1,32}):sts::(\d{12}):assumed-role\/([\w+=,.@-]{1,64})\/[^/]{1,128}$/;
const MAX_POLICY = 32_768;
const TIMEOUT = 10_000;
