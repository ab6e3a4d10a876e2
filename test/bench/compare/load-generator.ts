import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readdir, readFile, rename, rm } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { output, run } from "../../e2e/program.ts";
import type { Contestant } from "./contestants.ts";

/** One measure, as the load generator reads it. Lengths are in seconds. */
export interface Order {
  readonly what: "x509" | "jwt";
  readonly batch: number;
  readonly warmup: number;
  readonly seconds: number;
  /** Calls kept under way … */
  readonly inflight?: number;
  /** … or calls begun a second. */
  readonly rate?: number;
}

/** What the load generator found. `main.go` says what each field is. */
export interface Finding {
  readonly calls: number;
  readonly svids: number;
  readonly failed: Readonly<Record<string, number>>;
  readonly verified: number;
  readonly seconds: number;
  readonly serverCpu: number;
  readonly ownCpu: number;
  readonly busyCpu: number;
  readonly stolenCpu: number;
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
  /** CPU-seconds of this very process meanwhile. */
  readonly benchCpu: number;
}

/** The load generator at work at one server. Orders are carried out one after the other. */
export class LoadGenerator implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #name: string;
  readonly #answers: AsyncIterator<string, undefined>;
  readonly #said: string[] = [];

  private constructor(program: string, { name, address, adminSocket, pid, trustDomain }: Contestant) {
    const flags = [`-server=${address}`, `-admin=${adminSocket}`, `-pid=${pid}`, `-td=${trustDomain}`];
    this.#name = name;
    this.#child = spawn(program, flags, { stdio: ["pipe", "pipe", "pipe"] });
    const { stdout, stderr } = this.#child;
    if (stdout === null || stderr === null) throw new Error("the load generator has no streams");
    this.#answers = createInterface({ input: stdout })[Symbol.asyncIterator]();
    createInterface({ input: stderr }).on("line", (line) => this.#said.push(line));
  }

  /** Starts it at a server and waits until its agent is attested and has its entries. */
  static async start(program: string, contestant: Contestant): Promise<LoadGenerator> {
    const generator = new LoadGenerator(program, contestant);
    try {
      await generator.#answer();
      return generator;
    } catch (error) {
      await generator[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Carries out one order. Rejects where an answer of the server was wrong, or no call succeeded. */
  async measure(order: Order): Promise<Finding> {
    const before = process.cpuUsage();
    this.#child.stdin?.write(`${JSON.stringify(order)}\n`);
    const found = (await this.#answer()) as Omit<Finding, "benchCpu"> & { readonly error?: string };
    if (found.error !== undefined) throw new Error(`${this.#name}: ${found.error}`);
    const { user, system } = process.cpuUsage(before);
    return { ...found, benchCpu: (user + system) / 1e6 };
  }

  async #answer(): Promise<object> {
    const answer: IteratorResult<string, undefined> = await this.#answers.next();
    if (answer.done === true) {
      throw new Error(`the load generator at ${this.#name} ended:\n${this.#said.join("\n")}`);
    }
    return JSON.parse(answer.value) as object;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = once(this.#child, "close");
    this.#child.kill();
    await ended;
  }
}

/**
 * Builds the load generator with Go, unless it was built before from the same sources, and gives the program's path. It is
 * kept where `test/interop/peers/build.sh` keeps the peers.
 */
export async function buildLoadGenerator(env: NodeJS.ProcessEnv): Promise<string> {
  const cache =
    env["ASSAY_PEERS"] ?? join(env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"), "assay", "peers");
  const hash = createHash("sha256");
  for (const name of (await readdir(SOURCES)).toSorted())
    hash.update(name).update(await readFile(join(SOURCES, name)));
  const folder = join(cache, `loadgen-${hash.digest("hex").slice(0, 16)}`);
  if (!existsSync(folder)) {
    await mkdir(cache, { recursive: true });
    const making = await mkdtemp(join(cache, ".making-"));
    const flags = ["build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", `${making}/`, "."];
    const built = await run("go", flags, { cwd: SOURCES, patience: 10 * 60_000 });
    if (built.code !== 0) {
      await rm(making, { recursive: true });
      throw new Error(`go could not build the load generator:\n${built.stderr}`);
    }
    // Whoever else finished first has built the same.
    await rename(making, folder).catch(() => rm(making, { recursive: true }));
  }
  return join(folder, "loadgen");
}

/** Builds SPIRE as the interop tests do and gives the folder of its programs; the first build takes ten CPU-minutes. */
export async function buildSpire(): Promise<string> {
  const script = join(import.meta.dirname, "..", "..", "interop", "peers", "build.sh");
  return (await output("bash", [script, "spire"], { patience: 30 * 60_000 })).trim();
}

const SOURCES = join(import.meta.dirname, "loadgen");
