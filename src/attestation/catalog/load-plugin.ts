import { isAbsolute } from "node:path";
import { pathToFileURL } from "node:url";
import { AssayError, type Violation } from "../../errors/assay-error.ts";
import type { ConfigSchema, SchemaIssue } from "../../plugin/config-schema.ts";

/** What the loader needs to see of a plugin: the five fields that every kind has. */
export interface LoadablePlugin<Host, Instance> {
  readonly kind: string;
  readonly apiVersion: 1;
  readonly name: string;
  readonly selectorType?: string;
  readonly config: ConfigSchema<unknown>;
  create(config: unknown, host: Host): Instance | Promise<Instance>;
}

/** One kind of plugin: how it is called, which are built in, and which of them nobody may replace. */
export interface PluginKind<Host, Instance extends AsyncDisposable> {
  /** The `kind` field of its plugins, e.g. `nodeAttestor`. */
  readonly kind: string;
  /** The kind in words, for messages, e.g. `node attestor`. */
  readonly label: string;
  readonly builtIns: ReadonlyMap<string, LoadablePlugin<Host, Instance>>;
  /** Names for which `module` is refused: the program's own rules depend on them. */
  readonly sealed: ReadonlySet<string>;
  /** Methods that an instance must have. */
  readonly methods: readonly string[];
  /** Methods of which an instance must have at least one. */
  readonly oneOf?: readonly string[];
}

/** A plugin as the configuration names it. */
export interface PluginEntry {
  readonly name: string;
  /** The operator's name for this one, where a plugin may work more than once; the plugin's own unless given. */
  readonly instance?: string | undefined;
  /** Where a third party's plugin is: an npm package name or an absolute path. Absent for a built-in. */
  readonly module?: string | undefined;
  /** The plugin's own configuration; `{}` where the operator wrote none. */
  readonly config?: unknown;
}

/** A plugin at work. */
export interface LoadedPlugin<Instance> {
  /** The operator's name for it: that of the plugin, unless the entry gives another. */
  readonly name: string;
  /** `built-in`, or the module it came from. */
  readonly origin: string;
  /** Type of the selectors it gives, where that is not its name. */
  readonly selectorType?: string;
  readonly instance: Instance;
}

/** Plugins at work, in the order of the configuration; disposing disposes each, the last made first. */
export interface LoadedPlugins<Instance> extends AsyncDisposable {
  readonly all: readonly LoadedPlugin<Instance>[];
}

/** The instances of loaded plugins by name. */
export function instancesByName<Instance>(plugins: LoadedPlugins<Instance>): ReadonlyMap<string, Instance> {
  return new Map(plugins.all.map(({ name, instance }) => [name, instance]));
}

/** Imports a module; a test puts its own in place. */
export type ImportModule = (specifier: string) => Promise<{ readonly default?: unknown }>;

/**
 * Loads the plugins that a configuration names: all are found and their configurations checked before the first is
 * made, and where one cannot be made those made before are disposed.
 * @throws AssayError `CONFIG_INVALID` naming the kind, the plugin and the key; or the plugin's own error, with the
 * kind and the plugin put in front.
 */
export async function loadPlugins<Host, Instance extends AsyncDisposable>(
  kind: PluginKind<Host, Instance>,
  entries: readonly PluginEntry[],
  hostFor: (name: string) => Host,
  importModule: ImportModule = importFromDisk,
): Promise<LoadedPlugins<Instance>> {
  const checked = await checkPlugins(kind, entries, importModule);
  await using stack = new AsyncDisposableStack();
  const all: LoadedPlugin<Instance>[] = [];
  for (const { entry, plugin, config } of checked) {
    const name = instanceOf(entry);
    const instance = await create(kind, name, plugin, config, hostFor(name));
    stack.use(instance);
    const { selectorType } = plugin;
    const origin = originOf(entry);
    all.push({ name, origin, instance, ...(selectorType === undefined ? {} : { selectorType }) });
  }
  const kept = stack.move();
  return { all, [Symbol.asyncDispose]: () => kept.disposeAsync() };
}

