import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import type { Need, Peer } from "./peers.ts";

/** A library that verifies ID tokens, with the little program that we wrote around it. */
export interface OidcLibrary {
  readonly name: string;
  readonly needs: readonly Need[];
  readonly peer: Peer;
  /** The command that starts the program in the folder where it was built. */
  command(folder: string): readonly [string, ...string[]];
}

/** Three libraries that share no code, in three languages. */
export const OIDC_LIBRARIES: readonly OidcLibrary[] = [
  {
    name: "PyJWT 2.15.1 (Python)",
    needs: ["python"],
    peer: "oidc-python",
    command: (folder) => [
      "/usr/bin/env",
      `PYTHONPATH=${folder}/lib`,
      "/usr/bin/python3",
      `${folder}/probe.py`,
    ],
  },
  {
    name: "go-oidc 3.20.0 (Go)",
    needs: ["go"],
    peer: "oidc-go",
    command: (folder) => [`${folder}/oidc-probe`],
  },
  {
    name: "Nimbus 11.39 (Java)",
    needs: ["java"],
    peer: "oidc-java",
    command: (folder) => ["java", "-cp", `${folder}/jars/*`, "probe.Main"],
  },
];

/** What a relying party says of a token: whose it is, or why it is refused. */
export interface Verdict {
  readonly sub?: string;
  readonly alg?: string;
  readonly error?: string;
}

/** A relying party at work. It found its issuer by discovery when it started, and keeps what it has learnt. */
export class RelyingParty implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #answers: AsyncIterator<string, undefined>;
  readonly #said: string[] = [];

  private constructor(child: ChildProcess) {
    this.#child = child;
    if (child.stdout === null || child.stderr === null) throw new Error("the program has no streams");
    this.#answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    createInterface({ input: child.stderr }).on("line", (line) => this.#said.push(line));
  }

  /** Starts one that expects tokens for an audience, and believes web servers by the certificates of a file. */
  static async start(
    library: OidcLibrary,
    folder: string,
    wants: { readonly issuer: string; readonly audience: string; readonly caFile: string },
  ): Promise<RelyingParty> {
    const [program, ...args] = library.command(folder);
    const child = spawn(program, [...args, wants.issuer, wants.audience, wants.caFile]);
    const party = new RelyingParty(child);
    try {
      const ready = await party.#answer<{ readonly ready: boolean }>();
      if (!ready.ready) throw new Error(`${library.name} is not ready`);
      return party;
    } catch (error) {
      await party[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Shows it a token. */
  verify(token: string): Promise<Verdict> {
    this.#child.stdin?.write(`${token}\n`);
    return this.#answer();
  }

  async #answer<T>(): Promise<T> {
    const answer: IteratorResult<string, undefined> = await this.#answers.next();
    if (answer.done === true) throw new Error(`the relying party ended:\n${this.#said.join("\n")}`);
    return JSON.parse(answer.value) as T;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = new Promise((resolve) => this.#child.once("close", resolve));
    this.#child.kill();
    await ended;
  }
}
