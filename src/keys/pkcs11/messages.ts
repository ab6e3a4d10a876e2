import type { TokenFailure } from "./cryptoki-error.ts";
import type { MakingOrder } from "./known-keys.ts";
import type { TokenChoice } from "./open-token.ts";
import type { TokenKey, TokenKeys } from "./token-keys.ts";

/** What the process that speaks with the device must know. The PIN is not in it: that process reads the file itself. */
export interface TokenSettings {
  /** Path of the PKCS#11 library. */
  readonly library: string;
  readonly token: TokenChoice;
  readonly pinFile: string;
  readonly prefix: string;
  readonly packagesFolder?: string | undefined;
}

/** What that process is asked. */
export type TokenRequest =
  | { readonly op: "open"; readonly settings: TokenSettings }
  | { readonly op: "list" }
  | {
      readonly op: "generate";
      readonly id: string;
      readonly type: TokenKey["type"];
      readonly order: MakingOrder;
    }
  | { readonly op: "destroy"; readonly id: string; readonly handle: string }
  | { readonly op: "exists"; readonly handle: string }
  | {
      readonly op: "sign";
      readonly key: Pick<TokenKey, "id" | "type" | "handle">;
      readonly digest: Uint8Array;
    };

/** What it answers to each. */
export interface TokenAnswers {
  readonly open: undefined;
  readonly list: Awaited<ReturnType<TokenKeys["list"]>>;
  readonly generate: Awaited<ReturnType<TokenKeys["generate"]>>;
  readonly destroy: undefined;
  readonly exists: boolean;
  readonly sign: Awaited<ReturnType<TokenKeys["sign"]>>;
}

/** A question on its way. */
export interface TokenQuestion {
  readonly number: number;
  readonly request: TokenRequest;
}

/** An answer on its way back, to the question of the same number. */
export type TokenReply =
  | { readonly number: number; readonly value: TokenAnswers[TokenRequest["op"]] }
  | { readonly number: number; readonly failure: TokenFailure };