/** A plugin that was found, with its checked configuration. */
export interface CheckedPlugin<Host, Instance> {
  readonly entry: PluginEntry;
  readonly plugin: LoadablePlugin<Host, Instance>;
  readonly config: unknown;
}

/**
 * Finds the plugins and checks their configurations without making any: what `config validate` does.
 * @throws AssayError `CONFIG_INVALID` naming the kind, the plugin and the key.
 */
export async function checkPlugins<Host, Instance extends AsyncDisposable>(
  kind: PluginKind<Host, Instance>,
  entries: readonly PluginEntry[],
  importModule: ImportModule = importFromDisk,
): Promise<readonly CheckedPlugin<Host, Instance>[]> {
  const checked: CheckedPlugin<Host, Instance>[] = [];
  const names = new Set<string>();
  for (const entry of entries) {
    const name = instanceOf(entry);
    if (names.has(name)) throw refused(kind, name, "is named twice");
    names.add(name);
    if (!INSTANCE_NAME.test(name)) {
      throw refused(kind, name, "has no usable name, expected 1 to 64 of a-z 0-9 _ -");
    }
    const plugin = await find(kind, entry, importModule);
    checked.push({ entry, plugin, config: await validate(kind, name, plugin, entry.config ?? {}) });
  }
  return checked;
}

async function find<Host, Instance extends AsyncDisposable>(
  kind: PluginKind<Host, Instance>,
  entry: PluginEntry,
  importModule: ImportModule,
): Promise<LoadablePlugin<Host, Instance>> {
  if (!PLUGIN_NAME.test(entry.name)) {
    throw refused(kind, entry.name, "has no usable name, expected 1 to 64 of a-z 0-9 _ -, a letter first");
  }
  if (entry.module === undefined) {
    const builtIn = kind.builtIns.get(entry.name);
    if (builtIn !== undefined) return builtIn;
    const known = [...kind.builtIns.keys()].join(", ");
    throw refused(kind, entry.name, `is not built in (${known}), and no module is named`);
  }
  if (kind.sealed.has(entry.name)) throw refused(kind, entry.name, "cannot be replaced by a module");
  const found = (await load(kind, entry.name, entry.module, importModule)).default;
  const fault = pluginFault(kind, entry.name, found);
  if (fault !== undefined) throw refused(kind, entry.name, `from ${entry.module}: ${fault}`);
  return found as LoadablePlugin<Host, Instance>;
}

async function load<Host, Instance extends AsyncDisposable>(
  kind: PluginKind<Host, Instance>,
  name: string,
  module: string,
  importModule: ImportModule,
): Promise<{ readonly default?: unknown }> {
  if (!isAbsolute(module) && !PACKAGE_NAME.test(module)) {
    throw refused(
      kind,
      name,
      `has module ${JSON.stringify(module)}, expected a package name or an absolute path`,
    );
  }
  try {
    return await importModule(isAbsolute(module) ? pathToFileURL(module).href : module);
  } catch (cause) {
    throw refused(kind, name, `from ${module} cannot be imported: ${messageOf(cause)}`, cause);
  }
}

function pluginFault<Host, Instance extends AsyncDisposable>(
  kind: PluginKind<Host, Instance>,
  name: string,
  found: unknown,
): string | undefined {
  if (typeof found !== "object" || found === null) return "the default export is no plugin object";
  const plugin = found as Partial<Record<keyof LoadablePlugin<Host, Instance>, unknown>>;
  if (plugin.kind !== kind.kind) return `kind is ${JSON.stringify(plugin.kind)}, expected ${kind.kind}`;
  if (plugin.apiVersion !== 1) return `apiVersion is ${JSON.stringify(plugin.apiVersion)}, expected 1`;
  if (plugin.name !== name) return `name is ${JSON.stringify(plugin.name)}, expected ${name}`;
  if (plugin.selectorType !== undefined && !isName(plugin.selectorType)) return "selectorType is no name";
  const schema = (plugin.config as Partial<ConfigSchema<unknown>> | undefined)?.["~standard"];
  if (schema?.version !== 1 || typeof schema.validate !== "function") return "config is no Standard Schema";
  return typeof plugin.create === "function" ? undefined : "create is no function";
}

