import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { nodeAttestorSuite } from "../../../../test/contract/node-attestor-suite.ts";
import { FakeClock } from "../../../../test/fakes/clock.ts";
import { AssayError } from "../../../errors/assay-error.ts";
import type { NodeAttestorHost } from "../../../plugin/node-attestor.ts";
import { parseTrustDomain } from "../../../spiffe/trust-domain.ts";
import { joinTokenAgent } from "./agent.ts";
import { joinToken } from "./server.ts";

const folder = mkdtempSync(join(tmpdir(), "join-"));
afterAll(() => rmSync(folder, { recursive: true }));

const log = { debug() {}, info() {}, warn() {}, error() {} };
const signal = new AbortController().signal;

/** A host that knows these tokens, each good for one use, and counts the attempts. */
function hostWith(...tokens: readonly string[]): NodeAttestorHost & { readonly asked: string[] } {
  const left = new Set(tokens);
  const asked: string[] = [];
  return {
    trustDomain: parseTrustDomain("example.org"),
    clock: new FakeClock(),
    log,
    asked,
    async consumeJoinToken(token) {
      asked.push(token);
      if (!left.delete(token)) throw new AssayError("JOIN_TOKEN_INVALID", "it was used at noon by somebody");
    },
  };
}

async function attest(host: NodeAttestorHost, payload: Uint8Array | string) {
  const attestor = await joinToken.create({}, host);
  const evidence = {
    payload: Buffer.from(payload),
    remoteAddress: "",
    challenge: () => expect.unreachable(),
  };
  return attestor.attest(evidence, signal);
}

nodeAttestorSuite({
  plugin: joinToken,
  host: () => hostWith("good-token"),
  config: () => ({}),
  evidence: async () => ({
    payload: Buffer.from("good-token"),
    remoteAddress: "",
    challenge: () => expect.unreachable(),
  }),
  challenges: false,
});

describe("join_token, the server's half", () => {
  it("names the agent by its token, gives no selectors and allows no second attestation", async () => {
    const host = hostWith("3a8d5c1e-0b1f-4f6e-9a51-0e5d9f1c2b3a");
    expect(await attest(host, "3a8d5c1e-0b1f-4f6e-9a51-0e5d9f1c2b3a")).toEqual({
      agentId: "spiffe://example.org/spire/agent/join_token/3a8d5c1e-0b1f-4f6e-9a51-0e5d9f1c2b3a",
      selectors: [],
      canReattest: false,
    });
  });

  it("accepts a token once among a hundred at the same time", async () => {
    const host = hostWith("t");
    const attempts = await Promise.allSettled(Array.from({ length: 100 }, () => attest(host, "t")));
    expect(attempts.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
  });

  it("has one text for unknown, used and malformed tokens", async () => {
    const host = hostWith("t");
    await attest(host, "t");
    for (const token of ["t", "unknown", "", "a/b", "a b", "..", "ü", "x".repeat(1025)]) {
      await expect(attest(host, token)).rejects.toThrowCode(
        "JOIN_TOKEN_INVALID",
        /^join token does not exist or has already been used$/,
      );
    }
  });

  it("uses up no token that could not become part of an agent's path", async () => {
    const legal = /^[A-Za-z0-9._-]$/;
    for (let byte = 0; byte < 256; byte++) {
      const host = hostWith();
      await expect(attest(host, Uint8Array.of(0x61, byte, 0x62))).rejects.toThrowCode("JOIN_TOKEN_INVALID");
      expect(host.asked.length).toBe(legal.test(String.fromCharCode(byte)) ? 1 : 0);
    }
    for (const token of [".", "..", "x".repeat(1025)]) {
      const host = hostWith(token);
      await expect(attest(host, token)).rejects.toThrowCode("JOIN_TOKEN_INVALID");
      expect(host.asked).toEqual([]);
    }
    expect((await attest(hostWith("x".repeat(1024)), "x".repeat(1024))).agentId).toMatch(/x{1024}$/);
  });

  it("never puts a refused token into the error", async () => {
    const error = await attest(hostWith(), "secret-token").catch((e: unknown) => e as AssayError);
    expect(JSON.stringify([error, (error as AssayError).detail])).not.toContain("secret-token");
  });

  it("passes on that the store cannot be asked", async () => {
    const host = {
      ...hostWith(),
      consumeJoinToken: () => Promise.reject(new AssayError("STORE_UNAVAILABLE", "full")),
    };
    await expect(attest(host, "t")).rejects.toThrowCode("STORE_UNAVAILABLE", "full");
  });
});

describe("join_token, the agent's half", () => {
  const host = hostWith();

  async function begin(config: unknown) {
    const result = await joinTokenAgent.config["~standard"].validate(config);
    if (result.issues !== undefined) throw new Error(result.issues.map(({ message }) => message).join("; "));
    const attestor = await joinTokenAgent.create(result.value, host);
    return attestor.begin(signal);
  }

  it("shows the token it was given", async () => {
    expect(Buffer.from((await begin({ token: "abc" })).payload).toString()).toBe("abc");
  });

  it("reads the token from a file at each attempt, without the white space around it", async () => {
    const token_file = join(folder, "token");
    writeFileSync(token_file, "  abc\r\n");
    expect(Buffer.from((await begin({ token_file })).payload).toString()).toBe("abc");
    writeFileSync(token_file, "def");
    expect(Buffer.from((await begin({ token_file })).payload).toString()).toBe("def");
  });

  it("names the file that is missing, empty or far too large", async () => {
    const missing = join(folder, "missing");
    await expect(begin({ token_file: missing })).rejects.toThrowCode("CONFIG_INVALID", missing);
    const empty = join(folder, "empty");
    writeFileSync(empty, "\n");
    await expect(begin({ token_file: empty })).rejects.toThrowCode("CONFIG_INVALID", `${empty} is empty`);
    const large = join(folder, "large");
    writeFileSync(large, "x".repeat(4097));
    await expect(begin({ token_file: large })).rejects.toThrowCode("CONFIG_INVALID", "larger than 4096");
  });

  it.each([
    [{}, /exactly one of token and token_file/],
    [{ token: "a", token_file: "b" }, /exactly one of token and token_file/],
    [{ token: "a", tokenfile: "b" }, /tokenfile/],
    [{ token: "" }, /./],
  ])("refuses the configuration %j", async (config, message) => {
    await expect(begin(config)).rejects.toThrow(message);
  });

  it("answers no challenge", async () => {
    const session = await begin({ token: "abc" });
    await expect(session.answer(Buffer.from("?"))).rejects.toThrowCode("ATTESTATION_FAILED", /challenge/);
  });

  it("honours a signal that is aborted already", async () => {
    const attestor = await joinTokenAgent.create({ token: "abc" }, host);
    const reason = new AssayError("CANCELLED", "stopping");
    await expect(attestor.begin(AbortSignal.abort(reason))).rejects.toBe(reason);
    await attestor[Symbol.asyncDispose]();
    await attestor[Symbol.asyncDispose]();
  });
});
