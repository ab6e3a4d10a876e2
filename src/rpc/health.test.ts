import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { systemClock } from "../clock.ts";
import {
  Health,
  HealthCheckResponse_ServingStatus as ServingStatus,
} from "../proto/gen/grpc/health/v1/health_pb.ts";
import { RpcClient, type ServiceClient } from "./client.ts";
import { HealthBoard, type HealthState } from "./health.ts";
import { RpcServer } from "./server.ts";

describe("HealthBoard", () => {
  let state: HealthState;
  let board: HealthBoard;
  let server: RpcServer<null>;
  let health: ServiceClient<typeof Health>;
  let stop: () => Promise<void>;

  beforeEach(async () => {
    state = "not_serving";
    board = new HealthBoard({ "": () => state, "a.B": () => "serving" });
    server = new RpcServer<null>({ clock: systemClock, before: () => undefined });
    server.register(Health, board.handlers());
    const folder = mkdtempSync(join(tmpdir(), "assay-health-"));
    const listener = net.createServer((socket) => server.injectConnection(socket, null));
    listener.listen({ path: join(folder, "s") });
    await once(listener, "listening");
    const client = new RpcClient({ target: { kind: "unix", path: join(folder, "s") } });
    health = client.service(Health);
    stop = async () => {
      client[Symbol.dispose]();
      listener.close();
      await server.shutdown(0);
      rmSync(folder, { recursive: true });
    };
  });
  afterEach(() => stop());

  it("answers Check with the state of now", async () => {
    expect((await health.check({})).status).toBe(ServingStatus.NOT_SERVING);
    state = "serving";
    expect((await health.check({})).status).toBe(ServingStatus.SERVING);
    expect((await health.check({ service: "a.B" })).status).toBe(ServingStatus.SERVING);
  });

  it("answers Check of an unknown service with NOT_FOUND", async () => {
    await expect(health.check({ service: "toString" })).rejects.toThrowCode("NOT_FOUND");
  });

  it("lists every service", async () => {
    const { statuses } = await health.list({});
    expect(Object.keys(statuses).toSorted()).toEqual(["", "a.B"]);
    expect(statuses[""]?.status).toBe(ServingStatus.NOT_SERVING);
  });

  it("tells a watch the state and each change, and nothing without a change", async () => {
    const watch = health.watch({});
    expect((await watch.next()).value?.status).toBe(ServingStatus.NOT_SERVING);
    board.changed();
    state = "serving";
    board.changed();
    expect((await watch.next()).value?.status).toBe(ServingStatus.SERVING);
    state = "unknown";
    board.changed();
    expect((await watch.next()).value?.status).toBe(ServingStatus.UNKNOWN);
    await watch.return();
    while (board.watchers > 0) await new Promise((resolve) => setImmediate(resolve));
  });

  it("keeps a watch of an unknown service open", async () => {
    const watch = health.watch({ service: "nobody" });
    expect((await watch.next()).value?.status).toBe(ServingStatus.SERVICE_UNKNOWN);
    expect(board.watchers).toBe(1);
    await server.shutdown(1000);
    await expect(watch.next()).rejects.toMatchObject({ status: "UNAVAILABLE", detail: "shutting down" });
    expect(board.watchers).toBe(0);
  });
});
