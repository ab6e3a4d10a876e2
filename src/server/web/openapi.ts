/** What the OpenAPI document says about the API as a whole. The version is the API's, not the program's. */
export const WEB_API = {
  title: "Assay server",
  version: "1",
  description: [
    "What the server answers over HTTP: on its web port by TLS, and on its admin socket.",
    "",
    "Operations with the security scheme `adminSvid` are for operators: administrators who show their X509-SVID as",
    "client certificate, and local callers of the admin socket, who need none. Those with `taskToken` are for tasks, by an",
    "access token that is bound to the task's key (RFC 9449). Everything else is public.",
    "",
    "Every error is a problem document (RFC 9457).",
  ].join("\n"),
};

/** A route that the operator guard stands before. */
export interface GuardedRoute {
  /** In capitals. */
  readonly method: string;
  /** Fastify's pattern, `/v1/entries/:id`. */
  readonly url: string;
  /** What it asks for. */
  readonly scheme: "adminSvid" | "taskToken";
}

/**
 * The document with its security scheme on the routes that are guarded, and without schemas that none of its operations
 * uses: another API of the same process may have registered its own.
 */
export function documentWithSecurity(document: object, guarded: readonly GuardedRoute[]): object {
  const { components, paths, ...rest } = document as OpenApiDocument;
  const secured = Object.entries(paths).map(([path, operations]): [string, object] => [
    path,
    Object.fromEntries(
      Object.entries(operations).map(([method, operation]) => [
        method,
        withSecurity(
          operation,
          guarded.find((route) => route.method.toLowerCase() === method && pathOf(route.url) === path),
        ),
      ]),
    ),
  ]);
  return {
    ...rest,
    components: {
      schemas: usedSchemas(paths, components?.schemas ?? {}),
      securitySchemes: SCHEMES,
    },
    paths: Object.fromEntries(secured),
  };
}

interface OpenApiDocument {
  readonly components?: { readonly schemas?: Schemas };
  readonly paths: Readonly<Record<string, Readonly<Record<string, object>>>>;
}

type Schemas = Readonly<Record<string, unknown>>;

function usedSchemas(paths: unknown, all: Schemas): Schemas {
  const used = new Set<string>();
  const waiting = referencesIn(paths);
  for (let name = waiting.pop(); name !== undefined; name = waiting.pop()) {
    if (used.has(name)) continue;
    used.add(name);
    waiting.push(...referencesIn(all[name]));
  }
  return Object.fromEntries([...used].toSorted().map((name) => [name, all[name]]));
}

function pathOf(url: string): string {
  return url.replaceAll(/:([A-Za-z_]+)/g, "{$1}");
}

function referencesIn(value: unknown): string[] {
  const text = JSON.stringify(value) ?? "";
  return [...text.matchAll(/"\$ref":"#\/components\/schemas\/([^"]+)"/g)].flatMap(([, name]) => name ?? []);
}

function withSecurity(operation: object, route: GuardedRoute | undefined): object {
  return route === undefined ? operation : { ...operation, security: [{ [route.scheme]: [] }] };
}

const SCHEMES: Readonly<Record<GuardedRoute["scheme"], object>> = {
  adminSvid: {
    type: "mutualTLS",
    description: "X509-SVID of an administrator; on the admin socket the kernel's word takes its place",
  },
  taskToken: {
    type: "http",
    scheme: "DPoP",
    description: "Access token of a task, with a proof of its key in the `DPoP` header (RFC 9449 §7.1)",
  },
};
