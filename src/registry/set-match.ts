import { AssayError } from "../errors/assay-error.ts";

/**
 * How the set of a record is to lie to the set of a filter: the same, nothing outside of it, at least all of it, at
 * least one of it.
 */
export type SetMatch = "exact" | "subset" | "superset" | "any";

/**
 * The test of a filter over sets of texts. A record with no members passes none of the four.
 * @throws AssayError `INVALID_REQUEST` for an empty filter.
 */
export function setTest(
  field: string,
  wanted: readonly string[],
  match: SetMatch,
): (members: readonly string[]) => boolean {
  const set = new Set(wanted);
  if (set.size === 0) throw new AssayError("INVALID_REQUEST", `filter ${field}: expected at least one`);
  const inside = (members: readonly string[]) => members.every((member) => set.has(member));
  const count = (members: readonly string[]) => members.filter((member) => set.has(member)).length;
  switch (match) {
    // Members are distinct, so as many of them as are wanted are all that is wanted.
    case "exact":
      return (members) => members.length === set.size && inside(members);
    case "subset":
      return (members) => members.length > 0 && inside(members);
    case "superset":
      return (members) => members.length >= set.size && count(members) === set.size;
    case "any":
      return (members) => members.some((member) => set.has(member));
    default:
      throw new AssayError("INVALID_REQUEST", `filter ${field}: expected exact, subset, superset or any`);
  }
}
