import { expect } from "vitest";
import type { GoogleAuth } from "../../src/cloud/google/google-auth.ts";
import { openGoogleService } from "../../src/cloud/google/google-client.ts";
import { gcpKmsKeyManager, openGcpKms } from "../../src/keys/gcp-kms/gcp-kms.ts";
import type { KeyManager } from "../../src/plugin/key-manager.ts";
import { FakeClock } from "./clock.ts";
import { type FakeCryptoKey, FakeGoogleKms } from "./google-kms.ts";
import { GoogleService, googleAuth } from "./google-service.ts";
import { acceptedConfig, type LogLine, recordingHost } from "./plugin-host.ts";

/** What a key manager on the bench has other than the rest. */
export interface GcpKmsPlace {
  readonly trustDomain?: string;
  readonly auth?: GoogleAuth;
}

/** Key managers of `gcp_kms` in one fake Cloud KMS, on one clock, with what they log. */
export class GcpKmsBench implements AsyncDisposable {
  readonly clock = new FakeClock();
  readonly kms: FakeGoogleKms;
  readonly service: GoogleService;
  readonly log: LogLine[] = [];

  private constructor(kms: FakeGoogleKms, service: GoogleService) {
    this.kms = kms;
    this.service = service;
    service.now = () => this.clock.now();
  }

  /** Starts one. */
  static async start(): Promise<GcpKmsBench> {
    const kms = new FakeGoogleKms();
    return new GcpKmsBench(kms, await GoogleService.start(kms.handle));
  }

  /** Opens the keys of `server-1`, unless the settings name another. */
  async open(
    settings: Readonly<Record<string, unknown>> = {},
    { trustDomain = "example.org", auth = googleAuth }: GcpKmsPlace = {},
  ): Promise<KeyManager> {
    const config = await acceptedConfig(gcpKmsKeyManager, {
      key_ring: RING,
      key_identifier_value: "server-1",
      endpoint: this.service.endpoint,
      ...settings,
    });
    const host = recordingHost(this.clock, trustDomain, this.log);
    return openGcpKms(config, host, openGoogleService(config.endpoint, auth, this.clock));
  }

  /** Every CryptoKey that was ever made, the oldest first. */
  get keys(): readonly FakeCryptoKey[] {
    return [...this.kms.keys.values()];
  }

  /** Lets the clock run while something waits for it and for a socket. */
  async whileTimePasses<Result>(work: Result | Promise<Result>): Promise<Result> {
    let over = false;
    const done = Promise.resolve(work).finally(() => {
      over = true;
    });
    done.catch(() => undefined);
    while (!over) {
      await this.clock.advance(50);
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    return done;
  }

  /** Time passes in steps, each with room for answers over a socket, and then as long as it takes for `until`. */
  async passed(milliseconds: number, until?: () => boolean): Promise<void> {
    const step = Math.min(6 * HOUR, milliseconds);
    for (let gone = 0; gone < milliseconds; gone += step) {
      // What is due begins at the end of the step, or the deadlines of its calls would pass with it.
      this.clock.step(step);
      await this.clock.advance(0);
      for (let seen = -1; seen !== this.service.requests.length; ) {
        seen = this.service.requests.length;
        await new Promise((resolve) => setTimeout(resolve, 4));
      }
    }
    await expect.poll(until ?? (() => true), { timeout: 5000 }).toBe(true);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.service[Symbol.asyncDispose]();
  }
}

/** The key ring that the keys are in. */
export const RING = "projects/assay/locations/europe-west3/keyRings/assay";
const HOUR = 3_600_000;
