import { z } from "zod";
import type { Clock } from "../../clock.ts";
import { loadGoogleAuth } from "./google-auth.ts";
import { type GoogleClient, openGoogleService } from "./google-client.ts";

/** What a service of Google is called in the descriptions of its plugin's settings, and where it is unless told. */
export interface GoogleServiceWords {
  /** The service itself: `Cloud KMS`. */
  readonly service: string;
  /** Its URL. */
  readonly endpoint: string;
}

/** The settings that every plugin on Google's cloud has, named as SPIRE's are where it has them. */
export function googleSettingsShape({ service, endpoint }: GoogleServiceWords) {
  return {
    service_account_file: text
      .optional()
      .describe("Key file of a service account; application default credentials without"),
    endpoint: text.default(endpoint).describe(`URL of ${service}`),
    packages_folder: text.optional().describe("Folder whose node_modules holds google-auth-library"),
  } as const;
}

/**
 * Opens the service that the settings name, as whom they say. Nothing is asked of it yet.
 * @throws AssayError `CONFIG_INVALID` where the package is missing, or the key file or the URL cannot be used.
 */
export async function openConfiguredGoogle(
  { service_account_file: keyFile, endpoint, packages_folder: folder }: GoogleConfig,
  clock: Clock,
): Promise<GoogleClient> {
  return openGoogleService(endpoint, await loadGoogleAuth(keyFile, folder), clock);
}

type GoogleConfig = z.output<z.ZodObject<ReturnType<typeof googleSettingsShape>>>;

const text = z.string().min(1).max(4096);
