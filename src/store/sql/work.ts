import type { Transaction } from "kysely";
import type { ChangeRecord } from "../records.ts";
import type { Schema } from "./schema.ts";

/** Notes a change for the log of the transaction at hand. */
export type NoteChange = (
  kind: ChangeRecord["kind"],
  key: string,
  operation: ChangeRecord["operation"],
) => void;

/** What is done in one transaction. */
export type Work<T> = (tx: Transaction<Schema>, note: NoteChange) => Promise<T>;
