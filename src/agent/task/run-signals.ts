import type { Clock } from "../../clock.ts";
import type { RunningCommand } from "./child.ts";

/** What hearing the signals of a run needs. */
export interface RunSignalsOptions {
  readonly clock: Clock;
  /** Hands over this process's signals, which then end nothing by themselves, until disposed. */
  readonly take: (listener: (signal: NodeJS.Signals) => void) => Disposable;
  /** Whether this process and its command share a terminal. */
  readonly hasTerminal: boolean;
  /** Told of a signal that asks to end while there is no command yet. */
  readonly onStop: (signal: NodeJS.Signals) => void;
  /** Told where a command goes on though it was asked to end, shortly before whoever asked will kill us all. */
  readonly onLate: () => void;
}

/** The signals of a run: they end what comes before its command, and are the command's from then on. */
export class RunSignals implements Disposable {
  readonly #options: RunSignalsOptions;
  readonly #taken: Disposable;
  /** What came before there was a command. */
  readonly #early: NodeJS.Signals[] = [];
  #command: Pick<RunningCommand, "forward"> | undefined;
  #late: Disposable | undefined;

  constructor(options: RunSignalsOptions) {
    this.#options = options;
    this.#taken = options.take((signal) => this.#hear(signal));
  }

  /** The first signal that asked to end before there was a command. */
  get stoppedBy(): NodeJS.Signals | undefined {
    return this.#early.find((signal) => STOPPING.has(signal));
  }

  /** From now on all signals are this command's; those that came while it was being started are as well. */
  passTo(command: Pick<RunningCommand, "forward">): void {
    this.#command = command;
    for (const signal of this.#early.splice(0)) this.#pass(signal, command);
  }

  [Symbol.dispose](): void {
    this.#taken[Symbol.dispose]();
    this.#late?.[Symbol.dispose]();
  }

  #hear(signal: NodeJS.Signals): void {
    if (this.#command !== undefined) {
      this.#pass(signal, this.#command);
      return;
    }
    this.#early.push(signal);
    if (STOPPING.has(signal)) this.#options.onStop(signal);
  }

  #pass(signal: NodeJS.Signals, command: Pick<RunningCommand, "forward">): void {
    const { hasTerminal, clock, onLate } = this.#options;
    // A terminal sends its signals to the whole group; passed on as well, the command would see them twice.
    if (hasTerminal && OF_TERMINAL.has(signal)) return;
    command.forward(signal);
    // GitHub sends INT, 7.5 s later TERM, and kills 2.5 s after that; others kill 9 to 30 s after TERM.
    if (CANCELLING.has(signal)) this.#late ??= clock.schedule(GRACE, onLate);
  }
}

const STOPPING: ReadonlySet<NodeJS.Signals> = new Set(["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"]);
const CANCELLING: ReadonlySet<NodeJS.Signals> = new Set(["SIGINT", "SIGTERM"]);
const OF_TERMINAL: ReadonlySet<NodeJS.Signals> = new Set(["SIGINT", "SIGQUIT", "SIGWINCH"]);
const GRACE = 5000;