async function validate<Host, Instance extends AsyncDisposable>(
  kind: PluginKind<Host, Instance>,
  name: string,
  plugin: LoadablePlugin<Host, Instance>,
  config: unknown,
): Promise<unknown> {
  const result = await plugin.config["~standard"].validate(config);
  if (result.issues === undefined) return result.value;
  const violations = result.issues.map(violationOf);
  const details = violations.map(({ pointer, detail }) =>
    pointer === "" ? detail : `${pointer}: ${detail}`,
  );
  const detail = `${kind.label} ${JSON.stringify(name)}: ${details.join("; ")}`;
  throw new AssayError("CONFIG_INVALID", detail, { violations });
}

function violationOf(issue: SchemaIssue): Violation {
  const keys = (issue.path ?? []).map((part) => String(typeof part === "object" ? part.key : part));
  const pointer = keys.map((key) => `/${key.replaceAll("~", "~0").replaceAll("/", "~1")}`).join("");
  return { pointer, detail: issue.message.charAt(0).toLowerCase() + issue.message.slice(1) };
}

async function create<Host, Instance extends AsyncDisposable>(
  kind: PluginKind<Host, Instance>,
  name: string,
  plugin: LoadablePlugin<Host, Instance>,
  config: unknown,
  host: Host,
): Promise<Instance> {
  let instance: Instance;
  try {
    instance = await plugin.create(config, host);
  } catch (cause) {
    const code = cause instanceof AssayError ? cause.code : "CONFIG_INVALID";
    const reason = cause instanceof AssayError ? cause.detail : `could not start: ${messageOf(cause)}`;
    throw new AssayError(code, `${kind.label} ${JSON.stringify(name)}: ${reason}`, { cause });
  }
  const members = (instance ?? {}) as unknown as Record<PropertyKey, unknown>;
  const missing = [...kind.methods, Symbol.asyncDispose].find(
    (method) => typeof members[method] !== "function",
  );
  const noneOf = kind.oneOf?.every((method) => typeof members[method] !== "function") === true;
  if (missing !== undefined || noneOf) {
    if (typeof members[Symbol.asyncDispose] === "function") await instance[Symbol.asyncDispose]();
    throw refused(
      kind,
      name,
      `gave an instance without ${missing === undefined ? (kind.oneOf ?? []).join(" or ") : String(missing)}`,
    );
  }
  return instance;
}

function instanceOf({ name, instance }: PluginEntry): string {
  return instance ?? name;
}

function originOf(entry: PluginEntry): string {
  return entry.module ?? "built-in";
}

function refused<Host, Instance extends AsyncDisposable>(
  kind: PluginKind<Host, Instance>,
  name: string,
  detail: string,
  cause?: unknown,
): AssayError {
  return new AssayError("CONFIG_INVALID", `${kind.label} ${JSON.stringify(name)} ${detail}`, { cause });
}

function isName(value: unknown): boolean {
  return typeof value === "string" && PLUGIN_NAME.test(value);
}

function messageOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}

const importFromDisk: ImportModule = (specifier) =>
  import(specifier) as Promise<{ readonly default?: unknown }>;
// A segment of SPIFFE IDs too.
const INSTANCE_NAME = /^[a-z0-9_-]{1,64}$/;
const PLUGIN_NAME = /^[a-z][a-z0-9_-]{0,63}$/;
const PACKAGE_NAME = /^(?:@[a-z0-9][\w.-]*\/)?[a-z0-9][\w.-]*(?:\/[\w./-]+)?$/;
