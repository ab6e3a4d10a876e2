import type { ManagedKey, SignatureForm } from "../plugin/key-manager.ts";

/** Whoever waits for a signature. */
export interface SignatureWaiter {
  /** Aborted, with the error to be thrown as its reason, when nobody wants the signature any more. Often made on first use. */
  readonly signal: AbortSignal;
}

/**
 * Signs with a key. A key that answers at once is asked at once. Of one that answers with promises, as remote ones do, no
 * more than 32 signatures are under way at a time, whoever asks; further ones wait their turn, and are never asked for
 * where their waiter has gone by then. Keys do not wait for each other.
 * @throws AssayError `KEY_UNAVAILABLE`, and the reason of the waiter's signal.
 */
export function signBounded(
  key: ManagedKey,
  data: Uint8Array,
  form: SignatureForm,
  waiter?: SignatureWaiter,
): Uint8Array | Promise<Uint8Array> {
  const gate = gates.get(key);
  if (gate !== undefined && gate.underWay >= MOST_UNDER_WAY) return inTurn(gate, key, data, form, waiter);
  const signature = key.sign(data, form);
  if (!(signature instanceof Promise)) return signature;
  const used = gate ?? newGate(key);
  used.underWay++;
  return signature.finally(() => release(used));
}

async function inTurn(
  gate: Gate,
  key: ManagedKey,
  data: Uint8Array,
  form: SignatureForm,
  waiter: SignatureWaiter | undefined,
): Promise<Uint8Array> {
  await new Promise<void>((resolve) => gate.waiting.push(resolve));
  try {
    waiter?.signal.throwIfAborted();
    return await key.sign(data, form);
  } finally {
    release(gate);
  }
}

/** Hands the place on to who waits longest, or gives it back. */
function release(gate: Gate): void {
  const next = gate.waiting.shift();
  if (next === undefined) gate.underWay--;
  else next();
}

function newGate(key: ManagedKey): Gate {
  const gate: Gate = { underWay: 0, waiting: [] };
  gates.set(key, gate);
  return gate;
}

/** The signatures of one key that are under way, and who waits for a place among them. */
interface Gate {
  underWay: number;
  readonly waiting: (() => void)[];
}

const gates = new WeakMap<ManagedKey, Gate>();
/**
 * A key service in another place takes 5 to 50 ms: so many at once make 600 to 6000 signatures a second, about what the
 * services allow one account, and leave most of their connections to others.
 */
const MOST_UNDER_WAY = 32;
