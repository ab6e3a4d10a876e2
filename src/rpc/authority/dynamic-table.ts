/**
 * What has to be known of HPACK's dynamic table (RFC 7541 §2.3.2, §4) to follow it without keeping a single header:
 * how large each entry is and whether its name is `:authority`. The largest size is the one every decoder begins
 * with, 4096 octets, as long as our settings say nothing else; so there are at most 128 entries.
 */
export class DynamicTable {
  readonly #entries: Entry[] = [];
  #size = 0;
  #limit = MAX_TABLE_SIZE;

  /** The name at an index of the whole address space (RFC 7541 §2.3.3); undefined where there is none. */
  name(index: number): FieldName | undefined {
    if (index <= 0) return undefined;
    if (index <= STATIC_NAMES.length) return STATIC_NAMES[index - 1];
    return this.#entries[this.#entries.length - (index - STATIC_NAMES.length)]?.name;
  }

  /** Adds a field, so that it has the lowest dynamic index, and drops the oldest that no longer fit. */
  add(name: FieldName, valueLength: number): void {
    const size = ENTRY_OVERHEAD + name.length + valueLength;
    this.#shrinkTo(this.#limit - size);
    if (size > this.#limit) return;
    this.#entries.push({ name, size });
    this.#size += size;
  }

  /** Takes a size update of the encoder (RFC 7541 §6.3); false if it asks for more than was offered. */
  resize(limit: number): boolean {
    if (limit > MAX_TABLE_SIZE) return false;
    this.#limit = limit;
    this.#shrinkTo(limit);
    return true;
  }

  #shrinkTo(size: number): void {
    while (this.#size > size) {
      const oldest = this.#entries.shift();
      if (oldest === undefined) return;
      this.#size -= oldest.size;
    }
  }
}

/** What has to be known of a header's name. */
export interface FieldName {
  /** Octets. */
  readonly length: number;
  readonly isAuthority: boolean;
}

interface Entry {
  readonly name: FieldName;
  readonly size: number;
}

const MAX_TABLE_SIZE = 4096;
const ENTRY_OVERHEAD = 32;

/** RFC 7541 Appendix A: the lengths of the 61 names, `:authority` first. */
const STATIC_NAMES: readonly FieldName[] = [
  10, 7, 7, 5, 5, 7, 7, 7, 7, 7, 7, 7, 7, 7, 14, 15, 15, 13, 6, 27, 3, 5, 13, 13, 19, 16, 16, 14, 16, 13, 12,
  6, 4, 4, 6, 7, 4, 4, 8, 17, 13, 8, 19, 13, 4, 8, 12, 18, 19, 5, 7, 7, 11, 6, 10, 25, 17, 10, 4, 3, 16,
].map((length, i) => ({ length, isAuthority: i === 0 }));
