import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { agentCaller, IssuanceBench } from "../../test/fakes/issuance-bench.ts";
import { makeCsr } from "../../test/fakes/issuance-csr.ts";
import { RemoteKeys } from "../../test/fakes/remote-keys.ts";
import { AssayError } from "../errors/assay-error.ts";
import { issueJwtSvid } from "./jwt-svids.ts";
import { SvidsUnderWay } from "./svids-under-way.ts";
import { issueX509Svids } from "./x509-svids.ts";

let bench: IssuanceBench;
let keys: RemoteKeys;
beforeEach(async () => {
  keys = new RemoteKeys();
  bench = await IssuanceBench.open({}, keys);
  bench.entry("web");
});
afterEach(async () => {
  keys.answerAll();
  await bench[Symbol.asyncDispose]();
});

const csr = makeCsr();
const batch = (count: number) => Array.from({ length: count }, () => ({ entryId: "web", csr }));

describe("a batch that a remote key signs", () => {
  it("has 32 signatures under way at once, and no more", async () => {
    keys.hold();
    const issued = issueX509Svids(bench.options(), agentCaller(), batch(80));
    await keys.asked(32);
    expect(keys.waiting).toBe(32);
    keys.answer(5);
    await keys.asked(37);
    expect(keys.waiting).toBe(32);
    keys.answerAll();
    const decided = await issued;
    expect(decided).toHaveLength(80);
    expect(new Set(decided.map(({ value }) => value?.serial))).toHaveProperty("size", 80);
    expect(keys.mostWaiting).toBe(32);
  });

  it("keeps the order of its items, whatever comes back first", async () => {
    for (const id of ["a", "b", "c"]) bench.entry(id);
    keys.hold();
    const orders = ["a", "none", "b", "c"].map((entryId) => ({ entryId, csr }));
    const issued = issueX509Svids(bench.options(), agentCaller(), orders);
    await keys.asked(3);
    keys.answerLastFirst();
    expect((await issued).map(({ value, error }) => value?.spiffeId ?? error?.code)).toEqual([
      "spiffe://example.org/a",
      "ENTRY_NOT_FOUND",
      "spiffe://example.org/b",
      "spiffe://example.org/c",
    ]);
    expect(bench.audit.writes).toBe(1);
    expect(bench.audit.records.map(({ entry_id }) => entry_id)).toEqual(["a", "none", "b", "c"]);
  });

  it("fails for the item whose signature fails, and for no other", async () => {
    keys.hold();
    const issued = issueX509Svids(bench.options(), agentCaller(), batch(3));
    await keys.asked(3);
    keys.fail(1);
    keys.answerAll();
    const codes = (await issued).map(({ error }) => error?.code);
    expect(codes.filter((code) => code !== undefined)).toEqual(["KEY_UNAVAILABLE"]);
  });

  it("does not keep a call of another authority waiting", async () => {
    keys.hold("x509-CA-A");
    const issued = issueX509Svids(bench.options(), agentCaller(), batch(100));
    await keys.asked(32);
    const svid = await issueJwtSvid(bench.options(), agentCaller(), { entryId: "web", audience: ["db"] });
    expect(svid.token).not.toBe("");
    keys.answerAll();
    expect(await issued).toHaveLength(100);
  });

  it("shares the places of a key with other calls, in turns", async () => {
    keys.hold();
    const first = issueX509Svids(bench.options(), agentCaller(), batch(40));
    await keys.asked(32);
    const second = issueX509Svids(bench.options(), agentCaller(), batch(1));
    keys.answer(9);
    await keys.asked(41);
    keys.answerAll();
    expect([(await first).length, (await second).length]).toEqual([40, 1]);
    expect(keys.mostWaiting).toBe(32);
  });
});

