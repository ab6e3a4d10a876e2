import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { makeCertificate, makeKey, type TestCertificate } from "../../test/fakes/certificates.ts";
import { FakeSocketServer, runCommand } from "../../test/fakes/cli.ts";
import { toPem } from "../crypto/pem.ts";
import { Bundle } from "../proto/gen/spire/api/server/bundle/v1/bundle_pb.ts";

interface Line {
  readonly subject: string;
  readonly rule: string;
  readonly detail: string;
  readonly result?: "holds" | "broken";
}

let server: FakeSocketServer;
beforeEach(async () => {
  server = await FakeSocketServer.start();
});
afterEach(() => server[Symbol.asyncDispose]());

const PURPOSES = ["1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"];
const key = makeKey();
const authority = (change: Partial<TestCertificate> = {}) =>
  makeCertificate({ subject: "a", key, ca: true, uris: ["spiffe://example.org"], ...change });
const leaf = (change: Partial<TestCertificate> = {}) =>
  makeCertificate({
    subject: "w",
    key: makeKey(),
    issuer: { certificate: authority(), key },
    uris: ["spiffe://example.org/web"],
    purposes: PURPOSES,
    ...change,
  });
const pem = (...certificates: readonly { readonly der: Uint8Array }[]) =>
  certificates.map(({ der }) => toPem("CERTIFICATE", der)).join("");

function serve(...certificates: readonly { readonly der: Uint8Array }[]): void {
  server.serve(Bundle, {
    getBundle: () => ({
      trustDomain: "example.org",
      x509Authorities: certificates.map(({ der }) => ({ asn1: der })),
    }),
  });
}

const lint = async (...args: readonly string[]) => {
  const { code, stdout, stderr } = await server.run(["authority", "lint", ...args, "--output", "json"]);
  return { code, stderr, lines: JSON.parse(stdout) as readonly Line[] };
};

