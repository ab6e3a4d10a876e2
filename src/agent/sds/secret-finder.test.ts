import { beforeAll, describe, expect, it } from "vitest";
import { FakeAuthority } from "../../../test/fakes/agent-authority.ts";
import { fakeEntry } from "../../../test/fakes/agent-server.ts";
import { FakeClock } from "../../../test/fakes/clock.ts";
import type { WorkloadEntry } from "../../issuance/workload/workload-entry.ts";
import { emptyBundle, type SpiffeBundle } from "../../spiffe/bundle.ts";
import { parseSpiffeId, type SpiffeId } from "../../spiffe/id.ts";
import { parseTrustDomain } from "../../spiffe/trust-domain.ts";
import { newKeyAndCsr, type SignedX509Svid, signedX509Svid } from "../cache/x509-signing.ts";
import { DEFAULT_SDS_SETTINGS } from "./sds-settings.ts";
import { type CallerState, SecretFinder } from "./secret-finder.ts";
import { SecretWriter } from "./secret-writer.ts";

const web = parseSpiffeId("spiffe://example.org/web");
const db = parseSpiffeId("spiffe://example.org/db");
const one = fakeEntry(web, 1, { id: "1", createdAt: 1 });
const two = fakeEntry(db, 1, { id: "2", createdAt: 2 });
const again = fakeEntry(web, 1, { id: "3", createdAt: 3 });
const distrusted = emptyBundle(parseTrustDomain("empty.example"));
let own: SpiffeBundle;
let foreign: SpiffeBundle;
let svids: ReadonlyMap<string, SignedX509Svid>;

beforeAll(async () => {
  const clock = new FakeClock();
  const authority = await FakeAuthority.create(parseTrustDomain("example.org"), clock);
  own = authority.bundle();
  foreign = (await FakeAuthority.create(parseTrustDomain("partner.example"), clock)).bundle();
  const sign = async (id: SpiffeId) => {
    const { key, csr } = await newKeyAndCsr();
    return signedX509Svid(authority.issue(csr, id, 60), key, id);
  };
  svids = new Map([
    ["1", await sign(web)],
    ["2", await sign(db)],
    ["3", await sign(web)],
  ]);
});

describe("a caller's secrets", () => {
  it("are its identities by ID, the oldest by the default's name", () => {
    const finder = finderOf({ entries: [one, two, again] });
    expect(entryOf(finder, "default")).toBe("1");
    expect(entryOf(finder, db)).toBe("2");
    expect(entryOf(finder, web)).toBe("1");
    expect(finder.find("spiffe://example.org/other")).toBe("absent");
    expect([...finder.wanted].map(({ id }) => id)).toEqual(["1", "2"]);
  });

  it("do not take another identity for the default one while that is being signed", () => {
    const finder = finderOf({
      entries: [one, two],
      svidOf: ({ id }) => (id === "1" ? undefined : svids.get(id)),
    });
    expect(finder.find("default")).toBe("awaited");
    expect(entryOf(finder, db)).toBe("2");
    expect([...finder.missing]).toEqual([["default", "awaited"]]);
  });

  it("are not an SVID that names what its entry named before", () => {
    expect(finderOf({ entries: [one], svidOf: () => svids.get("2") }).find("default")).toBe("awaited");
  });

  it("are bundles by trust domain, the own one by its name, too", () => {
    const finder = finderOf({ entries: [one], bundles: [own, foreign] });
    expect(trusted(finder, "ROOTCA")).toEqual(["example.org"]);
    expect(trusted(finder, "spiffe://example.org")).toEqual(["example.org"]);
    expect(trusted(finder, "spiffe://partner.example")).toEqual(["partner.example"]);
    expect(finder.find("spiffe://elsewhere.example")).toBe("absent");
    expect(trusted(finder, "ALL")).toEqual(["example.org", "partner.example"]);
  });

  it("leave out a foreign bundle that trusts nobody, which Envoy would refuse with all others", () => {
    const finder = finderOf({ entries: [one], bundles: [own, distrusted, foreign] });
    expect(trusted(finder, "ALL")).toEqual(["example.org", "partner.example"]);
    expect(finder.find("spiffe://empty.example")).toBe("absent");
  });

  it("wait for the own bundle, without which nothing foreign is given either", () => {
    const finder = finderOf({ entries: [one], bundles: [emptyBundle(own.trustDomain), foreign] });
    expect([finder.find("ROOTCA"), finder.find("ALL")]).toEqual(["awaited", "awaited"]);
  });

  it("are none for a caller that may have none", () => {
    const finder = finderOf({});
    const names = ["default", "ROOTCA", "ALL", web, "spiffe://example.org", "anything"];
    expect(names.map((name) => finder.find(name))).toEqual(names.map(() => "absent"));
    expect(finder.names()).toEqual([]);
  });

  it("have each name once where everything is asked for", () => {
    const finder = finderOf({ entries: [one, two, again], bundles: [own, foreign] });
    expect(finder.names()).toEqual([web, db, "spiffe://example.org", "spiffe://partner.example"]);
  });

  it("are never everyone's CA certificates in one pool", () => {
    const finder = finderOf({ entries: [one], bundles: [own, foreign] }, "plain");
    expect(() => finder.find("ALL")).toThrowCode("INVALID_REQUEST", /SPIFFE validator/);
    expect(trusted(finder, "ROOTCA")).toEqual(["example.org"]);
  });
});

function finderOf(state: Partial<CallerState>, validation: "spiffe" | "plain" = "spiffe"): SecretFinder {
  const svidOf = ({ id }: WorkloadEntry) => svids.get(id);
  return new SecretFinder(
    { entries: [], bundles: [], svidOf, ...state },
    new SecretWriter(() => []),
    DEFAULT_SDS_SETTINGS,
    validation,
  );
}

function entryOf(finder: SecretFinder, name: string): string | undefined {
  const found = finder.find(name);
  return typeof found === "string" ? found : found.identity?.entry.id;
}

function trusted(finder: SecretFinder, name: string): readonly string[] {
  const found = finder.find(name);
  return typeof found === "string" ? [found] : found.trustDomains;
}
