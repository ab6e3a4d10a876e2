import type { Clock } from "../../src/clock.ts";
import { awsKmsKeyManager, openAwsKms } from "../../src/keys/aws-kms/aws-kms.ts";
import type { KeyManager } from "../../src/plugin/key-manager.ts";
import { FakeKms, type FakeKmsKey } from "./aws-kms.ts";
import { FakeClock } from "./clock.ts";
import { acceptedConfig, type LogLine, recordingHost } from "./plugin-host.ts";

/** What a key manager on the bench has other than the rest: another trust domain, a clock that goes wrong. */
export interface AwsKmsPlace {
  readonly trustDomain?: string;
  readonly clock?: Clock;
}

/** Key managers of `aws_kms` in one fake KMS, on one clock, with what they log. */
export class AwsKmsBench {
  readonly clock = new FakeClock();
  readonly kms = new FakeKms(this.clock);
  readonly log: LogLine[] = [];

  /** Opens the keys of `server-1`, unless the settings name another. */
  async open(
    settings: Readonly<Record<string, unknown>> = {},
    { trustDomain = "example.org", clock = this.clock }: AwsKmsPlace = {},
  ): Promise<KeyManager> {
    const given = { region: "eu-central-1", key_identifier_value: "server-1", ...settings };
    const config = await acceptedConfig(awsKmsKeyManager, given);
    return openAwsKms(config, recordingHost(clock, trustDomain, this.log), this.kms, async () => '{"a":1}');
  }

  /** Every key that was ever made, the oldest first. */
  get keys(): readonly FakeKmsKey[] {
    return [...this.kms.keys.values()];
  }

  /** Their states. */
  get states(): readonly string[] {
    return this.keys.map(({ state }) => state);
  }

  /** The next call of this action fails. */
  failOn(action: string, error: Error): void {
    this.kms.fault = (called) => {
      if (called !== action) return;
      this.kms.fault = undefined;
      throw error;
    };
  }

  /** Time passes in steps, each with room for what the wake-ups start. */
  async passed(milliseconds: number): Promise<void> {
    const step = Math.min(HOUR, milliseconds);
    for (let gone = 0; gone < milliseconds; gone += step) {
      await this.clock.advance(step);
      for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
    }
  }
}

/** What the aliases of `server-1` begin with. */
export const SERVER = "alias/SPIRE_SERVER/example_org/server-1/";
const HOUR = 3_600_000;
