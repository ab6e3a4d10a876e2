// A process that opens the store in argv[2] and creates batches of ten entries without end, printing each batch's
// number once it is acknowledged. With "hold" as argv[3] it only keeps the store open; with "tasks" it opens tasks, fifty at
// once, each with a credential, ends every third, and prints each step once it is acknowledged.
import { systemClock } from "../../src/clock.ts";
import { openSqliteStore } from "../../src/store/sqlite/open.ts";
import { credential, newEntry, OWN, task } from "./store-samples.ts";

const [, , folder = "", mode, start = "0"] = process.argv;
const store = await openSqliteStore({ folder, trustDomain: OWN, clock: systemClock });
process.stdout.write("open\n");
if (mode === "hold") {
  setInterval(() => {}, 1000);
} else if (mode === "tasks") {
  const live = async (name: string, isEnding: boolean) => {
    const say = (step: string) => process.stdout.write(`${step} ${name}\n`);
    await store.tasks.open(task(name), { replayKey: name, until: 1000 });
    say("opened");
    await store.credentials.record([credential(name, { taskId: name })]);
    say("recorded");
    if (!isEnding) return;
    await store.tasks.end(name, "job", 60);
    say("ended");
  };
  for (let batch = Number(start); ; batch++) {
    await Promise.all(Array.from({ length: 50 }, (_, n) => live(`${batch}-${n}`, n % 3 === 0)));
  }
} else {
  for (let batch = Number(start); ; batch++) {
    await store.entries.create(Array.from({ length: 10 }, (_, n) => newEntry(`${batch}-${n}`)));
    process.stdout.write(`${batch}\n`);
  }
}
