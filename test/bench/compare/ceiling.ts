import { createHash, generateKeyPairSync, sign, verify } from "node:crypto";
import { output } from "../../e2e/program.ts";
import { inTurn } from "./statistics.ts";

/** How often one core can sign and verify with ECDSA P-256 in a second of its CPU time. */
export interface Speed {
  readonly sign: number;
  readonly verify: number;
}

/** What the machine can do at this very minute: by OpenSSL's own program, and by Node's crypto in this process. */
export interface Ceiling {
  readonly openssl: Speed;
  readonly node: Speed;
}

/**
 * The most SVIDs that the signatures alone allow in a CPU-second: an X509-SVID costs the verification of its CSR and one
 * signature, a JWT-SVID one signature.
 */
export function limitOf(what: "x509" | "jwt", speed: Speed): number {
  return what === "x509" ? inTurn(speed.sign, speed.verify) : speed.sign;
}

/** Measures both, each half for so many seconds; `seconds` is whole. */
export async function measureCeiling(seconds: number): Promise<Ceiling> {
  const args = ["speed", "-seconds", String(seconds), "ecdsap256"];
  const openssl = parseSpeed(await output("openssl", args, { patience: 60_000 + 4000 * seconds }));
  return { openssl, node: nodeSpeed(seconds / 2) };
}

/** The mean of two ceilings: of the minute that lies between them. */
export function between(a: Ceiling, b: Ceiling): Ceiling {
  const mean = (x: Speed, y: Speed) => ({ sign: (x.sign + y.sign) / 2, verify: (x.verify + y.verify) / 2 });
  return { openssl: mean(a.openssl, b.openssl), node: mean(a.node, b.node) };
}

/** Reads the table that `openssl speed ecdsap256` prints. Throws where its line is missing. */
export function parseSpeed(table: string): Speed {
  const line = /^\s*256 bits ecdsa \(nistp256\)\s+[\d.]+s\s+[\d.]+s\s+([\d.]+)\s+([\d.]+)\s*$/m.exec(table);
  const [signs, verifies] = [Number(line?.[1]), Number(line?.[2])];
  if (!(signs > 0) || !(verifies > 0)) throw new Error(`openssl speed said something else:\n${table}`);
  return { sign: signs, verify: verifies };
}

function nodeSpeed(seconds: number): Speed {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const data = createHash("sha256").update("as long as what is signed in a small X509-SVID").digest();
  const signature = sign("sha256", data, privateKey);
  return {
    sign: perCpuSecond(seconds, () => sign("sha256", data, privateKey)),
    verify: perCpuSecond(seconds, () => verify("sha256", data, publicKey, signature)),
  };
}

/** Repeats something and says how often it ran in a second of CPU time, which others on the machine cannot take away. */
function perCpuSecond(seconds: number, work: () => unknown): number {
  const began = performance.now();
  const before = process.cpuUsage();
  let done = 0;
  while (performance.now() - began < seconds * 1000) {
    for (let i = 0; i < CHUNK; i++) work();
    done += CHUNK;
  }
  const { user, system } = process.cpuUsage(before);
  return done / ((user + system) / 1e6);
}

/** Asking for the time must cost nothing beside what is measured. */
const CHUNK = 100;