describe("a call that ends before its time", () => {
  it("is not signed for any further, and what was signed is taken back", async () => {
    keys.hold();
    const call = new AbortController();
    const issued = issueX509Svids(bench.options(), agentCaller(), batch(200), call);
    await keys.asked(32);
    call.abort(new AssayError("CANCELLED", "the caller has cancelled the call"));
    keys.answerAll();
    await expect(issued).rejects.toThrowCode("CANCELLED");
    expect(keys.signatures).toBeLessThanOrEqual(82);
    expect(bench.audit.records).not.toHaveLength(0);
    for (const record of bench.audit.records) {
      expect(record).toMatchObject({ event: "svid.denied", outcome: "denied", code: "CANCELLED" });
    }
  });

  it("gives its place in the queue of a key to others without a signature", async () => {
    keys.hold();
    const first = issueX509Svids(bench.options(), agentCaller(), batch(32));
    await keys.asked(32);
    const call = new AbortController();
    const gone = issueJwtSvidBySameKey(call);
    call.abort(new AssayError("DEADLINE_EXCEEDED", "the call's deadline has passed"));
    keys.answerAll();
    await first;
    await expect(gone).rejects.toThrowCode("DEADLINE_EXCEEDED");
    expect(keys.signatures).toBe(32);
  });

  it("signs nothing in the turns after its end where keys answer at once", async () => {
    const call = new AbortController();
    const issued = issueX509Svids(bench.options(), agentCaller(), batch(500), call);
    setImmediate(() => call.abort(new AssayError("CANCELLED", "the caller has cancelled the call")));
    await expect(issued).rejects.toThrowCode("CANCELLED");
    expect(keys.signatures).toBeLessThan(200);
  });

  /** One X509-SVID as a batch of one, whose call ends while it waits for a place. */
  async function issueJwtSvidBySameKey(call: AbortController): Promise<void> {
    const [decided] = await issueX509Svids(bench.options(), agentCaller(), batch(1), call);
    if (decided?.error !== undefined) throw decided.error;
  }
});

describe("the bound of SVIDs under way", () => {
  it("refuses a call beyond it at once, and takes calls on again when there is room", async () => {
    keys.hold();
    const underWay = new SvidsUnderWay(50);
    const options = { ...bench.options(), underWay };
    const first = issueX509Svids(options, agentCaller(), batch(40));
    await keys.asked(32);
    expect(underWay.count).toBe(40);
    await expect(issueX509Svids(options, agentCaller(), batch(11))).rejects.toThrowCode(
      "SIGNING_BUSY",
      /40 SVIDs are under way and 11 more are asked for, at most 50/,
    );
    const tenth = issueX509Svids(options, agentCaller(), batch(10));
    await expect(
      issueJwtSvid(options, agentCaller(), { entryId: "web", audience: ["db"] }),
    ).rejects.toThrowCode("SIGNING_BUSY");
    expect(bench.audit.records).toHaveLength(0);
    keys.answerAll();
    expect([(await first).length, (await tenth).length]).toEqual([40, 10]);
    expect(underWay.count).toBe(0);
    expect(await issueX509Svids(options, agentCaller(), batch(1))).toHaveLength(1);
  });

  it("lets a call that is larger than the bound come when it is alone", async () => {
    const options = { ...bench.options(), underWay: new SvidsUnderWay(10) };
    expect(await issueX509Svids(options, agentCaller(), batch(60))).toHaveLength(60);
    expect(options.underWay.count).toBe(0);
  });

  it("counts nothing of a call that failed", async () => {
    const options = { ...bench.options(), underWay: new SvidsUnderWay(10) };
    bench.audit.broken = true;
    await expect(issueX509Svids(options, agentCaller(), batch(5))).rejects.toThrowCode("AUDIT_UNAVAILABLE");
    await expect(issueJwtSvid(options, agentCaller(), { entryId: "web", audience: [] })).rejects.toThrowCode(
      "AUDIT_UNAVAILABLE",
    );
    expect(options.underWay.count).toBe(0);
  });
});
