import { spawn, type ChildProcess, type SpawnOptions } from "node:child_process";
import { createInterface } from "node:readline";

/** How a program ended. */
export interface Ending {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** What a program that ran to its end left behind. */
export interface Outcome extends Ending {
  readonly stdout: string;
  readonly stderr: string;
}

/** Who runs a program, where, and what it is told besides its arguments. */
export interface RunOptions {
  readonly uid?: number;
  readonly gid?: number;
  readonly cwd?: string;
  /** Added to the environment of the tests. */
  readonly env?: Readonly<Record<string, string>>;
  /** Written to standard input, which is empty and closed otherwise. */
  readonly input?: string;
  /** Milliseconds until it is killed; 60 s unless told. */
  readonly patience?: number;
}

/** Runs a program to its end and says how that was; never rejects for what the program did. */
export async function run(
  command: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<Outcome> {
  const child = spawn(command, args, spawnOptions(options));
  const stdout = collect(child.stdout);
  const stderr = collect(child.stderr);
  child.stdin?.on("error", () => {});
  child.stdin?.end(options.input ?? "");
  const timer = setTimeout(() => child.kill("SIGKILL"), options.patience ?? 60_000);
  try {
    const ending = await endingOf(child);
    return { ...ending, stdout: await stdout, stderr: await stderr };
  } finally {
    clearTimeout(timer);
  }
}

/** Runs a program that must succeed, and gives its standard output. The error of one that fails holds all it said. */
export async function output(
  command: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<string> {
  const { code, signal, stdout, stderr } = await run(command, args, options);
  if (code !== 0) {
    throw new Error(
      `${command} ${args.join(" ")} ended with ${code ?? signal ?? "nothing"}:\n${stdout}${stderr}`,
    );
  }
  return stdout;
}

/**
 * A program that keeps running: its lines are kept and can be waited for, and it is stopped by its own process when
 * it is disposed.
 */
export class Program implements AsyncDisposable {
  readonly pid: number;
  /** Resolves when the program has ended, however it did. */
  readonly ended: Promise<Ending>;
  readonly #name: string;
  readonly #child: ChildProcess;
  readonly #lines: string[] = [];
  readonly #waiting = new Set<() => void>();
  #over = false;

  private constructor(name: string, child: ChildProcess) {
    this.#name = name;
    this.#child = child;
    this.pid = child.pid ?? -1;
    for (const stream of [child.stdout, child.stderr]) {
      if (stream !== null) createInterface({ input: stream }).on("line", (line) => this.#hear(line));
    }
    child.stdin?.end();
    this.ended = endingOf(child).finally(() => {
      this.#over = true;
      this.#wake();
    });
    this.ended.catch(() => {});
  }

  /** Starts a program; `name` is what messages call it. */
  static start(name: string, command: string, args: readonly string[], options: RunOptions = {}): Program {
    return new Program(name, spawn(command, args, spawnOptions(options)));
  }

  /** Everything it has said so far, both streams, a line each. */
  get lines(): readonly string[] {
    return this.#lines;
  }

  /**
   * The first line, from the one numbered `from`, that passes; waits for it where it has not been said. Rejects with
   * all that was said when the program ends or `patience` milliseconds pass first.
   */
  async line(passes: (line: string) => boolean, { from = 0, patience = 30_000 } = {}): Promise<string> {
    const deadline = performance.now() + patience;
    for (let next = from; ; next++) {
      while (next >= this.#lines.length) {
        const left = deadline - performance.now();
        if (this.#over || left <= 0) {
          throw new Error(
            `${this.#name} ${this.#over ? "ended" : "kept silent"} before it said what was waited for:\n${this.#lines.join("\n")}`,
          );
        }
        await this.#news(left);
      }
      const line = this.#lines[next] ?? "";
      if (passes(line)) return line;
    }
  }

  /** As `line`, for the first line that is a JSON object of this type's shape. */
  async json<T extends object>(
    passes: (value: T) => boolean,
    options: { from?: number; patience?: number } = {},
  ): Promise<T> {
    const line = await this.line((text) => {
      const value = parse(text);
      return value !== undefined && passes(value as T);
    }, options);
    return JSON.parse(line) as T;
  }

  /** Sends a signal to this very process. */
  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Asks it to stop, and kills it where it has not after ten seconds. */
  async stop(): Promise<Ending> {
    if (!this.#over) this.#child.kill("SIGTERM");
    const timer = setTimeout(() => this.#child.kill("SIGKILL"), 10_000);
    try {
      return await this.ended;
    } finally {
      clearTimeout(timer);
    }
  }

  /** Kills it as a power cut would. */
  async kill(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  #hear(line: string): void {
    this.#lines.push(line);
    this.#wake();
  }

  #wake(): void {
    for (const wake of this.#waiting) wake();
  }

  /** Resolves on the next line, on the end, or after so many milliseconds. */
  #news(milliseconds: number): Promise<void> {
    return new Promise((resolve) => {
      const wake = () => {
        clearTimeout(timer);
        this.#waiting.delete(wake);
        resolve();
      };
      const timer = setTimeout(wake, milliseconds);
      this.#waiting.add(wake);
    });
  }
}

function spawnOptions({ uid, gid, cwd, env }: RunOptions): SpawnOptions {
  return {
    stdio: ["pipe", "pipe", "pipe"],
    env: { ...process.env, ...env },
    ...(uid === undefined ? {} : { uid }),
    ...(gid === undefined ? {} : { gid }),
    ...(cwd === undefined ? {} : { cwd }),
  };
}

function endingOf(child: ChildProcess): Promise<Ending> {
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code, signal) => resolve({ code, signal }));
  });
}

async function collect(stream: NodeJS.ReadableStream | null): Promise<string> {
  const chunks: Buffer[] = [];
  if (stream !== null) for await (const chunk of stream) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks).toString("utf8");
}

function parse(text: string): object | undefined {
  if (!text.startsWith("{")) return undefined;
  try {
    return JSON.parse(text) as object;
  } catch {
    return undefined;
  }
}
