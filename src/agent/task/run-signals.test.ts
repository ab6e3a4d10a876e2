import { beforeEach, describe, expect, it } from "vitest";
import { FakeClock } from "../../../test/fakes/clock.ts";
import { RunSignals } from "./run-signals.ts";

let clock: FakeClock;
let send: (signal: NodeJS.Signals) => void;
let told: string[];
const command = { forward: (signal: NodeJS.Signals) => void told.push(signal) };

beforeEach(() => {
  clock = new FakeClock();
  told = [];
});

function hear(hasTerminal = false): RunSignals {
  return new RunSignals({
    clock,
    take: (listener) => {
      send = listener;
      return { [Symbol.dispose]: () => void told.push("given back") };
    },
    hasTerminal,
    onStop: (signal) => void told.push(`stop by ${signal}`),
    onLate: () => void told.push("late"),
  });
}

describe("the signals of a run", () => {
  it("stop it before there is a command, by the first that asks for that", () => {
    using signals = hear();
    send("SIGWINCH");
    expect(signals.stoppedBy).toBeUndefined();
    send("SIGTERM");
    send("SIGHUP");
    expect(signals.stoppedBy).toBe("SIGTERM");
    expect(told).toEqual(["stop by SIGTERM", "stop by SIGHUP"]);
  });

  it("are the command's from its start, all of those too that came while it was being started", async () => {
    using signals = hear();
    send("SIGWINCH");
    send("SIGTERM");
    told = [];
    signals.passTo(command);
    send("SIGUSR1");
    expect(told).toEqual(["SIGWINCH", "SIGTERM", "SIGUSR1"]);
    await clock.advance(5000);
    expect(told.at(-1)).toBe("late");
  });

  it.each(["SIGINT", "SIGTERM"] as const)(
    "end the task 5 s after %s where the command goes on",
    async (one) => {
      using signals = hear();
      signals.passTo(command);
      send(one);
      await clock.advance(4999);
      // What GitHub sends in between changes nothing.
      send("SIGTERM");
      expect(told).toEqual([one, "SIGTERM"]);
      await clock.advance(1);
      expect(told).toEqual([one, "SIGTERM", "late"]);
      await clock.advance(60_000);
      expect(told).toHaveLength(3);
    },
  );

  it.each(["SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGWINCH"] as const)(
    "leave the task alone where %s may mean anything to the command",
    async (one) => {
      using signals = hear();
      signals.passTo(command);
      send(one);
      await clock.advance(60_000);
      expect(told).toEqual([one]);
    },
  );

  it("are not passed on where a terminal has sent them to the command too, nor do they end anything", async () => {
    using signals = hear(true);
    signals.passTo(command);
    for (const one of ["SIGINT", "SIGQUIT", "SIGWINCH"] as const) send(one);
    await clock.advance(60_000);
    expect(told).toEqual([]);
    send("SIGTERM");
    expect(told).toEqual(["SIGTERM"]);
  });

  it("are given back in the end, and nothing is late then", async () => {
    const signals = hear();
    signals.passTo(command);
    send("SIGTERM");
    signals[Symbol.dispose]();
    await clock.advance(60_000);
    expect(told).toEqual(["SIGTERM", "given back"]);
  });
});
