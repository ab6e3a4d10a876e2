import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { chmod, cp } from "node:fs/promises";
import { basename, join } from "node:path";
import { describe } from "vitest";
import { output } from "../e2e/program.ts";
import type { Scratch } from "../e2e/scratch.ts";

/** What an interop test may need of the machine it runs on. */
export type Need = "go" | "openssl" | "curl" | "root" | "python" | "java" | "rust" | "softhsm";

/** The peers that `peers/build.sh` knows: a folder each. */
export type Peer =
  | "spire"
  | "go-client"
  | "py-client"
  | "java-client"
  | "rust-client"
  | "spiffe-helper"
  | "oidc-python"
  | "oidc-go"
  | "oidc-java"
  | "oauth-python"
  | "moto"
  | "aws-sdk"
  | "google-auth"
  | "pkcs11js"
  | "csr-judge"
  | "envoy"
  | "pebble"
  | "vault";

/**
 * `describe` for tests that need foreign tools: where one is missing they are skipped, and the title says which, so
 * that nothing is left out silently.
 */
export function describeWith(needs: readonly Need[], title: string, body: () => void): void {
  const missing = needs.flatMap((need) => MISSING[need]() ?? []);
  const shown = missing.length === 0 ? title : `${title} (skipped: ${missing.join(", ")})`;
  describe.skipIf(missing.length > 0)(shown, body);
}

/** The folder of a peer's programs, built if this machine has not built them before. */
export async function buildPeer(peer: Peer): Promise<string> {
  const script = join(import.meta.dirname, "peers", "build.sh");
  return (await output("bash", [script, peer], { patience: BUILD_PATIENCE })).trim();
}

/** Milliseconds that a hook which builds a peer may take on a machine that has never built it. */
export const BUILD_PATIENCE = 20 * 60_000;

/**
 * Copies a program, or a peer's whole folder, to where every user may run it: a cache folder may be private to the one
 * who built it.
 */
export async function placeForAll(program: string, scratch: Scratch): Promise<string> {
  const copy = scratch.at("programs", basename(program));
  // Python takes what it has compiled for stale where the times differ.
  await cp(program, copy, { recursive: true, preserveTimestamps: true });
  await chmod(copy, 0o755);
  return copy;
}

/** The PKCS#11 library of SoftHSM 2, where a distribution has put it. */
export function softHsmLibrary(): string | undefined {
  return [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/softhsm/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
  ].find((path) => existsSync(path));
}

const MISSING: Readonly<Record<Need, () => string | undefined>> = {
  // From 1.21 on, go fetches by itself the newer toolchain that a go.mod asks for.
  go: () => {
    const [, major = 0, minor = 0] = (/go(\d+)\.(\d+)/.exec(versionOf("go", ["version"]) ?? "") ?? []).map(
      Number,
    );
    return major > 1 || minor >= 21 ? undefined : "needs go 1.21 or newer";
  },
  // Debian's own, which every user may run.
  python: () =>
    versionOf("/usr/bin/python3", ["-c", "import pip, sys; assert sys.version_info >= (3, 10)"]) === undefined
      ? "needs python3 3.10 or newer, with pip, in /usr/bin"
      : undefined,
  java: () =>
    versionOf("mvn", ["-v"]) === undefined ||
    versionOf("javac", ["--release", "17", "--version"]) === undefined
      ? "needs a JDK 17 or newer and Maven"
      : undefined,
  rust: () => {
    const [, minor = 0] = (/rustc 1\.(\d+)/.exec(versionOf("rustc", ["--version"]) ?? "") ?? []).map(Number);
    return minor >= 88 && versionOf("cargo", ["--version"]) !== undefined
      ? undefined
      : "needs rustc 1.88 or newer, with cargo";
  },
  softhsm: () =>
    versionOf("softhsm2-util", ["--version"]) === undefined ||
    softHsmLibrary() === undefined ||
    versionOf("c++", ["--version"]) === undefined ||
    versionOf("make", ["--version"]) === undefined
      ? "needs softhsm2, and a C++ compiler and make for pkcs11js"
      : undefined,
  openssl: () => (versionOf("openssl", ["version"]) === undefined ? "needs openssl" : undefined),
  curl: () => (versionOf("curl", ["--version"]) === undefined ? "needs curl" : undefined),
  root: () => (process.geteuid?.() === 0 ? undefined : "needs root to act as other users"),
};

function versionOf(command: string, args: readonly string[]): string | undefined {
  try {
    return execFileSync(command, args, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
  } catch {
    return undefined;
  }
}
