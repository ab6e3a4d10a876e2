import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { FakeAuthority } from "../../../test/fakes/agent-authority.ts";
import { completeUpdate, FakeServerApi } from "../../../test/fakes/agent-server-api.ts";
import { FakeClock } from "../../../test/fakes/clock.ts";
import { unixSeconds } from "../../clock.ts";
import { silentLog } from "../../observe/log.ts";
import { SelectorIndex } from "../../registry/match.ts";
import { parseSpiffeId } from "../../spiffe/id.ts";
import { parseTrustDomain } from "../../spiffe/trust-domain.ts";
import { AgentCache } from "../cache/agent-cache.ts";
import { CacheKeeper } from "./cache-file.ts";

const trustDomain = parseTrustDomain("example.org");
const agentId = parseSpiffeId("spiffe://example.org/spire/agent/x/1");

let dataDir: string;
beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), "assay-cache-"));
});
afterEach(() => rmSync(dataDir, { recursive: true }));

describe("revoked tokens on disk", () => {
  it("are all those told of by and by, and are forgotten by their end after a restart too", async () => {
    const clock = new FakeClock();
    const authority = await FakeAuthority.create(trustDomain, clock);
    const bundle = authority.bundle();
    const makeCache = () =>
      new AgentCache({
        trustDomain,
        signer: new FakeServerApi(authority, agentId),
        index: new SelectorIndex(),
        clock,
        spread: () => 0.5,
        log: silentLog,
        keyType: "ec-p256",
        agentId: () => agentId,
        maxJwtSvids: 10,
        onError: () => undefined,
      });
    const change = { ...completeUpdate([]), complete: false };
    const ends = (id: string, seconds: number) => new Map([[id, unixSeconds(clock) + seconds]]);
    {
      using cache = makeCache();
      await using keeper = new CacheKeeper({ dataDir, clock, log: silentLog });
      keeper.follow(cache, () => agentId);
      cache.apply(completeUpdate([], { bundle, revokedTokens: { complete: true, ends: ends("a", 60) } }));
      cache.apply({ ...change, revokedTokens: { complete: false, ends: ends("b", 7200) } });
      // The bell rings once for many changes, a moment later.
      await new Promise((resolve) => setImmediate(resolve));
    }
    using cache = makeCache();
    await using keeper = new CacheKeeper({ dataDir, clock, log: silentLog });
    expect(await keeper.restore(cache, agentId)).toBe(true);
    const known = () => [...cache.table.revokedTokens.all.keys()];
    expect(known()).toEqual(["a", "b"]);
    for (let n = 0; n < 14; n++) await clock.advance(30_000);
    expect(known()).toEqual(["b"]);
  });
});
