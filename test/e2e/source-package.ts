/**
 * For `node --import`: programs anywhere find the package's published subpaths in the checkout's source, so that a test
 * of them needs no build, and its dependencies in the checkout's `node_modules`.
 */
import { registerHooks } from "node:module";

const SUBPATHS = /^@assay\/assay\/(\w+)$/;
const BORROWED = new Set(["fastify"]);

registerHooks({
  resolve(specifier, context, nextResolve) {
    const [, name] = SUBPATHS.exec(specifier) ?? [];
    if (name !== undefined) {
      return nextResolve(new URL(`../../src/${name}/index.ts`, import.meta.url).href, context);
    }
    if (BORROWED.has(specifier)) return nextResolve(specifier, { ...context, parentURL: import.meta.url });
    return nextResolve(specifier, context);
  },
});
