/**
 * What a task gives for each item, in order, with so many under way at once. When one fails no further ones are begun.
 * @throws what the first task throws that fails.
 */
export async function eachOf<Item, Result>(
  items: readonly Item[],
  atOnce: number,
  task: (item: Item) => Promise<Result>,
): Promise<readonly Result[]> {
  const results: Result[] = [];
  for (let at = 0; at < items.length; at += atOnce) {
    results.push(...(await Promise.all(items.slice(at, at + atOnce).map(task))));
  }
  return results;
}
