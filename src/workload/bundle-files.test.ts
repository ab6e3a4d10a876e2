import { mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { FakeClock } from "../../test/fakes/clock.ts";
import { makeBundleDocument, makeJwk, makeX509Jwk } from "../../test/fakes/jose-factory.ts";
import { makeAuthority, makeFactoryKey } from "../../test/fakes/svid-factory.ts";
import { toPem } from "../crypto/pem.ts";
import { parseTrustDomain } from "../spiffe/trust-domain.ts";
import { openBundleFiles } from "./bundle-files.ts";
import { combineBundleSources } from "./combined-bundles.ts";
import { parsePemBundle, parseSpiffeBundle, staticBundleSource } from "./trust-bundle.ts";

const one = parseTrustDomain("one.test");
const two = parseTrustDomain("two.test");
const root = makeAuthority("one.test");
const other = makeAuthority("two.test");
const key = makeFactoryKey();
const document = makeBundleDocument([
  makeX509Jwk(root),
  makeJwk(key, { use: "jwt-svid", kid: "j" }),
  makeJwk(key, { use: "wit-svid", kid: "w" }),
]);

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "assay-bundles-"));
});
afterEach(() => rm(folder, { recursive: true }));

describe("bundle files", () => {
  it("are read in both formats, for the kinds of SVID that they speak of", async () => {
    const files = [
      { trustDomain: "one.test", path: join(folder, "one.json"), format: "spiffe" as const },
      { trustDomain: "spiffe://two.test", path: join(folder, "two.pem"), format: "pem" as const },
    ];
    await writeFile(files[0]?.path ?? "", document);
    await writeFile(files[1]?.path ?? "", toPem("CERTIFICATE", other.der));
    using source = await openBundleFiles({ files });
    expect([...source.x509Bundles().values()].map(({ authorities }) => authorities.length)).toEqual([1, 1]);
    expect([...(source.jwtBundles().get(one)?.keys.keys() ?? [])]).toEqual(["j"]);
    expect([...(source.witBundles().get(one)?.keys.keys() ?? [])]).toEqual(["w"]);
    expect(source.jwtBundles().get(two)?.keys.size).toBe(0);
  });

  it("may be maps of several trust domains, whose next state is the whole state", async () => {
    const path = join(folder, "map.json");
    const map = (domains: readonly string[]) => {
      const bundles = domains.map((name) => `"${name}":${document.toString()}`);
      return `{"trust_domains":{${bundles.join()}}}`;
    };
    await writeFile(path, map(["one.test", "two.test"]));
    using source = await openBundleFiles({ files: [{ path, format: "map" }] });
    expect([...source.jwtBundles().keys()]).toEqual([one, two]);
    await writeFile(path, map(["two.test"]));
    await source.reload();
    expect([...source.jwtBundles().keys()]).toEqual([two]);
    await writeFile(path, map(["two.test", "two.test"]));
    await expect(source.reload()).rejects.toThrowCode("INVALID_BUNDLE", /twice/);
    expect([...source.jwtBundles().keys()]).toEqual([two]);
  });

  it("are read again, and what cannot be read leaves the state standing and is told", async () => {
    const path = join(folder, "bundle");
    await writeFile(path, document);
    const clock = new FakeClock();
    const problems: string[] = [];
    using source = await openBundleFiles({
      files: [{ trustDomain: "one.test", path, format: "spiffe" }],
      clock,
      interval: 1000,
      onProblem: ({ code }) => problems.push(code),
    });
    let changes = 0;
    using _update = source.onUpdate(() => changes++);
    const replace = async (text: string | Buffer) => {
      await writeFile(`${path}.new`, text);
      await rename(`${path}.new`, path);
      await vi.waitFor(() => expect(clock.pending).toBe(1));
      await clock.advance(1000);
      await vi.waitFor(() => expect(clock.pending).toBe(1));
    };
    await replace(document);
    expect(changes).toBe(0);
    await replace("{");
    expect(problems).toEqual(["INVALID_BUNDLE"]);
    expect(source.x509Bundles().get(one)?.authorities).toHaveLength(1);
    await replace(makeBundleDocument([]));
    expect(changes).toBe(1);
    expect(source.x509Bundles().get(one)?.authorities).toEqual([]);
    await rm(path);
    await expect(source.reload()).rejects.toThrowCode("FILE_UNAVAILABLE", path);
    source[Symbol.dispose]();
    expect(clock.pending).toBe(0);
  });

  it.each([
    ["no file", undefined, "spiffe", "FILE_UNAVAILABLE"],
    ["bytes that are no bundle", "x", "spiffe", "INVALID_BUNDLE"],
    [
      "a private key",
      "-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n",
      "pem",
      "INVALID_CERTIFICATE",
    ],
    ["too many bytes", "x".repeat(4 * 1024 * 1024 + 1), "pem", "INVALID_BUNDLE"],
  ] as const)("are refused at first with %s", async (_, text, format, code) => {
    const path = join(folder, "bundle");
    if (text !== undefined) await writeFile(path, text);
    await expect(openBundleFiles({ files: [{ trustDomain: "one.test", path, format }] })).rejects.toThrowCode(
      code,
    );
  });
});

describe("bundles from several sources", () => {
  const first = parseSpiffeBundle("one.test", document);
  const second = parsePemBundle("one.test", toPem("CERTIFICATE", other.der));
  const third = parsePemBundle("two.test", toPem("CERTIFICATE", other.der));

  it("are those of the first source that has the trust domain", () => {
    const source = combineBundleSources(staticBundleSource([first]), staticBundleSource([second, third]));
    expect(source.x509Bundles().get(one)).toBe(first.x509);
    expect(source.x509Bundles().get(two)).toBe(third.x509);
    expect(source.jwtBundles().get(one)?.keys.size).toBe(1);
    expect(source.witBundles().size).toBe(2);
  });

  it("tell of the changes of each, until nobody listens", () => {
    const listeners = new Set<() => void>();
    const changing = {
      ...staticBundleSource([first]),
      onUpdate: (listener: () => void) => {
        listeners.add(listener);
        return { [Symbol.dispose]: () => void listeners.delete(listener) };
      },
    };
    const update = combineBundleSources(changing, staticBundleSource([])).onUpdate(() => undefined);
    expect(listeners.size).toBe(1);
    update[Symbol.dispose]();
    expect(listeners.size).toBe(0);
  });

  it("cannot be two of one trust domain in one source", () => {
    expect(() => staticBundleSource([first, second])).toThrowCode("INVALID_BUNDLE", "one.test");
  });
});
