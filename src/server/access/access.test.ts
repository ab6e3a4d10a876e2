import { describe, expect, it } from "vitest";
import { FakeClock } from "../../../test/fakes/clock.ts";
import type { Caller } from "../../issuance/caller.ts";
import { parseSpiffeId, type SpiffeId } from "../../spiffe/id.ts";
import { parseTrustDomain } from "../../spiffe/trust-domain.ts";
import type { NodeRecord } from "../../store/records.ts";
import { createAccess } from "./access.ts";
import { knownMethods, rolesFor } from "./roles.ts";

const clock = new FakeClock();
const soon = clock.now() / 1000 + 60;
const agent = parseSpiffeId("spiffe://example.org/spire/agent/join_token/t");
const operator = parseSpiffeId("spiffe://example.org/operator");
const configured = parseSpiffeId("spiffe://example.org/configured");
const nested = parseSpiffeId("spiffe://example.org/nested");

const RENEW = "/spire.api.server.agent.v1.Agent/RenewAgent";
const LIST = "/spire.api.server.agent.v1.Agent/ListAgents";
const ATTEST = "/spire.api.server.agent.v1.Agent/AttestAgent";

describe("who may call what", () => {
  const local: Caller = { address: "", process: { pid: 1, uid: 0, gid: 0 } };
  const stranger: Caller = { address: "192.0.2.1" };

  it("denies a method that is not in the table to everybody", () => {
    const { access } = setUp();
    for (const caller of [local, stranger, withSvid(agent), withSvid(operator)]) {
      expect(() => access.authorize("/spire.api.server.agent.v1.Agent/Nonesuch", caller)).toThrowCode(
        "AUTHORIZATION_DENIED",
        "authorization denied for method /spire.api.server.agent.v1.Agent/Nonesuch",
      );
    }
  });

  it("lets anybody attest and nobody but agents renew", () => {
    const { access } = setUp();
    expect(access.authorize(ATTEST, stranger)).toBe("any");
    expect(() => access.authorize(RENEW, stranger)).toThrowCode("AUTHORIZATION_DENIED");
    expect(() => access.authorize(RENEW, local)).toThrowCode("AUTHORIZATION_DENIED");
    expect(() => access.authorize(RENEW, withSvid(operator))).toThrowCode("AUTHORIZATION_DENIED");
    expect(access.authorize(RENEW, withSvid(agent))).toBe("agent");
  });

  it("takes the admin socket, entries with the flag and configured IDs for operators", () => {
    const { access } = setUp();
    expect(access.authorize(LIST, local)).toBe("local");
    expect(access.authorize(LIST, withSvid(operator))).toBe("admin");
    expect(access.authorize(LIST, withSvid(configured))).toBe("admin");
    expect(() => access.authorize(LIST, withSvid(nested))).toThrowCode("AUTHORIZATION_DENIED");
    expect(() => access.authorize(LIST, withSvid(agent))).toThrowCode("AUTHORIZATION_DENIED");
  });

  it("does not take an expired SVID of an operator", () => {
    const { access } = setUp();
    expect(() => access.authorize(LIST, withSvid(operator, "01", soon - 60))).toThrowCode(
      "AUTHORIZATION_DENIED",
    );
  });

  it.each([
    ["AGENT_NOT_ATTESTED", null, "01", soon],
    ["AGENT_EXPIRED", { serial: "01" }, "01", soon - 60],
    ["AGENT_BANNED", { serial: "", banned: true }, "01", soon],
    ["AGENT_NOT_ACTIVE", { serial: "02" }, "01", soon],
    ["AGENT_NOT_ACTIVE", { serial: "02", pendingSerial: "03" }, "01", soon],
  ] as const)("tells an agent %s", (code, node, serial, notAfter) => {
    const { access } = setUp(node);
    expect(() => access.authorize(RENEW, withSvid(agent, serial, notAfter))).toThrowCode(code);
  });

  it("makes a renewed SVID the active one at its first use, after which the old one is refused", async () => {
    const { access, node } = setUp({ serial: "01", pendingSerial: "02" });
    expect(access.authorize(RENEW, withSvid(agent, "01"))).toBe("agent");
    await expect(access.authorize(RENEW, withSvid(agent, "02"))).resolves.toBe("agent");
    expect(node()).toMatchObject({ serial: "02", pendingSerial: "" });
    expect(() => access.authorize(RENEW, withSvid(agent, "01"))).toThrowCode("AGENT_NOT_ACTIVE");
  });

  it("lists a role for each method it knows", () => {
    expect(knownMethods().length).toBeGreaterThan(30);
    for (const method of knownMethods()) expect(rolesFor(method)).not.toHaveLength(0);
  });
});

function withSvid(spiffeId: SpiffeId, serial = "01", notAfter = soon): Caller {
  return { address: "192.0.2.1", svid: { spiffeId, serial, notAfter } };
}

function setUp(change: Partial<NodeRecord> | null = { serial: "01" }) {
  let node: NodeRecord | undefined =
    change === null
      ? undefined
      : {
          id: agent,
          attestationType: "join_token",
          selectors: [],
          canReattest: false,
          banned: false,
          serial: "01",
          expiresAt: soon,
          pendingSerial: "",
          pendingExpiresAt: 0,
          attestedAt: 0,
          agentVersion: "",
          ordinal: 1,
          ...change,
        };
  const access = createAccess({
    trustDomain: parseTrustDomain("example.org"),
    clock,
    adminIds: new Set([configured]),
    facts: {
      node: (id) => (id === agent ? node : undefined),
      hasFlag: (id, flag) => (flag === "admin" ? id === operator : id === nested),
      async activatePending(_, serial) {
        if (node?.pendingSerial === serial) node = { ...node, serial, pendingSerial: "" };
      },
    },
  });
  return { access, node: () => node };
}
