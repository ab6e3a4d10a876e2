import { describe, expect, it } from "vitest";
import { FakeClock } from "../../../test/fakes/clock.ts";
import type { AuditRecord } from "../../observe/audit-record.ts";
import type { CallContext } from "../../rpc/call-context.ts";
import { parseSpiffeId } from "../../spiffe/id.ts";
import { brokerAdmission, type BrokerPeer } from "./admit-broker.ts";

const broker = parseSpiffeId("spiffe://example.org/broker");
const stranger = parseSpiffeId("spiffe://example.org/stranger");

function world() {
  const clock = new FakeClock();
  const records: AuditRecord[] = [];
  const admit = brokerAdmission({
    brokers: [{ id: broker, references: [] }],
    clock,
    audit: { append: (added) => void records.push(...added) },
  });
  const call = (spiffeId: typeof broker, ttl = 60) => {
    const svid = { spiffeId, serial: "1", notAfter: clock.now() / 1000 + ttl };
    const peer: BrokerPeer = { tls: { caller: () => ({ address: "192.0.2.1", svid }) }, transport: "tcp" };
    const context = { method: "/spiffe.broker.API/FetchJWTSVID", peer, header: () => "true" };
    return admit(context as unknown as CallContext<BrokerPeer, undefined>);
  };
  return { clock, records, call };
}

describe("a caller of the Broker Endpoint", () => {
  it("is admitted where it is on the list and its SVID is in force", () => {
    const { records, call } = world();
    expect(call(broker).asker).toMatchObject({ spiffeId: broker, address: "192.0.2.1" });
    expect(() => call(broker, -1)).toThrowCode("CALLER_NOT_IDENTIFIED", /expired/);
    expect(records).toEqual([]);
  });

  it("may no longer ask once its SVID has expired", async () => {
    const { clock, call } = world();
    const { asker } = call(broker);
    expect(() => asker.requireEntitled()).not.toThrow();
    await clock.advance(61_000);
    expect(() => asker.requireEntitled()).toThrowCode("CALLER_NOT_IDENTIFIED", /expired/);
  });

  it("is recorded with what it may not do", () => {
    const { records, call } = world();
    expect(call(broker).denial("may not")).toMatchObject({ code: "AUTHORIZATION_DENIED", detail: "may not" });
    expect(records).toMatchObject([
      { event: "api.denied", caller_id: broker, caller_address: "192.0.2.1", reasons: ["may not"] },
    ]);
  });

  it("is always denied where it is not on the list, and does not fill the audit log by that", async () => {
    const { clock, records, call } = world();
    for (let i = 0; i < 1000; i++) expect(() => call(stranger)).toThrowCode("AUTHORIZATION_DENIED");
    expect(records.length).toBe(20);
    await clock.advance(5000);
    for (let i = 0; i < 1000; i++) expect(() => call(stranger)).toThrowCode("AUTHORIZATION_DENIED");
    expect(records.length).toBe(25);
    call(broker).denial("another's records do not count");
    expect(records.length).toBe(26);
  });
});
