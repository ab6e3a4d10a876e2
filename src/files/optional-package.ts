import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { AssayError } from "../errors/assay-error.ts";
import { reasonOf } from "./file-error.ts";

/** Where else than beside Assay a package may be. */
export interface OptionalPackageOptions {
  /** Folder whose `node_modules` is looked into where the package is not beside Assay: a `packages_folder` of the configuration. */
  readonly folder?: string | undefined;
}

/**
 * Loads a package that Assay does without until a setting asks for it. It is looked for beside Assay, as every import
 * is, and then in the folder given. What it exports is trusted to be a `Module`: the narrow interface that its user
 * wrote down, of the version that `peerDependencies` names.
 * @throws AssayError `CONFIG_INVALID` with the command that installs it where it is in neither place, or with the
 * reason where it is there and cannot be loaded.
 */
export async function loadOptionalPackage<Module>(
  name: string,
  options: OptionalPackageOptions = {},
): Promise<Module> {
  for (const place of placesOf(options)) {
    const load = createRequire(place);
    const path = find(load, name);
    if (path === undefined) continue;
    try {
      return load(name) as Module;
    } catch (cause) {
      throw new AssayError(
        "CONFIG_INVALID",
        `package ${name} in ${path} cannot be loaded: ${firstLine(cause)}`,
        {
          cause,
        },
      );
    }
  }
  const { folder } = options;
  const where = folder === undefined ? "" : ` or in ${resolve(folder)}`;
  throw new AssayError(
    "CONFIG_INVALID",
    `this setting needs the package ${name}: npm install ${name}${versionOf(name)} beside assay${where}`,
  );
}

function placesOf({ folder }: OptionalPackageOptions): readonly URL[] {
  const beside = new URL(import.meta.url);
  // A file that need not exist: what is resolved begins in its folder.
  return folder === undefined ? [beside] : [beside, pathToFileURL(join(resolve(folder), "assay.js"))];
}

function find(load: NodeJS.Require, name: string): string | undefined {
  try {
    return load.resolve(name);
  } catch {
    return undefined;
  }
}

/** `@` and the versions that this release was tested with, or nothing for a package that it does not name. */
function versionOf(name: string): string {
  const own = createRequire(import.meta.url)("../../package.json") as {
    readonly peerDependencies?: Readonly<Record<string, string>>;
  };
  const version = own.peerDependencies?.[name];
  return version === undefined ? "" : `@${version}`;
}

function firstLine(cause: unknown): string {
  return reasonOf(cause).split("\n", 1)[0] as string;
}
