import type { DatabaseSync } from "node:sqlite";
import { AssayError } from "../../errors/assay-error.ts";
import { FIRST_SCHEMA } from "./schema-1.ts";
import { SECOND_SCHEMA } from "./schema-2.ts";
import { THIRD_SCHEMA } from "./schema-3.ts";
import { FOURTH_SCHEMA } from "./schema-4.ts";
import { unavailable } from "./failures.ts";

/** Each step takes the schema from the version before it to the version of its position, counted from 1. */
export const MIGRATIONS: readonly string[] = [FIRST_SCHEMA, SECOND_SCHEMA, THIRD_SCHEMA, FOURTH_SCHEMA];

/**
 * Checks, without writing, that the file is an empty database or a store this program can work with.
 * @throws AssayError `STORE_TOO_NEW`, or `STORE_UNAVAILABLE` for a database that is something else.
 */
export function checkSchema(database: DatabaseSync, path: string, known = MIGRATIONS.length): number {
  const tables = Number(database.prepare("select count(*) as n from sqlite_schema").get()?.["n"]);
  if (tables === 0) return 0;
  const application = Number(database.prepare("pragma application_id").get()?.["application_id"]);
  if (application !== APPLICATION_ID) throw unavailable(path, "it is a database of another program");
  const version = Number(database.prepare("select version from schema_version").get()?.["version"]);
  if (!Number.isInteger(version) || version < 1) throw unavailable(path, "its schema version is unreadable");
  if (version > known) {
    throw new AssayError(
      "STORE_TOO_NEW",
      `the store ${path} has schema version ${version}, this program knows versions up to ${known}: run a newer program, or restore a backup that was made before the upgrade`,
    );
  }
  return version;
}

/** Brings the schema to the newest version, each step in a transaction of its own. */
export function migrate(database: DatabaseSync, from: number, migrations = MIGRATIONS): void {
  for (let version = from + 1; version <= migrations.length; version++) {
    database.exec("begin immediate");
    try {
      if (version === 1) {
        database.exec(`pragma application_id = ${APPLICATION_ID}`);
        database.exec("create table schema_version (version integer not null) strict");
        database.exec("insert into schema_version (version) values (0)");
      }
      database.exec(migrations[version - 1] ?? "");
      database.prepare("update schema_version set version = ?").run(version);
      database.exec("commit");
    } catch (error) {
      if (database.isTransaction) database.exec("rollback");
      throw error;
    }
  }
}

// "Assy": tells our files from any other SQLite database.
const APPLICATION_ID = 0x41737379;
