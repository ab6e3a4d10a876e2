import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { FakeClock } from "../../../test/fakes/clock.ts";
import { LocalEndpoint } from "../../endpoint/local-endpoint.ts";
import { silentLog } from "../../observe/log.ts";
import { refuseHttp } from "./refuse-http.ts";

it.each([
  ["closes", false],
  ["leaves its half open", true],
])("a refused client that %s is answered, and its connection is not kept", async (_, allowHalfOpen) => {
  const folder = mkdtempSync(join(tmpdir(), "refuse-"));
  const path = join(folder, "s");
  const clock = new FakeClock();
  await using endpoint = new LocalEndpoint({
    path,
    mode: 0o600,
    clock,
    log: silentLog,
    onGrpc: () => undefined,
    onHttp: refuseHttp,
  });
  await endpoint.listen();
  const client = connect({ path, allowHalfOpen });
  let answer = "";
  client.on("data", (chunk) => (answer += chunk.toString()));
  client.write(`POST /metrics HTTP/1.1\r\n\r\n${"x".repeat(100_000)}`);
  await once(client, "end");
  for (let i = 0; i < 10; i++) await new Promise((resolve) => setImmediate(resolve));
  expect(answer).toMatch(/^HTTP\/1\.1 403 /);
  expect(endpoint.connections).toBe(0);
  client.destroy();
  rmSync(folder, { recursive: true });
});
