/**
 * The program of the process that holds a PKCS#11 library. The library is foreign code that may stall, crash or write where
 * it should not, so it gets a process of its own, and the PIN is known here and nowhere else. It answers questions over the
 * channel to its parent and ends when that closes.
 */
import { systemClock } from "../../clock.ts";
import { loadOptionalPackage } from "../../files/optional-package.ts";
import type { Cryptoki, Pkcs11Package } from "./cryptoki.ts";
import { TokenError, toTokenError } from "./cryptoki-error.ts";
import type { TokenAnswers, TokenQuestion, TokenReply, TokenRequest, TokenSettings } from "./messages.ts";
import { type OpenToken, openToken } from "./open-token.ts";
import { readPinFile } from "./pin-file.ts";
import { type TokenKeys, tokenKeys } from "./token-keys.ts";

let token: OpenToken | undefined;
let keys: TokenKeys | undefined;

// A terminal and a service manager send these to the whole group: the parent stops first, and signs until it does.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => undefined);
process.on("disconnect", () => {
  // Whoever started this may be gone: a call that the library never ends must not keep the process.
  systemClock.schedule(LAST_CALL_MS, () => void process.kill(process.pid, "SIGKILL"));
  token?.[Symbol.dispose]();
});
process.on("message", (question: TokenQuestion) => void answer(question));

async function answer({ number, request }: TokenQuestion): Promise<void> {
  let reply: TokenReply;
  try {
    reply = { number, value: await perform(request) };
  } catch (error) {
    const { kind, detail } = toTokenError("use the token", error);
    reply = { number, failure: { kind, detail } };
  }
  if (process.connected) process.send?.(reply);
}

async function perform(request: TokenRequest): Promise<TokenAnswers[TokenRequest["op"]]> {
  if (request.op === "open") {
    keys = await openKeys(request.settings);
    return undefined;
  }
  if (keys === undefined) throw new TokenError("lost", "the token is not open");
  switch (request.op) {
    case "list":
      return keys.list();
    case "generate":
      return keys.generate(request.id, request.type, request.order);
    case "destroy":
      await keys.destroy(request.id, request.handle);
      return undefined;
    case "exists":
      return keys.exists(request.handle);
    case "sign":
      return keys.sign(request.key, request.digest);
    default:
      throw new TokenError("refused", `unknown request ${JSON.stringify(request satisfies never)}`);
  }
}

async function openKeys(settings: TokenSettings): Promise<TokenKeys> {
  const library = await loadLibrary(settings);
  const pin = await readPinFile(settings.pinFile);
  token = openToken(library, settings.token, pin);
  return tokenKeys(token, settings.prefix, systemClock);
}

async function loadLibrary({ library: path, packagesFolder }: TokenSettings): Promise<Cryptoki> {
  const { PKCS11 } = await loadOptionalPackage<Pkcs11Package>("pkcs11js", { folder: packagesFolder }).catch(
    (error: unknown) => {
      throw new TokenError("config", detailOf(error));
    },
  );
  const library = new PKCS11();
  try {
    library.load(path);
  } catch (error) {
    throw new TokenError(
      "config",
      `module_path ${path} cannot be loaded as a PKCS#11 library: ${detailOf(error)}`,
    );
  }
  return library;
}

function detailOf(error: unknown): string {
  if (!(error instanceof Error)) return "unknown reason";
  return (("detail" in error ? String(error.detail) : error.message).split("\n", 1)[0] as string).slice(
    0,
    400,
  );
}

const LAST_CALL_MS = 10_000;
