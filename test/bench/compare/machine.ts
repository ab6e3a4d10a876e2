import { readFile } from "node:fs/promises";
import { availableParallelism, cpus, release, totalmem } from "node:os";
import { join } from "node:path";
import { output, run } from "../../e2e/program.ts";

/** What figures were taken on, as name and value. */
export type Machine = readonly (readonly [name: string, value: string])[];

/** Describes this machine and all programs that take part; `spire` is the folder of SPIRE's programs, if they do. */
export async function describeMachine(spire: string | undefined): Promise<Machine> {
  const gibibytes = (totalmem() / 2 ** 30).toFixed(0);
  const go = firstLine(await output("go", ["version"])).replace(/^go version /, "");
  return [
    ["CPU", `${cpus()[0]?.model ?? "unknown"}, ${availableParallelism()} cores`],
    ["Memory", `${gibibytes} GiB`],
    ["Kernel", `Linux ${release()}`],
    ["Node", `${process.version} with OpenSSL ${process.versions.openssl}`],
    ["OpenSSL", firstLine(await output("openssl", ["version"])).replace(/ \(Library:.*$/, "")],
    ["Go", go],
    ["Assay", await assayVersion()],
    ...(spire === undefined ? [] : ([["SPIRE", await spireVersion(spire)]] as const)),
  ];
}

async function assayVersion(): Promise<string> {
  const { version } = JSON.parse(await readFile(join(TOP, "package.json"), "utf8")) as { version: string };
  // A source package has no history.
  const commit = await run("git", ["-C", TOP, "rev-parse", "--short", "HEAD"]);
  if (commit.code !== 0) return version;
  const changes = await output("git", ["-C", TOP, "status", "--porcelain", "--", "src", "package-lock.json"]);
  return `${version}, commit ${commit.stdout.trim()}${changes === "" ? "" : " with changes"}`;
}

/** What the module proxy served and the program carries in it: `--version` of one that Go alone built says less. */
async function spireVersion(folder: string): Promise<string> {
  const facts = await output("go", ["version", "-m", join(folder, "spire-server")]);
  const version = /^\s*mod\s+\S+\s+v(\S+)/m.exec(facts);
  const go = /go\d[\d.]*/.exec(firstLine(facts));
  return `${version?.[1] ?? "of an unknown version"}, built with ${go?.[0] ?? "an unknown Go"}`;
}

function firstLine(text: string): string {
  return text.trim().split("\n")[0] ?? "";
}

const TOP = join(import.meta.dirname, "..", "..", "..");
