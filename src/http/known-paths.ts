/**
 * Knows which methods each path has, to tell a wrong method (405) from a wrong path (404). Patterns are Fastify's:
 * `:name` is one segment, `*` at the end is everything.
 */
export class KnownPaths {
  readonly #patterns: { readonly expression: RegExp; readonly methods: Set<string> }[] = [];

  /** Adds the methods of one route. */
  add(pattern: string, methods: readonly string[]): void {
    const segments = pattern.split("/").map((segment) => {
      if (segment.startsWith(":")) return "[^/]+";
      return segment === "*" ? ".*" : segment.replaceAll(/[\\^$.*+?()[\]{}|]/g, "\\$&");
    });
    this.#patterns.push({ expression: new RegExp(`^${segments.join("/")}$`), methods: new Set(methods) });
  }

  /** The methods of a path (without query), sorted; empty where the path is unknown. */
  methodsOf(path: string): readonly string[] {
    const found = this.#patterns.filter(({ expression }) => expression.test(path));
    return [...new Set(found.flatMap(({ methods }) => [...methods]))].toSorted();
  }
}