describe("assay authority lint", () => {
  it("holds every authority of the bundle to its rules, and lists the rules of all that is signed", async () => {
    serve(authority());
    const { code, lines } = await lint();
    expect(code).toBe(0);
    const judged = lines.filter(({ result }) => result !== undefined);
    expect(judged.length).toBeGreaterThan(10);
    expect(new Set(judged.map(({ result }) => result))).toEqual(new Set(["holds"]));
    expect(judged[0]?.subject).toMatch(/^spiffe:\/\/example\.org [0-9a-f]{8}$/);
    const listed = (subject: string) =>
      lines.filter((line) => line.subject === subject).map(({ rule }) => rule);
    expect(listed("every X509-SVID")).toEqual(
      expect.arrayContaining(["XS-01", "XS-14", "XS-23", "RFC5280-6.1"]),
    );
    expect(listed("every JWT-SVID")).toEqual(expect.arrayContaining(["§2.1", "§3.2", "§3.3"]));
    expect(listed("every WIT-SVID")).toEqual(expect.arrayContaining(["§3.2", "§3.4"]));
    expect(listed("every access token")).toEqual(expect.arrayContaining(["§2.2", "§2.2.3"]));
  });

  it("exits 1 where an authority breaks a rule, and shows that alone if asked", async () => {
    serve(authority(), authority({ uris: ["spiffe://example.org/with/a/path"], key: makeKey() }));
    const { code, stderr, lines } = await lint("--broken");
    expect(code).toBe(1);
    expect(stderr).toMatch(/1 of \d+ rules are broken/);
    expect(lines).toMatchObject([{ rule: "XS-08", result: "broken" }]);
  });

  it("holds an SVID of a file to the profile and to its issuer, where that is in the file", async () => {
    const run = async (...certificates: readonly { readonly der: Uint8Array }[]) => {
      const { code, stdout } = await runCommand(["authority", "lint", "-", "--broken", "--output", "json"], {
        input: pem(...certificates),
      });
      return { code, rules: (JSON.parse(stdout) as readonly Line[]).map(({ rule }) => rule) };
    };
    expect(await run(leaf(), authority())).toEqual({ code: 0, rules: [] });
    expect(await run(leaf({ notAfter: 1_900_000_000 }), authority())).toMatchObject({
      code: 1,
      rules: expect.arrayContaining(["RFC5280-6.1"]) as unknown,
    });
    expect(await run(leaf({ uris: ["spiffe://example.org/a", "spiffe://example.org/b"] }))).toEqual({
      code: 1,
      rules: ["XS-01"],
    });
    expect(await run(leaf({ keyUsage: [1, 0x86] }))).toMatchObject({
      code: 1,
      rules: expect.arrayContaining(["XS-23"]) as unknown,
    });
  });

  const judge = async (...certificates: readonly { readonly der: Uint8Array }[]) => {
    const { code, stdout } = await runCommand(["authority", "lint", "-", "--output", "json"], {
      input: pem(...certificates),
    });
    const lines = JSON.parse(stdout) as readonly Line[];
    return { code, of: (detail: RegExp) => lines.find((line) => detail.test(line.detail))?.result };
  };

  it("says nothing of what it cannot look at: what was decided, and an issuer that is not there", async () => {
    const alone = await judge(leaf());
    const together = await judge(leaf(), authority());
    for (const decided of [/decided on$/, /one verified$/, /one recorded$/]) {
      expect([alone.of(decided), together.of(decided)]).toEqual([undefined, undefined]);
    }
    for (const issued of [
      /must be the authority's subject/,
      /algorithm must be the authority's/,
      /not exceed the authority's/,
      /the authority's key identifier/,
      /signature must be/,
    ]) {
      expect([alone.of(issued), together.of(issued)]).toEqual([undefined, "holds"]);
    }
    expect(alone.of(/digitalSignature must be set/)).toBe("holds");
  });

  it("verifies signatures, an authority's own too", async () => {
    const forged = ({ der }: { readonly der: Uint8Array }) => {
      const bytes = Buffer.from(der);
      bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
      return { der: bytes };
    };
    const name = authority();
    expect((await judge(forged(leaf()), name)).of(/signature must be/)).toBe("broken");
    const issuer = { certificate: name, key };
    const below = forged(authority({ subject: "b", key: makeKey(), issuer }));
    expect((await judge(below, name)).of(/signature must be/)).toBe("broken");
    expect((await judge(below)).of(/signature must be/)).toBeUndefined();
    expect((await judge(forged(name))).of(/signature must be/)).toBe("broken");
  });

  it("takes the trust domain from the bundle", async () => {
    serve(authority({ uris: ["spiffe://other.org"] }));
    const { code, lines } = await lint("--broken");
    expect({ code, lines }).toMatchObject({ code: 1, lines: [{ rule: "XS-08" }] });
  });

  it("judges the root of an upstream authority by what a root is, and does not fail for it", async () => {
    serve(authority({ uris: [], keyUsage: [1, 0x86], key: makeKey() }));
    const { code, lines } = await lint();
    expect(code).toBe(0);
    const rules = lines.filter(({ result }) => result !== undefined).map(({ rule }) => rule);
    expect(rules).toEqual(expect.arrayContaining(["XS-13", "XS-19", "RFC5280-4.1.2.5"]));
    for (const rule of ["XS-01", "XS-08", "XS-43"]) expect(rules).not.toContain(rule);
  });

  it("prints a table for people", async () => {
    serve(authority());
    const { stdout } = await server.run(["authority", "lint"]);
    expect(stdout).toMatch(
      /^WHAT +RULE +RESULT +MUST HOLD\nspiffe:\/\/example\.org [0-9a-f]{8} +XS-01 +holds +subject/,
    );
    expect(stdout).toMatch(/every JWT-SVID +§2\.1 +- +alg must be the authority's/);
  });

  it("says what a file lacks that holds no certificate", async () => {
    const { code, stderr } = await runCommand(["authority", "lint", "-"], { input: "nothing\n" });
    expect(code).toBe(1);
    expect(stderr).toMatch(/certificate/);
  });
});
