import type { Clock } from "../../clock.ts";
import { AssayError } from "../../errors/assay-error.ts";
import { loadOptionalPackage } from "../../files/optional-package.ts";
import { withDeadline } from "../deadline.ts";
import { readSecretFile } from "../secret-file.ts";
import { awsError } from "./aws-error.ts";
import type { AwsSettings } from "./aws-settings.ts";
import type { AwsClientConfig, AwsCredentials } from "./sdk.ts";
import type { StsModule } from "./sts.ts";

/**
 * Makes the configuration of an SDK client. Nothing is asked yet but the files' presence.
 * @throws AssayError `CONFIG_INVALID` where half a pair of credentials is given, a file cannot be read or the package
 * for assuming a role is missing.
 */
export async function awsClientConfig(settings: AwsSettings, clock: Clock): Promise<AwsClientConfig> {
  const { region, endpoint, assumeRoleArn } = settings;
  const own = await ownCredentials(settings, clock);
  const base = {
    region,
    ...(endpoint === undefined ? {} : { endpoint }),
    maxAttempts: MAX_ATTEMPTS,
    retryMode: "standard",
  } as const;
  if (assumeRoleArn === undefined) return own === undefined ? base : { ...base, credentials: own };
  return { ...base, credentials: await roleCredentials(settings, assumeRoleArn, clock) };
}

async function ownCredentials(
  { accessKeyId, secretAccessKeyFile }: AwsSettings,
  clock: Clock,
): Promise<(() => Promise<AwsCredentials>) | undefined> {
  if ((accessKeyId === undefined) !== (secretAccessKeyFile === undefined)) {
    throw new AssayError(
      "CONFIG_INVALID",
      "access_key_id and secret_access_key_file must be given together or not at all",
    );
  }
  if (accessKeyId === undefined || secretAccessKeyFile === undefined) return undefined;
  const read = async () => {
    const secret = await readSecretFile("secret_access_key_file", secretAccessKeyFile, MAX_SECRET);
    const secretAccessKey = secret.toString("utf8").trim();
    if (secretAccessKey === "") {
      throw new AssayError("CONFIG_INVALID", `secret_access_key_file ${secretAccessKeyFile} is empty`);
    }
    return { accessKeyId, secretAccessKey, expiration: new Date(clock.now() + REREAD) };
  };
  await read();
  return read;
}

async function roleCredentials(
  settings: AwsSettings,
  role: string,
  clock: Clock,
): Promise<() => Promise<AwsCredentials>> {
  const { STS } = await loadOptionalPackage<StsModule>(STS_PACKAGE, { folder: settings.packagesFolder });
  const { stsEndpoint: endpoint, assumeRoleArn: _role, ...own } = settings;
  const sts = new STS(await awsClientConfig({ ...own, endpoint }, clock));
  return async () => {
    const { Credentials: given } = await withDeadline({ clock, timeout: ASSUME_TIMEOUT }, (abortSignal) =>
      sts.assumeRole({ RoleArn: role, RoleSessionName: "assay" }, { abortSignal }),
    ).catch((error: unknown) => {
      throw awsError("REMOTE_UNAVAILABLE", "sts:AssumeRole", error);
    });
    const { AccessKeyId, SecretAccessKey, SessionToken, Expiration } = given ?? {};
    if (!AccessKeyId || !SecretAccessKey || !SessionToken || !Expiration) {
      throw new AssayError("REMOTE_UNAVAILABLE", "sts:AssumeRole gave no credentials");
    }
    return {
      accessKeyId: AccessKeyId,
      secretAccessKey: SecretAccessKey,
      sessionToken: SessionToken,
      expiration: Expiration,
    };
  };
}

/** The package for STS. */
export const STS_PACKAGE = "@aws-sdk/client-sts";
const MAX_ATTEMPTS = 3;
const MAX_SECRET = 4096;
const ASSUME_TIMEOUT = 10_000;
// The SDK asks again five minutes before this is over.
const REREAD = 10 * 60_000;
