import { type Clock, unixSeconds } from "../clock.ts";
import { toAssayError } from "../errors/assay-error.ts";
import type { KeyManagerState } from "../keys/key-manager-state.ts";
import type { Signing } from "../signing/signing.ts";
import type { Store } from "../store/store.ts";
import type { HealthCheck, ServerHealth } from "./web/health-routes.ts";

/** Whether the server can do its work. */
export interface Health extends AsyncDisposable {
  /** What was found at the last look, without waiting. */
  state(): ServerHealth;
  /** Looks now. */
  refresh(): Promise<ServerHealth>;
  /** Calls the listener when ready becomes not ready or the other way round. */
  onChange(listener: () => void): void;
}

/** Looks after the store and the authorities every few seconds. */
export function createHealth(parts: {
  readonly store: Pick<Store, "check">;
  readonly signing: Pick<Signing, "x509AuthorityNotAfter" | "jwtAuthorityNotAfter">;
  readonly clock: Clock;
  /** What is in trouble and yet no reason to send nobody here: the server goes on with what it has. */
  readonly degraded?: () => readonly HealthCheck[];
}): Health {
  const { store, signing, clock, degraded = () => [] } = parts;
  const listeners = new Set<() => void>();
  let state: ServerHealth = { live: true, ready: false, checks: [] };
  let wait: Disposable | undefined;
  let closed = false;

  async function refresh(): Promise<ServerHealth> {
    const checks: readonly HealthCheck[] = await Promise.all([
      check("store", () => store.check()),
      check("x509_authority", () => requireFuture(signing.x509AuthorityNotAfter())),
      check("jwt_authority", () => requireFuture(signing.jwtAuthorityNotAfter())),
    ]);
    const ready = checks.every(({ ok }) => ok);
    const changed = ready !== state.ready;
    state = { live: true, ready, checks: [...checks, ...degraded()] };
    if (changed) for (const listener of listeners) listener();
    return state;
  }

  function requireFuture(notAfter: number): void {
    if (notAfter <= unixSeconds(clock)) throw new Error("expired");
  }

  function again(): void {
    wait = clock.schedule(INTERVAL_MS, () => {
      void refresh().then(() => {
        if (!closed) again();
      });
    });
  }
  again();

  return {
    state: () => state,
    refresh,
    onChange: (listener) => void listeners.add(listener),
    async [Symbol.asyncDispose]() {
      closed = true;
      wait?.[Symbol.dispose]();
      listeners.clear();
    },
  };
}

/**
 * How it stands with services elsewhere, where there are any: without an upstream authority what it signed signs on, and a key
 * manager that fails now and then fails some signatures.
 */
export function degradedChecks(
  { upstream }: Pick<Signing, "upstream">,
  keyState: (() => KeyManagerState) | undefined,
): readonly HealthCheck[] {
  const { isConfigured, failing } = upstream();
  const checks: HealthCheck[] = [];
  if (isConfigured) {
    const ok = failing.length === 0;
    checks.push({
      name: "upstream_authority",
      ok,
      ...(!ok && { detail: `failed to ${failing.join(", ")}` }),
    });
  }
  if (keyState !== undefined) {
    const { status, cause } = keyState();
    checks.push({ name: "key_manager", ok: status === "ok", ...(cause !== undefined && { detail: cause }) });
  }
  return checks;
}

async function check(name: string, look: () => void | Promise<void>): Promise<HealthCheck> {
  try {
    await look();
    return { name, ok: true };
  } catch (error) {
    return { name, ok: false, detail: toAssayError(error).detail };
  }
}

const INTERVAL_MS = 5_000;
