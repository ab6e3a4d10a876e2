import { chmod, mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { run } from "./program.ts";
import type { Scratch } from "./scratch.ts";

const TOP = join(import.meta.dirname, "..", "..");
const PAGE = join(TOP, "docs", "operations", "recovery.md");

/** What a page's `systemctl` does here. */
export interface Services {
  readonly server: { start(): Promise<unknown>; stop(): Promise<unknown> };
  readonly agent: { start(): Promise<unknown>; stop(): Promise<unknown> };
}

/** The user that the page calls `assay`: another one than who runs the test, where that is root. */
export const SERVER_USER =
  process.getuid?.() === 0 ? ({ name: "nobody", uid: 65_534, gid: 65_534 } as const) : undefined;

/** The blocks of commands under a heading of the page, in order. */
export async function commandsOf(heading: string): Promise<readonly string[]> {
  const text = await readFile(PAGE, "utf8");
  const section = text.split(/^## /m).find((one) => one.startsWith(`${heading}\n`));
  if (section === undefined) throw new Error(`the page has no section ${heading}`);
  return [...section.matchAll(/^```sh.*\n([^]*?)^```$/gm)].map(([, block = ""]) => block);
}

/** Every heading that has commands. */
export async function headings(): Promise<readonly string[]> {
  const sections = (await readFile(PAGE, "utf8")).split(/^## /m).slice(1);
  return sections.filter((one) => one.includes("```sh")).map((one) => one.slice(0, one.indexOf("\n")));
}

/** The machine that the page speaks of: its folders are in a folder of the test, its services are the test's. */
export class Machine {
  readonly #scratch: Scratch;
  readonly #services: Services;
  readonly #elsewhere: readonly (readonly [string, string])[];

  private constructor(
    scratch: Scratch,
    services: Services,
    elsewhere: readonly (readonly [string, string])[],
  ) {
    this.#scratch = scratch;
    this.#services = services;
    this.#elsewhere = elsewhere;
  }

  /** Makes its folders, and the command with the server's socket as its default. */
  static async open(
    scratch: Scratch,
    place: { readonly dataDir: string; readonly adminSocket: string },
    services: Services,
  ): Promise<Machine> {
    for (const name of ["etc", "backups", "bin", "home"]) await mkdir(scratch.at(name), { recursive: true });
    const command = scratch.at("bin", "assay");
    await writeFile(
      command,
      `#!/bin/sh
case "$1 $*" in restore*|*--admin-socket*|*--data-dir*) ;; *) set -- "$@" '--admin-socket=${place.adminSocket}' ;; esac
exec '${process.execPath}' --disable-warning=ExperimentalWarning '${join(TOP, "src", "main.ts")}' "$@"
`,
    );
    await chmod(command, 0o755);
    return new Machine(scratch, services, [
      ["/var/lib/assay/server", place.dataDir],
      ["/etc/assay", scratch.at("etc")],
      ["/var/backups/assay", scratch.at("backups")],
      // Agents run as whoever runs the test.
      [" -o assay-agent", ""],
      ...(SERVER_USER === undefined
        ? ([
            ["runuser -u assay -- ", ""],
            [" -o assay", ""],
          ] as const)
        : ([
            ["runuser -u assay -- ", `runuser -u ${SERVER_USER.name} -- `],
            [" -o assay", ` -o ${SERVER_USER.name}`],
          ] as const)),
    ]);
  }

  /** Where a path of the page is. */
  at(path: string): string {
    return this.#here(path);
  }

  /** Runs the lines of a block, one after the other; gives what they printed. All must succeed. */
  async run(block: string): Promise<string> {
    let script = "";
    let printed = "";
    for (const line of [...block.trimEnd().split("\n"), "systemctl"]) {
      if (!line.startsWith("systemctl")) {
        script += `${line}\n`;
        continue;
      }
      if (script !== "") printed += await this.#shell(this.#here(script));
      script = "";
      const [, verb = "", service = ""] = /^systemctl (\w+) assay-(\w+)$/.exec(line) ?? [];
      if (verb === "") continue;
      const unit = service === "server" ? this.#services.server : this.#services.agent;
      if (verb !== "start") await unit.stop();
      if (verb !== "stop") await unit.start();
    }
    return printed;
  }

  async #shell(script: string): Promise<string> {
    const { PATH = "" } = process.env;
    const { code, stdout, stderr } = await run("bash", ["-c", `set -euo pipefail\n${script}`], {
      cwd: this.#scratch.at("home"),
      env: { PATH: `${this.#scratch.at("bin")}:${dirname(process.execPath)}:${PATH}` },
    });
    if (code !== 0) throw new Error(`${script}\nended with ${code ?? "a signal"}:\n${stdout}${stderr}`);
    return stdout;
  }

  #here(text: string): string {
    return this.#elsewhere.reduce((changed, [theirs, ours]) => changed.replaceAll(theirs, ours), text);
  }
}
