import type { Found } from "../../src/agent/sds/secret-finder.ts";
import type { Finder } from "../../src/agent/sds/secret-session.ts";
import type { Secret } from "../../src/agent/sds/secret-writer.ts";

/** A caller's secrets for tests: by name the content, or why there is none. What is not named is absent. */
export class FakeFinder implements Finder {
  readonly secrets = new Map<string, Found>();

  /** Puts these in place, each with a content that is its version, too. */
  have(contents: Readonly<Record<string, string>>): this {
    for (const [name, content] of Object.entries(contents)) {
      this.secrets.set(name, content === "awaited" ? content : fakeSecret(name, content));
    }
    return this;
  }

  find(name: string): Found {
    return this.secrets.get(name) ?? "absent";
  }

  names(): readonly string[] {
    return [...this.secrets.keys()];
  }
}

/** A secret of this content, or of so many bytes. */
export function fakeSecret(name: string, content: string, size = 10): Secret {
  return { name, version: `v:${content}`, trustDomains: [], encode: () => new Uint8Array(size) };
}
