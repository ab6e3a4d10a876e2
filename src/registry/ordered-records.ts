/** A record with the place that the store gave it. */
export interface Ordered {
  readonly ordinal: number;
}

/** Puts a record in its place, over the one with the same ordinal if there is one. The list stays sorted. */
export function putOrdered<T extends Ordered>(list: T[], record: T): void {
  // New records come last nearly always; only another server's commit can arrive out of order.
  const last = list.at(-1);
  if (last === undefined || last.ordinal < record.ordinal) {
    list.push(record);
    return;
  }
  const at = firstAfter(list, record.ordinal - 1);
  list.splice(at, list[at]?.ordinal === record.ordinal ? 1 : 0, record);
}

/** Takes the record with this ordinal out of a sorted list. */
export function removeOrdered<T extends Ordered>(list: T[], ordinal: number): void {
  const at = firstAfter(list, ordinal - 1);
  if (list[at]?.ordinal === ordinal) list.splice(at, 1);
}

/** Index of the first record of a sorted list whose ordinal is larger than this one; the length if there is none. */
export function firstAfter<T extends Ordered>(list: readonly T[], ordinal: number): number {
  let low = 0;
  let high = list.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((list[middle]?.ordinal ?? 0) <= ordinal) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Puts a record under a key of an index of sorted lists. */
export function putUnder<K, T extends Ordered>(index: Map<K, T[]>, key: K, record: T): void {
  const list = index.get(key);
  if (list === undefined) index.set(key, [record]);
  else putOrdered(list, record);
}

/** Takes a record from under a key of an index of sorted lists, and the key with the last of them. */
export function removeUnder<K, T extends Ordered>(index: Map<K, T[]>, key: K, ordinal: number): void {
  const list = index.get(key);
  if (list === undefined) return;
  removeOrdered(list, ordinal);
  if (list.length === 0) index.delete(key);
}
