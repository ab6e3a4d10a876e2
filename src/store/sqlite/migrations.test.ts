import { DatabaseSync } from "node:sqlite";
import { expect, it } from "vitest";
import { checkSchema, MIGRATIONS, migrate } from "./migrations.ts";

it("takes an empty database to the newest version and leaves it there", () => {
  using database = new DatabaseSync(":memory:");
  expect(checkSchema(database, "x")).toBe(0);
  migrate(database, 0);
  expect(checkSchema(database, "x")).toBe(MIGRATIONS.length);
  migrate(database, MIGRATIONS.length);
  expect(checkSchema(database, "x")).toBe(MIGRATIONS.length);
});

it("runs only the steps that are missing, in order", () => {
  using database = new DatabaseSync(":memory:");
  const steps = ["create table a (x)", "alter table a add column y", "alter table a add column z"];
  migrate(database, 0, steps.slice(0, 1));
  migrate(database, 1, steps);
  expect(checkSchema(database, "x", 3)).toBe(3);
  database.exec("insert into a (x, y, z) values (1, 2, 3)");
});

it("stays at the version before a step that fails", () => {
  using database = new DatabaseSync(":memory:");
  const steps = ["create table a (x)", "create table b (x); create table a (x)"];
  expect(() => migrate(database, 0, steps)).toThrow(/already exists/);
  expect(checkSchema(database, "x", 2)).toBe(1);
  expect(database.prepare("select count(*) as n from sqlite_schema where name = 'b'").get()).toEqual({
    n: 0,
  });
});

it("refuses a store whose version row is gone", () => {
  using database = new DatabaseSync(":memory:");
  migrate(database, 0);
  database.exec("delete from schema_version");
  expect(() => checkSchema(database, "/x")).toThrowCode("STORE_UNAVAILABLE", /schema version is unreadable/);
});
