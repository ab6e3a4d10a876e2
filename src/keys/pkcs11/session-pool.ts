import { CK, type Cryptoki, type Handle } from "./cryptoki.ts";
import { cryptokiCode } from "./cryptoki-error.ts";

/**
 * Sessions of one token, as many as work at once: a session does one thing at a time. They stay open, since a login ends
 * with the last of them.
 */
export class SessionPool {
  readonly #library: Cryptoki;
  readonly #slot: Handle;
  readonly #free: Handle[];
  readonly #waiting: ((session: Handle) => void)[] = [];
  #room: number;

  /** @param first A session that is open and logged in. @param size Sessions at most, with the first. */
  constructor(library: Cryptoki, slot: Handle, first: Handle, size: number) {
    this.#library = library;
    this.#slot = slot;
    this.#free = [first];
    this.#room = size - 1;
  }

  /** Does something with a session of its own. */
  async use<Result>(task: (session: Handle) => Result | Promise<Result>): Promise<Result> {
    const session = await this.#take();
    try {
      return await task(session);
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#free.push(session);
      else next(session);
    }
  }

  #take(): Handle | Promise<Handle> {
    const free = this.#free.pop();
    if (free !== undefined) return free;
    const opened = this.#open();
    if (opened !== undefined) return opened;
    const { promise, resolve } = Promise.withResolvers<Handle>();
    this.#waiting.push(resolve);
    return promise;
  }

  #open(): Handle | undefined {
    if (this.#room === 0) return undefined;
    try {
      const session = openSession(this.#library, this.#slot);
      this.#room--;
      return session;
    } catch (error) {
      // A device with fewer sessions than we would like is used with those it gave.
      if (cryptokiCode(error) !== "CKR_SESSION_COUNT") throw error;
      this.#room = 0;
      return undefined;
    }
  }
}

/** Opens a session that may write. */
export function openSession(library: Cryptoki, slot: Handle): Handle {
  return library.C_OpenSession(slot, CK.CKF_SERIAL_SESSION | CK.CKF_RW_SESSION);
}
