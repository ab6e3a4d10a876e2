import { describe, expect, it, vi } from "vitest";
import { CiIssuer, jwksOf } from "../../../../test/fakes/ci-tokens.ts";
import { FakeClock } from "../../../../test/fakes/clock.ts";
import { type OidcKeySet, parseOidcKeys } from "../../../crypto/jose/oidc-token-keys.ts";
import { AssayError } from "../../../errors/assay-error.ts";
import { ISSUER_KEYS_TIMES, IssuerKeys } from "./issuer-keys.ts";

const issuer = new CiIssuer("ec-p256");
const ONE = keySet("one");
const TWO = keySet("one", "two");
const { fresh, stale, floor, emptyFloor } = ISSUER_KEYS_TIMES;
const never = new AbortController().signal;

describe("the keys of an issuer", () => {
  it("are had when first needed, and not again while they are fresh", async () => {
    const { keys, load, clock } = world();
    expect(load).not.toHaveBeenCalled();
    await keys.keysOf("one", never);
    clock.step(fresh - 1);
    await keys.keysOf("one", never);
    expect(load).toHaveBeenCalledTimes(1);
    clock.step(1);
    await keys.keysOf("one", never);
    expect(load).toHaveBeenCalledTimes(2);
  });

  it("are had by one attempt for all who wait", async () => {
    const loading = Promise.withResolvers<OidcKeySet>();
    const { keys, load } = world(() => loading.promise);
    const waiting = Promise.all(Array.from({ length: 100 }, () => keys.keysOf("one", never)));
    loading.resolve(ONE);
    expect(await waiting).toHaveLength(100);
    expect(load).toHaveBeenCalledTimes(1);
  });

  it("are had again for a kid that is not among them", async () => {
    const { keys, load, clock } = world();
    await keys.keysOf("one", never);
    load.mockResolvedValue(TWO);
    clock.step(floor);
    await expect(keys.keysOf("two", never)).resolves.toHaveLength(1);
    expect(load).toHaveBeenCalledTimes(2);
  });

  it("are had no more than once a minute, whatever callers ask for", async () => {
    const { keys, load, clock } = world();
    await keys.keysOf("one", never);
    for (let second = 0; second < 180; second++) {
      clock.step(1000);
      await expect(keys.keysOf(`x${second}`, never)).rejects.toThrowCode("ATTESTATION_FAILED", /kid/);
      await keys.keysOf("one", never);
    }
    expect(load).toHaveBeenCalledTimes(4);
  });

  it("are kept through the issuer's outage, for a day", async () => {
    const { keys, load, clock, log } = world();
    await keys.keysOf("one", never);
    load.mockRejectedValue(new AssayError("REMOTE_UNAVAILABLE", "gone"));
    clock.step(stale - 1);
    await expect(keys.keysOf("one", never)).resolves.toHaveLength(1);
    expect(log.warn).toHaveBeenCalledWith(expect.any(String), { reason: "gone", keys_kept: 1 });
    await expect(keys.keysOf("two", never)).rejects.toThrowCode("REMOTE_UNAVAILABLE", /gone/);
    clock.step(1);
    await expect(keys.keysOf("one", never)).rejects.toThrowCode("REMOTE_UNAVAILABLE", /gone/);
    clock.step(floor);
    load.mockResolvedValue(ONE);
    await expect(keys.keysOf("one", never)).resolves.toHaveLength(1);
  });

  it("that were never had are asked for again soon, but not at once", async () => {
    const { keys, load, clock } = world(() => Promise.reject(new Error("no reason")));
    for (let n = 0; n < 10; n++) {
      await expect(keys.keysOf("one", never)).rejects.toThrowCode("REMOTE_UNAVAILABLE", /unknown reason/);
    }
    expect(load).toHaveBeenCalledTimes(1);
    clock.step(emptyFloor);
    await expect(keys.keysOf("one", never)).rejects.toThrowCode("REMOTE_UNAVAILABLE");
    expect(load).toHaveBeenCalledTimes(2);
  });

  it("that the issuer has withdrawn are not good beyond their freshness", async () => {
    const { keys, load, clock } = world(() => Promise.resolve(TWO));
    await keys.keysOf("two", never);
    load.mockResolvedValue(ONE);
    clock.step(fresh);
    await expect(keys.keysOf("two", never)).rejects.toThrowCode("ATTESTATION_FAILED");
  });

  it("are asked for anew where the clock was set back", async () => {
    const { keys, load, clock } = world();
    await keys.keysOf("one", never);
    clock.step(-3_600_000);
    await keys.keysOf("one", never);
    expect(load).toHaveBeenCalledTimes(2);
  });

  it("are still had for others when one who waits gives up", async () => {
    const loading = Promise.withResolvers<OidcKeySet>();
    const { keys, load } = world(() => loading.promise);
    const abort = new AbortController();
    const impatient = keys.keysOf("one", abort.signal);
    const patient = keys.keysOf("one", never);
    abort.abort(new AssayError("CANCELLED", "gone"));
    await expect(impatient).rejects.toThrowCode("CANCELLED");
    loading.resolve(ONE);
    await expect(patient).resolves.toHaveLength(1);
    expect(load).toHaveBeenCalledTimes(1);
  });

  it("are not asked for any more when the attestor stops", async () => {
    const { keys, load } = world((signal) => {
      const { promise, reject } = Promise.withResolvers<OidcKeySet>();
      signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true });
      return promise;
    });
    const waiting = keys.keysOf("one", never);
    keys[Symbol.dispose]();
    keys[Symbol.dispose]();
    await expect(waiting).rejects.toThrowCode("REMOTE_UNAVAILABLE", /stopped/);
    await expect(keys.keysOf("one", never)).rejects.toThrowCode("REMOTE_UNAVAILABLE");
    expect(load).toHaveBeenCalledTimes(1);
  });
});

function world(first: (signal: AbortSignal) => Promise<OidcKeySet> = () => Promise.resolve(ONE)) {
  const clock = new FakeClock();
  const load = vi.fn(first);
  const log = { debug: vi.fn(), info: vi.fn(), warn: vi.fn(), error: vi.fn() };
  return { clock, load, log, keys: new IssuerKeys({ load, clock, log }) };
}

function keySet(...ids: readonly string[]): OidcKeySet {
  return parseOidcKeys(jwksOf(...ids.map((kid) => issuer.jwk({ kid }))));
}
