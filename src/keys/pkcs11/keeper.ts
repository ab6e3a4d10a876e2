import { type ChildProcess, fork } from "node:child_process";
import { extname } from "node:path";
import type { Clock } from "../../clock.ts";
import { TokenError } from "./cryptoki-error.ts";
import type { TokenAnswers, TokenQuestion, TokenReply, TokenRequest } from "./messages.ts";

/** The process that holds a PKCS#11 library, seen from the server. */
export interface Keeper {
  /**
   * Asks it. @param deadline Milliseconds after which it is taken to have stalled and is killed.
   * @throws TokenError
   */
  ask<Op extends TokenRequest["op"]>(
    request: Extract<TokenRequest, { readonly op: Op }>,
    deadline: number,
  ): Promise<TokenAnswers[Op]>;
  /** Lets it end when what it was asked before is answered. Resolves when it has ended. */
  retire(): Promise<void>;
  /** Ends it: what it was asked fails at once, and it has two seconds to log out. Resolves when it has ended. */
  close(): Promise<void>;
}

/** Starts the process. It opens nothing before it is asked to. */
export function startKeeper(clock: Clock): Keeper {
  // Of the same kind as this file: TypeScript in a checkout, JavaScript in the package.
  const program = new URL(`./token-process${extname(import.meta.filename)}`, import.meta.url);
  const child = fork(program, [], {
    serialization: "advanced",
    execArgv: [],
    // What libraries print there could be anything, the PIN included; their own logs are the place to look.
    stdio: ["ignore", "ignore", "ignore", "ipc"],
  });
  return new KeeperProcess(child, clock);
}

class KeeperProcess implements Keeper {
  readonly #child: ChildProcess;
  readonly #clock: Clock;
  readonly #open = new Map<number, OpenQuestion>();
  readonly #ended: Promise<void>;
  #count = 0;
  #over: TokenError | undefined;
  #ending = false;

  constructor(child: ChildProcess, clock: Clock) {
    this.#child = child;
    this.#clock = clock;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#ended = promise;
    child.on("message", (reply: TokenReply) => this.#answered(reply));
    child.on("error", (error) => this.#finish(`cannot be started: ${error.message}`, resolve));
    child.on("exit", (code, signal) =>
      this.#finish(`ended by ${signal ?? `exit code ${code ?? 0}`}`, resolve),
    );
    this.#keepAlive();
  }

  ask<Op extends TokenRequest["op"]>(
    request: Extract<TokenRequest, { readonly op: Op }>,
    deadline: number,
  ): Promise<TokenAnswers[Op]> {
    if (this.#over !== undefined) return Promise.reject(this.#over);
    const { promise, resolve, reject } = Promise.withResolvers<TokenAnswers[Op]>();
    const number = this.#count++;
    const question: TokenQuestion = { number, request };
    this.#open.set(number, {
      resolve,
      reject,
      timer: this.#clock.schedule(deadline, () => {
        this.#kill(
          `the PKCS#11 library did not answer within ${deadline / 1000} s and its process was ended`,
        );
      }),
    });
    this.#child.send(question, (error) => {
      // How it ended is told when it has ended, which a closed channel comes before.
      if (error !== null) this.#child.kill("SIGKILL");
    });
    this.#keepAlive();
    return promise;
  }

  retire(): Promise<void> {
    this.#ending = true;
    if (this.#open.size === 0) this.#disconnect();
    return this.#ended;
  }

  async close(): Promise<void> {
    this.#fail(new TokenError("lost", "key manager is closed"));
    void this.retire();
    this.#child.ref();
    using _ = this.#clock.schedule(GRACE_MS, () => void this.#child.kill("SIGKILL"));
    await this.#ended;
  }

  #answered(reply: TokenReply): void {
    const question = this.#open.get(reply.number);
    if (question === undefined) return;
    this.#open.delete(reply.number);
    question.timer[Symbol.dispose]();
    if ("failure" in reply) question.reject(new TokenError(reply.failure.kind, reply.failure.detail));
    else question.resolve(reply.value);
    if (this.#ending && this.#open.size === 0) this.#disconnect();
    this.#keepAlive();
  }

  #disconnect(): void {
    if (!this.#child.connected) return;
    this.#child.disconnect();
    // A library that stalls while it logs out would keep the process, and its session at the device, for ever.
    const patience = this.#clock.schedule(RETIRE_MS, () => void this.#child.kill("SIGKILL"));
    void this.#ended.then(() => patience[Symbol.dispose]());
  }

  #kill(why: string): void {
    this.#fail(new TokenError("lost", why));
    this.#child.kill("SIGKILL");
  }

  #finish(how: string, resolve: () => void): void {
    this.#fail(new TokenError("lost", `the process of the PKCS#11 library ${how}`));
    resolve();
  }

  #fail(error: TokenError): void {
    this.#over ??= error;
    for (const question of this.#open.values()) {
      question.timer[Symbol.dispose]();
      question.reject(this.#over);
    }
    this.#open.clear();
    this.#keepAlive();
  }

  /** A process that nothing is asked of keeps no program running. */
  #keepAlive(): void {
    const busy = this.#open.size > 0;
    this.#child[busy ? "ref" : "unref"]();
    this.#child.channel?.[busy ? "ref" : "unref"]();
  }
}

interface OpenQuestion {
  resolve(value: unknown): void;
  reject(error: TokenError): void;
  readonly timer: Disposable;
}

const GRACE_MS = 2000;
const RETIRE_MS = 10_000;
