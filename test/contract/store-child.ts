// A process that opens the store in argv[2] and creates batches of ten entries without end, printing each batch's
// number once it is acknowledged. With "hold" as argv[3] it only keeps the store open.
import { systemClock } from "../../src/clock.ts";
import { openSqliteStore } from "../../src/store/sqlite/open.ts";
import { newEntry, OWN } from "./store-samples.ts";

const [, , folder = "", mode, start = "0"] = process.argv;
const store = await openSqliteStore({ folder, trustDomain: OWN, clock: systemClock });
process.stdout.write("open\n");
if (mode === "hold") {
  setInterval(() => {}, 1000);
} else {
  for (let batch = Number(start); ; batch++) {
    await store.entries.create(Array.from({ length: 10 }, (_, n) => newEntry(`${batch}-${n}`)));
    process.stdout.write(`${batch}\n`);
  }
}
