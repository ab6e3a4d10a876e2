import { inspect } from "node:util";
import { describe, expect, it } from "vitest";
import { FakeClock } from "../../test/fakes/clock.ts";
import { AssayError } from "../errors/assay-error.ts";
import type { LoggedError } from "./log-error.ts";
import { createLog, type LogLevel } from "./log.ts";
import { Secret } from "./secret.ts";

describe("log", () => {
  it("writes one JSON object a line with time, level, message and fields", () => {
    const { log, lines } = logTo("info");
    log.info("agent attested", { spiffe_id: "spiffe://example.org/a", pid: 7 });
    expect(lines).toEqual([
      `{"level":"info","time":"2026-11-22T12:00:00.000Z","program":"server","spiffe_id":"spiffe://example.org/a","pid":7,"msg":"agent attested"}\n`,
    ]);
  });

  it("drops lines below its level and follows a change in children made before", () => {
    const { log, lines } = logTo("warn");
    const child = log.child({ subsystem_name: "signing" });
    child.info("not seen");
    expect(child.isEnabled("info")).toBe(false);
    log.setLevel("debug");
    child.debug("seen");
    expect(log.getLevel()).toBe("debug");
    expect(log.launchLevel).toBe("warn");
    expect(lines.map((line): unknown => JSON.parse(line))).toMatchObject([
      { msg: "seen", subsystem_name: "signing" },
    ]);
  });

  it("writes nothing at the level fatal", () => {
    const { log, lines } = logTo("fatal");
    log.error("not seen");
    expect(lines).toEqual([]);
  });

  it("shows an error with code and cause, and a stack only for a bug", () => {
    const { log, lines } = logTo("info");
    log.error("failed", {
      error: new AssayError("STORE_UNAVAILABLE", "disk is full", { cause: new Error("ENOSPC") }),
    });
    const { error } = JSON.parse(lines[0] ?? "") as { error: LoggedError };
    expect(error).toMatchObject({
      code: "STORE_UNAVAILABLE",
      message: "disk is full",
      cause: { message: "ENOSPC" },
    });
    expect(error.stack).toBeUndefined();
    expect(error.cause?.stack).toContain("log.test.ts");
  });

  it.each([
    ["a join token by its key", { join_token: "4a1f9d0c" }, "4a1f9d0c"],
    ["a nested authorization header", { headers: { Authorization: "Bearer hunter2" } }, "hunter2"],
    ["a JWT-SVID under an innocent key", { detail: `got ${JWT_SVID}` }, JWT_SVID],
    ["a PEM private key in a list", { files: ["-----BEGIN PRIVATE KEY-----\nMIGH"] }, "MIGH"],
    ["bytes", { payload: Buffer.from("hunter2") }, "hunter2"],
    ["a Secret", { value: new Secret("hunter2") }, "hunter2"],
    ["a JWT-SVID in an error", { error: new Error(JWT_SVID) }, JWT_SVID],
  ])("never shows %s", (_, fields, secret) => {
    const { log, lines } = logTo("info");
    log.info("said", fields);
    log.child(fields).info("said by a child");
    expect(lines).toHaveLength(2);
    expect(lines.join("")).not.toContain(secret);
  });

  it("keeps ordinary fields as they are", () => {
    const { log, lines } = logTo("info");
    log.info("said", {
      selectors: ["unix:uid:1000"],
      key_type: "ec-p256",
      count: 3,
      nested: { a: [1, null] },
    });
    expect(JSON.parse(lines[0] ?? "")).toMatchObject({
      selectors: ["unix:uid:1000"],
      key_type: "ec-p256",
      count: 3,
      nested: { a: [1, null] },
    });
  });

  it("survives values that refer to themselves", () => {
    const { log, lines } = logTo("info");
    const loop: Record<string, unknown> = {};
    loop["self"] = loop;
    log.info("said", loop);
    expect(lines[0]).toContain("[too deep]");
  });

  it("writes a readable line in the pretty format", () => {
    const { log, lines } = logTo("info", "pretty");
    log.warn("agent is banned", { spiffe_id: "spiffe://example.org/a", detail: "by the operator" });
    expect(lines).toEqual([
      `12:00:00.000 WARN  agent is banned program=server spiffe_id=spiffe://example.org/a detail="by the operator"\n`,
    ]);
  });
});

describe("Secret", () => {
  it("shows itself only when asked to reveal", () => {
    const secret = new Secret("hunter2");
    expect(`${String(secret)} ${JSON.stringify({ secret })} ${inspect(secret)}`).not.toContain("hunter2");
    expect(secret.reveal()).toBe("hunter2");
  });
});

const JWT_SVID = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJzcGlmZmU6Ly9lIn0.c2lnbmF0dXJl";

function logTo(level: LogLevel, format: "json" | "pretty" = "json") {
  const lines: string[] = [];
  const destination = { write: (line: string) => void lines.push(line) };
  const log = createLog({
    level,
    format,
    clock: new FakeClock(),
    fields: { program: "server" },
    destination,
  });
  return { log, lines };
}
