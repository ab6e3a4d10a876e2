import { mkdtemp, readdir, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { FakeClock } from "../../../test/fakes/clock.ts";
import { makeCa, makeCredential } from "../../../test/fakes/remote-server.ts";
import type { ServerCredential } from "../../endpoint/tls-listener.ts";
import { createLog } from "../../observe/log.ts";
import { createMetrics } from "../../observe/metrics.ts";
import { AcmeCertificate } from "./acme-certificate.ts";
import type { AcmeAnswer, AcmeOrder } from "./acme-order.ts";
import type { AcmeOptions } from "./federation-options.ts";

const CA = makeCa("acme");
const OPTIONS: AcmeOptions = {
  domains: ["bundle.example.org"],
  tosAccepted: true,
  directoryUrl: "https://acme.example/dir",
};
const HOUR = 3_600_000;

describe("a certificate had by ACME", () => {
  let bench: Bench;

  beforeEach(async () => {
    bench = new Bench(await mkdtemp(join(tmpdir(), "acme-")));
  });
  afterEach(() => bench[Symbol.asyncDispose]());

  it("is ordered at once where there is none, handed out, and kept for its owner alone", async () => {
    await bench.open();
    await bench.settled(1);
    expect(bench.shown).toHaveLength(1);
    expect(bench.orders[0]).toMatchObject({ domains: OPTIONS.domains, accountUrl: undefined });
    const names = (await readdir(bench.folder)).toSorted();
    expect(names).toEqual(["account", "account.key", "certificate.pem"]);
    for (const name of names) expect((await stat(join(bench.folder, name))).mode & 0o777).toBe(0o600);
    expect(await bench.metrics.render()).toMatch(/certificate_expiry_timestamp_seconds \d{10}/);
  });

  it("is taken from disk after a restart, and not ordered again before two thirds of its life", async () => {
    await bench.open();
    await bench.settled(1);
    await bench.close();
    await bench.open();
    expect(bench.shown[1]).toEqual(bench.shown[0]);
    await bench.clock.advance(59 * HOUR);
    expect(bench.orders).toHaveLength(1);
    await bench.clock.advance(2 * HOUR);
    await bench.settled(2);
    expect(bench.orders[1]).toMatchObject({ accountUrl: "https://acme.example/account/1" });
    expect(bench.orders[1]?.accountKey).toBe(bench.orders[0]?.accountKey);
  });

  it.each([
    ["is for other names", { domains: ["other.example.org"] }],
    ["is of another CA, whose account is no account there", { directoryUrl: "https://other.example/dir" }],
  ])("is ordered anew where the kept one %s", async (_what, change) => {
    await bench.open();
    await bench.settled(1);
    await bench.close();
    await bench.open(change);
    if ("directoryUrl" in change) await bench.clock.advance(61 * HOUR);
    await bench.settled(2);
    expect(bench.orders[1]?.accountUrl).toBe(
      "directoryUrl" in change ? undefined : "https://acme.example/account/1",
    );
  });

  it("is ordered anew where the kept one is damaged", async () => {
    await writeFile(join(bench.folder, "certificate.pem"), "damaged");
    await bench.open();
    await bench.settled(1);
    expect(bench.shown).toHaveLength(1);
    expect(bench.lines.join("\n")).toContain("the kept certificate cannot be used");
  });

  it("is asked for again after a minute, and later each time, when the CA will not, and the operator is told", async () => {
    bench.fault = new Error("the CA is away");
    await bench.open();
    await bench.settled(1);
    expect(bench.lines.at(-1)).toMatch(
      /"level":"error".*the CA is away.*has no certificate and serves nobody/,
    );
    const times = [bench.clock.now()];
    for (let failures = 2; failures <= 12; failures++) {
      await vi.waitUntil(() => bench.clock.pending > 0);
      while (bench.orders.length < failures) await bench.pass(30_000);
      await bench.settled(failures);
      times.push(bench.clock.now());
    }
    const waits = times.slice(1).map((time, at) => Math.round((time - (times[at] ?? 0)) / 60_000));
    expect(waits.slice(0, 5)).toEqual([1, 2, 4, 8, 16]);
    expect(waits.at(-1)).toBe(720);
    bench.fault = undefined;
    while (bench.shown.length === 0) await bench.pass(HOUR);
    expect(bench.shown).toHaveLength(1);
  });

  it("stays when it cannot be renewed", async () => {
    await bench.open();
    await bench.settled(1);
    bench.fault = new Error("the CA is away");
    await bench.clock.advance(61 * HOUR);
    await bench.settled(2);
    expect(bench.shown).toHaveLength(1);
    expect(bench.lines.at(-1)).toContain("cannot be renewed, the one before stays");
  });

  it("is not taken from an answer whose key is another's", async () => {
    bench.answer = () => ({ ...issue(), privateKey: issue().privateKey });
    await bench.open();
    await bench.settled(1);
    expect(bench.shown).toEqual([]);
    expect(bench.lines.at(-1)).toContain("does not hold the key");
  });

  it("is not waited for when the server ends", async () => {
    bench.answer = () => undefined;
    await bench.open();
    await bench.settled(1);
    await bench.close();
    expect(bench.orders[0]?.signal.aborted).toBe(true);
    expect(bench.clock.pending).toBe(0);
  });
});

class Bench implements AsyncDisposable {
  readonly folder: string;
  readonly clock = new FakeClock(Date.now());
  metrics = createMetrics({ process: false });
  readonly lines: string[] = [];
  readonly shown: ServerCredential[] = [];
  readonly orders: AcmeOrder[] = [];
  fault: Error | undefined;
  /** What the CA gives; nothing for a CA that never answers. */
  answer: () => ServerCredential | undefined = issue;
  #ended = 0;
  #certificate: AcmeCertificate | undefined;

  constructor(folder: string) {
    this.folder = folder;
  }

  async open(change: Partial<AcmeOptions> = {}): Promise<void> {
    this.metrics = createMetrics({ process: false });
    this.#certificate = await AcmeCertificate.open({
      options: { ...OPTIONS, ...change },
      folder: this.folder,
      clock: this.clock,
      log: createLog({
        level: "info",
        clock: this.clock,
        destination: { write: (line) => void this.lines.push(line) },
      }),
      metrics: this.metrics,
      random: () => 0,
      challenges: { setChallenge() {} },
      onCredential: (credential) => void this.shown.push(credential),
      order: (order) => this.#order(order),
    });
    await this.clock.advance(0);
  }

  /** Waits until so many orders have been made and what follows from them is done. */
  async settled(orders: number): Promise<void> {
    await vi.waitUntil(() => this.orders.length >= orders && this.#ended >= orders);
    await vi.waitUntil(() => this.clock.pending > 0 || this.answer() === undefined);
  }

  /** Lets time pass, and what it set off come to an end as far as it waits for files. */
  async pass(milliseconds: number): Promise<void> {
    await this.clock.advance(milliseconds);
    await vi.waitUntil(() => this.clock.pending > 0);
    await new Promise((resolve) => setImmediate(resolve));
  }

  async close(): Promise<void> {
    await this.#certificate?.[Symbol.asyncDispose]();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
    await rm(this.folder, { recursive: true });
  }

  async #order(order: AcmeOrder): Promise<AcmeAnswer> {
    this.orders.push(order);
    this.#ended += 1;
    if (this.fault !== undefined) throw this.fault;
    const credential = this.answer();
    if (credential !== undefined) return { credential, accountUrl: "https://acme.example/account/1" };
    return new Promise((_resolve, reject) => {
      order.signal.addEventListener("abort", () => reject(new Error("cancelled")));
    });
  }
}

/** A certificate that lives ninety hours from now. */
function issue(): ServerCredential {
  const now = Math.floor(Date.now() / 1000);
  const { cert, key } = makeCredential(CA, {
    dnsNames: ["bundle.example.org"],
    notBefore: now,
    notAfter: now + 90 * 3600,
  });
  return { certificateChain: cert, privateKey: key };
}
