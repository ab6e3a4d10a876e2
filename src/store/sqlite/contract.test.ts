import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { FakeClock } from "../../../test/fakes/clock.ts";
import { OWN } from "../../../test/contract/store-samples.ts";
import { storeContract } from "../../../test/contract/store-suite.ts";
import { openSqliteStore } from "./open.ts";

storeContract("the SQLite store", async () => {
  const folder = await mkdtemp(join(tmpdir(), "assay-store-"));
  const open = () => openSqliteStore({ folder, trustDomain: OWN, clock: new FakeClock() });
  let current = await open();
  return {
    store: current,
    async reopen() {
      await current[Symbol.asyncDispose]();
      current = await open();
      return current;
    },
    async remove() {
      await current[Symbol.asyncDispose]();
      await rm(folder, { recursive: true });
    },
  };
});
