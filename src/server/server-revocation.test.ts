import { expect, it } from "vitest";
import { makeKey } from "../../test/fakes/certificates.ts";
import { SigningWorld } from "../../test/fakes/signing-world.ts";
import { FakeUpstream } from "../../test/fakes/upstream.ts";
import { parseSpiffeId } from "../spiffe/id.ts";
import { x509InHand } from "./operations/revoke-facts.ts";
import { longestLife, signersOf } from "./server-revocation.ts";

it.each([true, false])(
  "knows who signed an SVID, whether its authority is in the bundle or not (%s)",
  async (above) => {
    await using world = new SigningWorld();
    if (above) world.upstream = new FakeUpstream(world.clock);
    await using signing = await world.open();
    const spiffeId = parseSpiffeId("spiffe://example.org/workload");
    const order = { spiffeId, publicKey: makeKey().spki, dnsNames: [], ttl: 60 };
    const svid = await signing.signX509Svid(signing.prepareX509Svid(order));
    expect(x509InHand(svid.certificate, signersOf(signing))).toMatchObject({
      id: svid.serial,
      spiffeId,
      authorityId: svid.authorityId,
    });
    expect(signersOf(signing).x509Authorities).toHaveLength(above ? 2 : 1);
  },
);

it("knows the longest life of an SVID, though upstream gave an authority more than it was asked for", async () => {
  await using world = new SigningWorld();
  const upstream = new FakeUpstream(world.clock);
  const mint = upstream.mintX509Ca.bind(upstream);
  upstream.mintX509Ca = (order) => mint({ ...order, ttl: order.ttl * 10 });
  world.upstream = upstream;
  await using signing = await world.open({ caTtlSeconds: 3600 });
  expect(longestLife(signing, 3600)).toBeGreaterThanOrEqual(36_000);
  expect(longestLife(signing, 86_400)).toBe(86_400);
});
