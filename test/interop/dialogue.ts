import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { buildPeer, type Peer } from "./peers.ts";

/** A Python program at work that answers each line of JSON with another. Questions are put one after the other. */
export class Dialogue implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #answers: AsyncIterator<string, undefined>;
  readonly #said: string[] = [];
  #last: Promise<unknown> = Promise.resolve();

  private constructor(child: ChildProcess) {
    this.#child = child;
    if (child.stdout === null || child.stderr === null) throw new Error("the program has no streams");
    this.#answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    createInterface({ input: child.stderr }).on("line", (line) => this.#said.push(line));
  }

  /** Builds a peer and starts its probe; gives it and its first line. */
  static async start<First>(
    peer: Peer,
    args: readonly string[],
  ): Promise<{ readonly dialogue: Dialogue; readonly first: First }> {
    const folder = await buildPeer(peer);
    const env = { ...process.env, PYTHONPATH: `${folder}/lib` };
    const dialogue = new Dialogue(spawn("/usr/bin/python3", [`${folder}/probe.py`, ...args], { env }));
    try {
      return { dialogue, first: await dialogue.#answer<First>() };
    } catch (error) {
      await dialogue[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Puts a question and gives the answer. */
  ask<Answer = Readonly<Record<string, unknown>>>(question: object): Promise<Answer> {
    const answer = this.#last.then(() => {
      this.#child.stdin?.write(`${JSON.stringify(question)}\n`);
      return this.#answer<Answer>();
    });
    this.#last = answer.catch(() => undefined);
    return answer;
  }

  async #answer<Answer>(): Promise<Answer> {
    const answer: IteratorResult<string, undefined> = await this.#answers.next();
    if (answer.done === true) throw new Error(`the program ended:\n${this.#said.join("\n")}`);
    return JSON.parse(answer.value) as Answer;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = once(this.#child, "close");
    this.#child.kill();
    await ended;
  }
}
