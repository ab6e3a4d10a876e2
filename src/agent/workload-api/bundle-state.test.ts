import { FakeClock } from "../../../test/fakes/clock.ts";
import { describe, expect, it } from "vitest";
import { sampleBundle } from "../../../test/fakes/web-app.ts";
import { fakeEntry } from "../../../test/fakes/agent-server.ts";
import { SelectorIndex } from "../../registry/match.ts";
import type { SpiffeBundle } from "../../spiffe/bundle.ts";
import { parseSpiffeId } from "../../spiffe/id.ts";
import { parseTrustDomain } from "../../spiffe/trust-domain.ts";
import { EntryTable } from "../cache/entry-table.ts";
import { bundleState, sameBundleState } from "./bundle-state.ts";

const own = parseTrustDomain("example.org");
const partner = parseTrustDomain("partner.example");
const entry = fakeEntry(parseSpiffeId("spiffe://example.org/web"), 1, { federatesWith: [partner] });
const ours = sampleBundle(own);
const theirs = { ...sampleBundle(partner), jwtAuthorities: [] };

function tableWith(bundle: SpiffeBundle, crl?: Uint8Array): EntryTable {
  const table = new EntryTable(own, new SelectorIndex(), new FakeClock());
  table.apply({
    complete: true,
    upserted: [entry],
    deleted: [],
    bundle,
    federatedBundles: [theirs],
    deletedFederatedBundles: [],
    ...(crl === undefined ? {} : { crls: new Map([[partner, [crl]]]) }),
  });
  return table;
}

describe("bundleState", () => {
  it("leaves out foreign trust domains that have no keys of the kind, never the own one", () => {
    const table = tableWith({ ...ours, jwtAuthorities: [] }, Uint8Array.of(1));
    const names = (kind: "x509" | "jwt" | "wit") =>
      bundleState(kind, [entry], table).bundles.map(({ trustDomain }) => trustDomain);
    expect(names("x509")).toEqual([own, partner]);
    expect(names("jwt")).toEqual([own]);
    expect(names("wit")).toEqual([own]);
    expect(bundleState("x509", [entry], table).crls).toEqual([Uint8Array.of(1)]);
    expect(bundleState("jwt", [entry], table).crls).toEqual([]);
  });

  it("takes a change of another kind of key, or of the sequence, for none", () => {
    const before = tableWith(ours);
    const after = tableWith({ ...ours, sequence: ours.sequence + 1n, jwtAuthorities: [] });
    const same = (kind: "x509" | "jwt" | "wit") =>
      sameBundleState(kind, bundleState(kind, [entry], before), bundleState(kind, [entry], after));
    expect(same("x509")).toBe(true);
    expect(same("wit")).toBe(true);
    expect(same("jwt")).toBe(false);
  });

  it("takes a new revocation list for a change of X.509 bundles only", () => {
    const [before, after] = [tableWith(ours), tableWith(ours, Uint8Array.of(1))];
    const same = (kind: "x509" | "jwt") =>
      sameBundleState(kind, bundleState(kind, [entry], before), bundleState(kind, [entry], after));
    expect(same("x509")).toBe(false);
    expect(same("jwt")).toBe(true);
  });
});
