/** Makes one thing for each item, in slices, so that a long list does not hold up the calls of workloads. */
export async function inSlices<Item, Made>(
  items: readonly Item[],
  make: (item: Item) => Made | Promise<Made>,
): Promise<readonly Made[]> {
  const all: Made[] = [];
  for (const [i, item] of items.entries()) {
    if (i > 0 && i % ITEMS_PER_TURN === 0) await new Promise((resolve) => setImmediate(resolve));
    const made = make(item);
    all.push(made instanceof Promise ? await made : made);
  }
  return all;
}

const ITEMS_PER_TURN = 50;
