/** Times at which something falls due, each under an id: a heap, so that the next one is known without a search. */
export class Deadlines {
  readonly #at = new Map<string, number>();
  readonly #heap: Deadline[] = [];

  /** How many ids have a deadline. */
  get size(): number {
    return this.#at.size;
  }

  /** Sets the deadline of an id, milliseconds since the epoch, in place of the one it had. */
  set(id: string, at: number): void {
    const before = this.#at.get(id);
    this.#at.set(id, at);
    // One that moves to later is found when its old place is reached: heartbeats cost nothing here.
    if (before === undefined || at < before) this.#push({ at, id });
  }

  /** Forgets the deadline of an id. */
  delete(id: string): void {
    this.#at.delete(id);
    if (this.#at.size === 0) this.#heap.length = 0;
  }

  /** The deadline of an id. */
  get(id: string): number | undefined {
    return this.#at.get(id);
  }

  /** The earliest deadline. */
  next(): number | undefined {
    for (;;) {
      const [first] = this.#heap;
      if (first === undefined) return undefined;
      const at = this.#at.get(first.id);
      if (at === first.at) return at;
      this.#pop();
      if (at !== undefined && at > first.at) this.#push({ at, id: first.id });
    }
  }

  /** Takes out at most `limit` ids whose deadline is `now` or earlier, earliest first. */
  take(now: number, limit: number): readonly string[] {
    const due: string[] = [];
    while (due.length < limit) {
      const next = this.next();
      const [first] = this.#heap;
      if (next === undefined || first === undefined || next > now) break;
      this.#pop();
      this.#at.delete(first.id);
      due.push(first.id);
    }
    return due;
  }

  #push(deadline: Deadline): void {
    const heap = this.#heap;
    let place = heap.length;
    heap.push(deadline);
    while (place > 0) {
      const above = (place - 1) >> 1;
      const parent = heap[above];
      if (parent === undefined || parent.at <= deadline.at) break;
      heap[place] = parent;
      heap[above] = deadline;
      place = above;
    }
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return;
    let place = 0;
    for (;;) {
      const left = 2 * place + 1;
      const right = left + 1;
      const smaller = atOf(heap[right]) < atOf(heap[left]) ? right : left;
      const child = heap[smaller];
      if (child === undefined || child.at >= last.at) break;
      heap[place] = child;
      place = smaller;
    }
    heap[place] = last;
  }
}

interface Deadline {
  readonly at: number;
  readonly id: string;
}

function atOf(deadline: Deadline | undefined): number {
  return deadline?.at ?? Number.POSITIVE_INFINITY;
}
