import { stringify } from "yaml";
import { agentSchema } from "./agent-schema.ts";
import { serverSchema } from "./server-schema.ts";
import { jsonSchemaOf, type Setting, settingsOf } from "./settings.ts";

/** A flag of a program, made from a key of its configuration. */
export interface ConfigFlag {
  /** Without dashes. */
  readonly name: string;
  /** What stands for the value in a usage text. */
  readonly value: string;
  readonly description: string;
  /** Whether it may be given again, each time with one item. */
  readonly repeatable: boolean;
}

/** Which program a configuration is for. */
export type Program = "server" | "agent";

/** Every key of a program's configuration. */
export function settingsOfProgram(program: Program): readonly Setting[] {
  return settingsOf(jsonSchemaOf(program === "server" ? serverSchema : agentSchema));
}

/** Every flag of a program that overrides a key of its file, in the order of the file. */
export function configFlags(program: Program): readonly ConfigFlag[] {
  return settingsOfProgram(program).flatMap((setting) => {
    if (setting.flag === undefined) return [];
    const rest = defaultText(setting);
    const description = rest === "" ? setting.description : `${setting.description} (default ${rest})`;
    return [
      {
        name: setting.flag,
        value: valueName(setting),
        description: description.replaceAll("`", ""),
        repeatable: setting.repeatable,
      },
    ];
  });
}

/** The reference of both configuration files, as Markdown: what `assay config docs` prints. */
export function describeConfig(): string {
  return [
    "# Configuration",
    "",
    "Generated from the schemas in `src/config`; do not edit.",
    "",
    "Each program reads one YAML file, named by `--config`, and flags, which win over the file. Keys that are not listed",
    "here are errors. Relative paths are meant from the file's folder in a file, and from the current folder in a flag.",
    "Durations are numbers with a unit of `ms`, `s`, `m`, `h` or `d` (`90s`, `1h30m`), sizes whole numbers with `B`, `KiB`,",
    "`MiB` or `GiB`. Secrets are never values, only paths of files. `assay config validate` checks a file, `assay config",
    "print` shows it with all defaults.",
    "",
    ...section("Server", "server"),
    ...section("Agent", "agent"),
    "## Environment",
    "",
    "| Variable | Meaning |",
    "|---|---|",
    "| `SPIFFE_ENDPOINT_SOCKET` | Address of the Workload Endpoint, for commands that act as a workload |",
    "| `NOTIFY_SOCKET` | Set by systemd; told when the program is ready |",
    "",
  ].join("\n");
}

/** A loaded configuration as a file that would load the same, with every default written out. */
export function printConfig(document: Readonly<Record<string, unknown>>): string {
  return stringify(document, { lineWidth: 0 });
}

function section(title: string, program: Program): readonly string[] {
  const rows = settingsOfProgram(program).map((setting) => {
    const bounds = setting.bounds === undefined ? "" : `, ${setting.bounds}`;
    const flag = setting.flag === undefined ? "" : `\`--${setting.flag}\``;
    const standard = setting.required ? "required" : defaultText(setting);
    return `| \`${setting.key}\` | ${setting.type}${bounds} | ${standard} | ${flag} | ${setting.description} |`;
  });
  return [
    `## ${title}`,
    "",
    "| Key | Value | Default | Flag | Meaning |",
    "|---|---|---|---|---|",
    ...rows,
    "",
  ];
}

function defaultText({ derived, default: value }: Setting): string {
  if (derived !== undefined) return `\`${derived}\` in \`data_dir\``;
  if (value === undefined) return "";
  return `\`${typeof value === "string" ? value : JSON.stringify(value)}\``;
}

function valueName({ kind, type }: Setting): string {
  if (kind !== undefined) return (VALUE_NAMES.get(kind) ?? kind).toUpperCase().replaceAll(" ", "-");
  return type.includes("`")
    ? type
        .replaceAll("`", "")
        .replace("list of ", "")
        .replaceAll(/, (or )?/g, "|")
        .replace("|table", "")
    : type.toUpperCase();
}

const VALUE_NAMES = new Map<string, string>([
  ["trust domain", "name"],
  ["folder", "dir"],
  ["socket", "path"],
]);
