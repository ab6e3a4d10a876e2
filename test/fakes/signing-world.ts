import { randomBytes } from "node:crypto";
import { openMemoryKeyManager } from "../../src/keys/memory/memory.ts";
import { AssayError } from "../../src/errors/assay-error.ts";
import type { KeyManager } from "../../src/plugin/key-manager.ts";
import { openSigning, type SigningEvent, type SigningOptions } from "../../src/signing/open-signing.ts";
import type { UpstreamAuthority } from "../../src/plugin/upstream-authority.ts";
import type { Signing } from "../../src/signing/signing.ts";
import { parseTrustDomain } from "../../src/spiffe/trust-domain.ts";
import { FakeAuthorityStore } from "./authority-store.ts";
import { FakeClock } from "./clock.ts";

/** What surrounds the signing of one server and outlives it: store, keys and clock, and what was reported. */
export class SigningWorld implements AsyncDisposable {
  readonly store = new FakeAuthorityStore(trustDomain);
  readonly clock = new FakeClock();
  readonly events: SigningEvent[] = [];
  keyManager: KeyManager = openMemoryKeyManager();
  upstream: UpstreamAuthority | undefined;

  open(options: Partial<SigningOptions> = {}): Promise<Signing> {
    return openSigning({
      trustDomain,
      store: this.store,
      keyManager: this.keyManager,
      upstream: this.upstream,
      clock: this.clock,
      random: randomBytes,
      options: { serverId: "one", ...options },
      report: (event) => this.events.push(event),
    });
  }

  /**
   * Lets time pass at once, and then as many looks at the authorities happen as there would have been, one a minute: with each
   * only so much is forgotten.
   */
  async passWithUpkeep(signing: Signing, seconds: number): Promise<void> {
    this.clock.step(seconds * 1000);
    for (let look = 0; look < seconds / 60 + 1; look++) await signing.keepUp();
  }

  /** What was reported since the last call, as short texts. */
  told(): readonly string[] {
    return this.events.splice(0).map((event) => {
      if (event.event === "upstream-failed") return `${event.event} ${event.what} ${event.error.code}`;
      if (event.event === "upstream-recovered") return `${event.event} ${event.what}`;
      if ("subjectKeyId" in event) return event.event;
      if ("error" in event)
        return `${event.event} ${event.error instanceof AssayError ? event.error.code : "?"}`;
      return `${event.kind} ${event.event}${event.reason === undefined ? "" : ` ${event.reason}`}`;
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.keyManager[Symbol.asyncDispose]();
  }
}

/** The ids of the authorities that sign. */
export function activeAuthorities(signing: Signing): readonly string[] {
  return signing
    .authorities()
    .filter((record) => record.state === "active")
    .map(({ id }) => id)
    .toSorted();
}

const trustDomain = parseTrustDomain("example.org");
