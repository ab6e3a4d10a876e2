import { endianness } from "node:os";
import { CK, type Cryptoki, type Handle } from "./cryptoki.ts";
import { cryptokiCode, TokenError, toTokenError } from "./cryptoki-error.ts";
import { openSession, SessionPool } from "./session-pool.ts";

/** Which token of a library: by its label, or by the id of its slot. */
export type TokenChoice = { readonly label: string } | { readonly slot: number };

/** A token that is logged in to. */
export interface OpenToken extends Disposable {
  readonly library: Cryptoki;
  readonly sessions: SessionPool;
}

/**
 * Begins with a library that is loaded, finds the token and logs in. A PIN is tried once; it is not tried at all where one more wrong
 * one would lock the token, since a program that is started again and again would do exactly that.
 * @throws TokenError
 */
export function openToken(library: Cryptoki, choice: TokenChoice, pin: string): OpenToken {
  initialize(library);
  try {
    const slot = findSlot(library, choice);
    const session = attempt("open a session", () => openSession(library, slot));
    login(library, slot, session, pin);
    return {
      library,
      sessions: new SessionPool(library, slot, session, MAX_SESSIONS),
      [Symbol.dispose]: () => close(library, slot),
    };
  } catch (error) {
    close(library);
    throw error;
  }
}

function initialize(library: Cryptoki): void {
  // Signatures are made on several threads: the library must lock.
  attempt("initialize the library", () => library.C_Initialize({ flags: CK.CKF_OS_LOCKING_OK }));
}

function findSlot(library: Cryptoki, choice: TokenChoice): Handle {
  const tokens = attempt("list the slots with a token", () => library.C_GetSlotList(true)).map((slot) => ({
    slot,
    id: slotId(slot),
    label: labelOf(library, slot),
  }));
  const found = tokens.filter(({ id, label }) =>
    "slot" in choice ? id === choice.slot : label === choice.label,
  );
  const [first] = found;
  if (found.length === 1 && first !== undefined) return first.slot;
  const wanted =
    "slot" in choice ? `in slot ${choice.slot}` : `with the label ${JSON.stringify(choice.label)}`;
  const seen = tokens.map(({ id, label }) => `${JSON.stringify(label)} in slot ${id}`).join(", ");
  if (found.length > 1) throw new TokenError("config", `there is more than one token ${wanted}: ${seen}`);
  throw new TokenError(
    "lost",
    `there is no token ${wanted}; the library shows ${seen === "" ? "none" : seen}`,
  );
}

function labelOf(library: Cryptoki, slot: Handle): string | undefined {
  try {
    // Blanks and, with some devices, NUL fill the field of 32 octets.
    return library.C_GetTokenInfo(slot).label.replace(/[\0 ]+$/, "");
  } catch {
    // Another's token that cannot be read is no reason not to use ours.
    return undefined;
  }
}

function login(library: Cryptoki, slot: Handle, session: Handle, pin: string): void {
  const { flags } = attempt("read the state of the token", () => library.C_GetTokenInfo(slot));
  if ((flags & CK.CKF_USER_PIN_LOCKED) !== 0) {
    throw new TokenError(
      "pin",
      "the PIN of the token is locked after too many wrong ones; the security officer unlocks it",
    );
  }
  if ((flags & CK.CKF_USER_PIN_FINAL_TRY) !== 0) {
    throw new TokenError(
      "pin",
      "one more wrong PIN would lock the token, so none is tried: put the right one into pin_file and log in with it once by the tools of the device",
    );
  }
  try {
    library.C_Login(session, CK.CKU_USER, pin);
  } catch (error) {
    if (cryptokiCode(error) !== "CKR_USER_ALREADY_LOGGED_IN")
      throw toTokenError("log in to the token", error);
  }
}

function close(library: Cryptoki, slot?: Handle): void {
  try {
    if (slot !== undefined) library.C_CloseAllSessions(slot);
    library.C_Finalize();
  } catch {
    // The device is gone or the library broken; the process that holds it ends anyway.
  }
}

function attempt<Result>(what: string, call: () => Result): Result {
  try {
    return call();
  } catch (error) {
    throw toTokenError(what, error);
  }
}

function slotId(slot: Handle): number {
  const wide = slot.length === 8;
  if (endianness() === "LE") return wide ? Number(slot.readBigUInt64LE()) : slot.readUInt32LE();
  return wide ? Number(slot.readBigUInt64BE()) : slot.readUInt32BE();
}

// As many as the process that holds the library has threads for calls that take time.
const MAX_SESSIONS = 4;
