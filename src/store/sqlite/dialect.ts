import type { DatabaseSync, SQLInputValue, StatementSync } from "node:sqlite";
import {
  type CompiledQuery,
  type DatabaseConnection,
  type Dialect,
  type Driver,
  type QueryResult,
  SqliteAdapter,
  SqliteIntrospector,
  SqliteQueryCompiler,
} from "kysely";
import { storeFailure } from "./failures.ts";

/** Kysely over one open `node:sqlite` database. Closing kysely closes the database. */
export function nodeSqliteDialect(database: DatabaseSync, path: string): Dialect {
  return {
    createAdapter: () => new SqliteAdapter(),
    createDriver: () => nodeSqliteDriver(database, path),
    createIntrospector: (db) => new SqliteIntrospector(db),
    createQueryCompiler: () => new SqliteQueryCompiler(),
  };
}

function nodeSqliteDriver(database: DatabaseSync, path: string): Driver {
  const connection = new NodeSqliteConnection(database, path);
  return {
    async init() {},
    acquireConnection: async () => connection,
    // IMMEDIATE, because a transaction that starts as a reader and then writes can fail half-way for want of the lock.
    beginTransaction: async () => connection.command("begin immediate"),
    commitTransaction: async () => connection.command("commit"),
    async rollbackTransaction() {
      // A full disk rolls back by itself; a second rollback would hide the reason.
      if (database.isTransaction) connection.command("rollback");
    },
    async releaseConnection() {},
    async destroy() {
      connection.forget();
      if (database.isOpen) database.close();
    },
  };
}

interface Prepared {
  readonly statement: StatementSync;
  readonly returnsRows: boolean;
}

/** The one connection. Statements are prepared once and kept, the least recently used ones given up. */
class NodeSqliteConnection implements DatabaseConnection {
  readonly #database: DatabaseSync;
  readonly #path: string;
  readonly #prepared = new Map<string, Prepared>();

  constructor(database: DatabaseSync, path: string) {
    this.#database = database;
    this.#path = path;
  }

  async executeQuery<R>(query: CompiledQuery): Promise<QueryResult<R>> {
    return this.#run(() => {
      const { statement, returnsRows } = this.#prepare(query.sql);
      const parameters = query.parameters as SQLInputValue[];
      if (returnsRows) return { rows: statement.all(...parameters) as R[] };
      const { changes, lastInsertRowid } = statement.run(...parameters);
      return { rows: [], numAffectedRows: BigInt(changes), insertId: BigInt(lastInsertRowid) };
    });
  }

  async *streamQuery<R>(query: CompiledQuery): AsyncIterableIterator<QueryResult<R>> {
    yield await this.executeQuery<R>(query);
  }

  command(sql: string): void {
    this.#run(() => this.#prepare(sql).statement.run());
  }

  forget(): void {
    this.#prepared.clear();
  }

  #prepare(sql: string): Prepared {
    const known = this.#prepared.get(sql);
    if (known !== undefined) {
      // Moved to the end: a Map remembers the order of insertion, so its first key is the least recently used.
      this.#prepared.delete(sql);
      this.#prepared.set(sql, known);
      return known;
    }
    const statement = this.#database.prepare(sql);
    const prepared = { statement, returnsRows: statement.columns().length > 0 };
    this.#prepared.set(sql, prepared);
    if (this.#prepared.size > MAX_PREPARED) {
      const oldest = this.#prepared.keys().next().value;
      if (oldest !== undefined) this.#prepared.delete(oldest);
    }
    return prepared;
  }

  #run<T>(work: () => T): T {
    try {
      return work();
    } catch (error) {
      throw storeFailure(error, this.#path);
    }
  }
}

const MAX_PREPARED = 200;
