import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import { FakeClock } from "../../../test/fakes/clock.ts";
import { parseSpiffeId } from "../../spiffe/id.ts";
import { parseTrustDomain } from "../../spiffe/trust-domain.ts";
import { uniqueId } from "./unique-id.ts";

const spiffeId = parseSpiffeId("spiffe://example.org/web");
const about = { purpose: "workload", spiffeId, publicKey: new Uint8Array() } as const;
const log = { debug() {}, info() {}, warn() {}, error() {} };
const host = { trustDomain: parseTrustDomain("example.org"), clock: new FakeClock(), log };
const composer = await uniqueId.create({}, host);
const signal = new AbortController().signal;
const NAME = { oid: "2.5.4.3", value: "web" };

describe("the composer of unique identifiers", () => {
  it("adds 32 hex digits that follow from the SPIFFE ID alone", async () => {
    const composed = await composer.composeX509Svid?.({ subject: [NAME], dnsNames: ["a"] }, about, signal);
    const value = createHash("sha256").update("spiffe://example.org/web").digest("hex").slice(0, 32);
    expect(composed).toEqual({ subject: [NAME, { oid: "2.5.4.45", value }], dnsNames: ["a"] });
  });

  it("leaves one identifier where there was one before", async () => {
    const subject = [{ oid: "2.5.4.45", value: "chosen" }, NAME];
    const composed = await composer.composeX509Svid?.({ subject, dnsNames: [] }, about, signal);
    expect(composed?.subject.map(({ oid }) => oid)).toEqual(["2.5.4.3", "2.5.4.45"]);
  });

  it("leaves agents' alone", async () => {
    const content = { subject: [NAME], dnsNames: [] };
    expect(await composer.composeX509Svid?.(content, { ...about, purpose: "agent" }, signal)).toEqual(
      content,
    );
  });

  it("takes no settings", () => {
    expect(uniqueId.config["~standard"].validate({ a: 1 })).toMatchObject({ issues: [{}] });
  });
});
