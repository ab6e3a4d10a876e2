/** What clients of the AWS SDK for JavaScript 3 are made with, as much of it as we use. */
export interface AwsClientConfig {
  readonly region: string;
  readonly endpoint?: string;
  readonly credentials?: () => Promise<AwsCredentials>;
  /** How often a call is made at most where it fails for reasons that pass. */
  readonly maxAttempts: number;
  readonly retryMode: "standard";
}

/** Credentials as the SDK takes them. It asks again shortly before `expiration`. */
export interface AwsCredentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string;
  readonly expiration?: Date;
}

/** The second argument of every call of an SDK client. */
export interface AwsCallOptions {
  readonly abortSignal: AbortSignal;
}
