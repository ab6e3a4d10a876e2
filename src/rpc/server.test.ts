import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Client, Metadata, credentials as grpcCredentials } from "@grpc/grpc-js";
import { afterEach, describe, expect, it } from "vitest";
import { systemClock } from "../clock.ts";
import { AssayError } from "../errors/assay-error.ts";
import { Health } from "../proto/gen/grpc/health/v1/health_pb.ts";
import { SpiffeWorkloadAPI } from "../proto/gen/spiffe/workload/workload_pb.ts";
import { Agent } from "../proto/gen/spire/api/server/agent/v1/agent_pb.ts";
import type { CallContext } from "./call-context.ts";
import { RpcClient, type RpcClientOptions } from "./client.ts";
import { RpcServer } from "./server.ts";
import type { FinishedCall, RpcServerOptions } from "./server-options.ts";
import { RpcError } from "./status.ts";

interface Facts {
  readonly number: number;
}
type Context = CallContext<Facts, string>;

const cleanups: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

describe("RpcServer", () => {
  it("answers a unary call, at once or later, and tells who called", async () => {
    const { server, connect } = await listen();
    const seen: unknown[] = [];
    server.register(Agent, {
      countAgents: (request, context) => {
        seen.push(context.method, context.peer, context.caller, request.filter?.byAttestationType);
        return { count: 7 };
      },
      createJoinToken: async () => {
        await Promise.resolve();
        return { value: "t", expiresAt: 5n };
      },
    });
    const client = connect().service(Agent);
    expect((await client.countAgents({ filter: { byAttestationType: "join_token" } })).count).toBe(7);
    expect(seen).toEqual([
      "/spire.api.server.agent.v1.Agent/CountAgents",
      { number: 1 },
      "caller of 1",
      "join_token",
    ]);
    expect((await client.createJoinToken({})).expiresAt).toBe(5n);
  });

  it("tells two connections apart", async () => {
    const { server, connect } = await listen();
    server.register(Agent, { countAgents: (_request, { peer }) => ({ count: peer.number }) });
    const [first, second] = [connect().service(Agent), connect().service(Agent)];
    const counts = [await first.countAgents({}), await second.countAgents({}), await first.countAgents({})];
    expect(counts.map(({ count }) => count)).toEqual([1, 2, 1]);
    expect(server.connections).toBe(2);
  });

  it("streams the messages of a handler in order and ends with OK", async () => {
    const { server, connect } = await listen();
    server.register(SpiffeWorkloadAPI, {
      async *fetchX509Bundles() {
        for (let number = 0; number < 50; number++) yield bundles(number);
      },
    });
    const received: number[] = [];
    for await (const message of connect().service(SpiffeWorkloadAPI).fetchX509Bundles({})) {
      received.push(message.crl[0]?.[0] ?? -1);
    }
    expect(received).toEqual(Array.from({ length: 50 }, (_, index) => index));
  });

  it("holds a conversation and may end it before the client does", async () => {
    const { server, connect } = await listen();
    server.register(Agent, { attestAgent: challengeTwice });
    const call = connect().service(Agent).attestAgent();
    const responses = call[Symbol.asyncIterator]();
    await call.send({ step: { case: "params", value: {} } });
    expect((await responses.next()).value?.step.case).toBe("challenge");
    await call.send({ step: { case: "challengeResponse", value: Uint8Array.of(1) } });
    expect((await responses.next()).value?.step.case).toBe("challenge");
    await call.send({ step: { case: "challengeResponse", value: Uint8Array.of(2) } });
    const result = (await responses.next()).value?.step;
    expect(result).toMatchObject({ case: "result", value: { reattestable: true } });
    expect((await responses.next()).done).toBe(true);
    await closed(() => server.streams === 0);
  });

  it("fails the request iteration when the client goes away", async () => {
    const { server, connect } = await listen();
    const failed = deferred<unknown>();
    server.register(Agent, {
      async *attestAgent(requests) {
        try {
          for await (const _request of requests)
            yield { step: { case: "challenge", value: Uint8Array.of(1) } };
        } catch (error) {
          failed.resolve(error);
          throw error;
        }
      },
    });
    const call = connect().service(Agent).attestAgent();
    await call.send({ step: { case: "params", value: {} } });
    await call[Symbol.asyncIterator]().next();
    call.cancel();
    expect(await failed.promise).toMatchObject({ code: "CANCELLED" });
  });

  it("answers UNIMPLEMENTED for a method without handler and for an unknown service", async () => {
    const { server, connect } = await listen();
    server.register(Agent, { countAgents: () => ({}) });
    await expect(connect().service(Agent).getAgent({})).rejects.toThrowCode("UNIMPLEMENTED");
    await expect(connect().service(Health).check({})).rejects.toMatchObject({ status: "UNIMPLEMENTED" });
    await expect(connect().service(Health).watch({}).next()).rejects.toThrowCode("UNIMPLEMENTED");
  });

  it("refuses by its before hook, once, and tells the reason", async () => {
    const calls: FinishedCall<Facts>[] = [];
    const { server, connect } = await listen({
      before: async (context) => {
        await Promise.resolve();
        throw new AssayError("AGENT_BANNED", `authorization denied for method ${context.method}`);
      },
      onCall: (call) => calls.push(call),
    });
    let reached = 0;
    server.register(Agent, {
      countAgents: () => ({ count: ++reached }),
      attestAgent: (requests) => {
        reached++;
        return challengeTwice(requests);
      },
    });
    const client = connect().service(Agent);
    const denied = await client.countAgents({}).catch((error: unknown) => error);
    expect(denied).toBeInstanceOf(RpcError);
    expect(denied).toMatchObject({
      status: "PERMISSION_DENIED",
      code: "AGENT_BANNED",
      reason: "AGENT_BANNED",
      detail: "authorization denied for method /spire.api.server.agent.v1.Agent/CountAgents",
    });
    await expect(client.attestAgent()[Symbol.asyncIterator]().next()).rejects.toThrowCode("AGENT_BANNED");
    expect(reached).toBe(0);
    expect(calls.map(({ error }) => error?.code)).toEqual(["AGENT_BANNED", "AGENT_BANNED"]);
  });

  it("shows a caller nothing of an unforeseen error, and its owner all of it", async () => {
    const calls: FinishedCall<Facts>[] = [];
    const { server, connect } = await listen({ onCall: (call) => calls.push(call) });
    const secret = new Error("the password is hunter2");
    server.register(Agent, {
      countAgents: () => {
        throw secret;
      },
      async *attestAgent(requests) {
        yield* challengeTwice(requests);
        throw secret;
      },
    });
    const client = connect().service(Agent);
    const hidden = { status: "INTERNAL", detail: "an internal error happened" };
    await expect(client.countAgents({})).rejects.toMatchObject(hidden);
    const conversation = client.attestAgent();
    conversation.end();
    const responses = conversation[Symbol.asyncIterator]();
    expect((await responses.next()).value?.step.case).toBe("result");
    await expect(responses.next()).rejects.toMatchObject(hidden);
    expect(calls.map(({ error }) => error?.cause)).toEqual([secret, secret]);
  });

  it("treats an answer that cannot be written as an error of the handler", async () => {
    const { server, connect } = await listen();
    server.register(Agent, { countAgents: () => ({ count: 2 ** 40 }) });
    await expect(connect().service(Agent).countAgents({})).rejects.toMatchObject({ status: "INTERNAL" });
  });

  it("refuses bytes that are no such message without calling the handler", async () => {
    const { server, path } = await listen();
    let reached = 0;
    server.register(Agent, { countAgents: () => ({ count: ++reached }) });
    const raw = new Client(`unix:${path}`, grpcCredentials.createInsecure());
    cleanups.push(() => raw.close());
    const error = await new Promise<unknown>((resolve) => {
      raw.makeUnaryRequest(
        "/spire.api.server.agent.v1.Agent/CountAgents",
        (bytes: Buffer) => bytes,
        (bytes: Buffer) => bytes,
        Buffer.from([0x0a, 0xff]),
        new Metadata(),
        (failure) => resolve(failure),
      );
    });
    expect(error).toMatchObject({
      code: 3,
      details: expect.stringContaining("CountAgentsRequest") as string,
    });
    expect(reached).toBe(0);
  });

  it("refuses a message above its limit with RESOURCE_EXHAUSTED", async () => {
    const { server, connect } = await listen({ maxReceiveMessageSize: 1000 });
    server.register(Agent, { countAgents: () => ({ count: 1 }) });
    const client = connect().service(Agent);
    const filter = (length: number) => ({ filter: { byAttestationType: "x".repeat(length) } });
    expect((await client.countAgents(filter(900))).count).toBe(1);
    await expect(client.countAgents(filter(1100))).rejects.toMatchObject({ status: "RESOURCE_EXHAUSTED" });
  });

  it("gives the text of a metadata key, so that one value cannot be mistaken for two", async () => {
    const { server, path } = await listen();
    const seen: unknown[] = [];
    server.register(Agent, {
      countAgents: (_request, context) => {
        seen.push(context.header("workload.spiffe.io"));
        return {};
      },
    });
    const raw = new Client(`unix:${path}`, grpcCredentials.createInsecure());
    cleanups.push(() => raw.close());
    for (const values of [[], ["true"], ["true", "true"], ["true,true"]]) {
      const metadata = new Metadata();
      for (const value of values) metadata.add("workload.spiffe.io", value);
      await new Promise<void>((resolve) => {
        raw.makeUnaryRequest(
          "/spire.api.server.agent.v1.Agent/CountAgents",
          (bytes: Buffer) => bytes,
          (bytes: Buffer) => bytes,
          Buffer.alloc(0),
          metadata,
          () => resolve(),
        );
      });
    }
    expect(seen.slice(0, 2)).toEqual([undefined, "true"]);
    expect(seen.slice(2)).toEqual([expect.stringMatching(/^true, ?true$/), "true,true"]);
  });

  it("aborts the signal of a call whose client cancelled it", async () => {
    const { server, connect } = await listen();
    const started = deferred<void>();
    const aborted = deferred<unknown>();
    server.register(Agent, {
      countAgents: async (_request, context) => {
        started.resolve();
        aborted.resolve(await abortOf(context));
        return {};
      },
    });
    const controller = new AbortController();
    const call = connect().service(Agent).countAgents({}, { signal: controller.signal });
    await started.promise;
    controller.abort();
    await expect(call).rejects.toThrowCode("CANCELLED");
    expect(await aborted.promise).toMatchObject({ code: "CANCELLED" });
  });

  it("ends a call at its deadline and aborts its signal", async () => {
    const calls: FinishedCall<Facts>[] = [];
    const { server, connect } = await listen({ onCall: (call) => calls.push(call) });
    const aborted = deferred<unknown>();
    let deadline: number | undefined;
    server.register(SpiffeWorkloadAPI, {
      async *fetchX509Bundles(_request, context) {
        deadline = context.deadline;
        yield bundles(1);
        aborted.resolve(await abortOf(context));
      },
    });
    const before = systemClock.now();
    const stream = connect().service(SpiffeWorkloadAPI).fetchX509Bundles({}, { timeout: 150 });
    expect((await stream.next()).done).toBe(false);
    await expect(stream.next()).rejects.toThrowCode("DEADLINE_EXCEEDED");
    expect(await aborted.promise).toMatchObject({ code: "DEADLINE_EXCEEDED" });
    expect(deadline).toBeGreaterThan(before);
    expect(deadline).toBeLessThan(before + 1000);
    expect(calls.map(({ error }) => error?.code)).toEqual(["DEADLINE_EXCEEDED"]);
  });

  it("does not abort the signal of a call that was answered", async () => {
    const { server, connect } = await listen();
    let signal: AbortSignal | undefined;
    server.register(Agent, {
      countAgents: (_request, context) => {
        signal = context.signal;
        return {};
      },
    });
    const client = connect().service(Agent);
    await client.countAgents({});
    await client.countAgents({});
    expect(signal?.aborted).toBe(false);
  });

  it("lets a handler's finally run when its reader goes away", async () => {
    const { server, connect } = await listen();
    const tidied = deferred<void>();
    server.register(SpiffeWorkloadAPI, {
      async *fetchX509Bundles(_request, context) {
        try {
          for (let number = 0; ; number++) {
            yield bundles(number);
            if (number === 3) await abortOf(context);
          }
        } finally {
          tidied.resolve();
        }
      },
    });
    for await (const message of connect().service(SpiffeWorkloadAPI).fetchX509Bundles({})) {
      if (message.crl[0]?.[0] === 2) break;
    }
    await tidied.promise;
    await closed(() => server.streams === 0);
  });

  it("stops asking a handler for messages while its reader does not read", async () => {
    const { server, path } = await listen();
    let produced = 0;
    server.register(SpiffeWorkloadAPI, {
      async *fetchX509Bundles() {
        for (;;) {
          produced++;
          yield { crl: [new Uint8Array(64 * 1024)] };
        }
      },
    });
    const raw = new Client(`unix:${path}`, grpcCredentials.createInsecure());
    cleanups.push(() => raw.close());
    const call = raw.makeServerStreamRequest(
      "/SpiffeWorkloadAPI/FetchX509Bundles",
      (bytes: Buffer) => bytes,
      (bytes: Buffer) => bytes,
      Buffer.alloc(0),
    );
    call.on("error", () => undefined);
    call.once("readable", () => undefined);
    await settled(() => produced);
    const paused = produced;
    expect(paused).toBeLessThan(80);
    // Reading lets it go on, so it was the reader that stopped it.
    for (let index = 0; index < 100; index++) {
      while (call.read() === null) await once(call, "readable");
    }
    expect(produced).toBeGreaterThan(paused);
    call.cancel();
    await closed(() => server.streams === 0);
  });

  it("limits the header block", async () => {
    const { server, connect } = await listen();
    server.register(Agent, { countAgents: () => ({}) });
    const client = connect().service(Agent);
    await client.countAgents({}, { headers: { big: "x".repeat(10_000) } });
    await expect(client.countAgents({}, { headers: { big: "x".repeat(100_000) } })).rejects.toBeInstanceOf(
      RpcError,
    );
  });

  describe("shutdown", () => {
    it("ends open streams with UNAVAILABLE, lets other calls finish and refuses new connections", async () => {
      const { server, connect } = await listen();
      const unaryStarted = deferred<void>();
      const answer = deferred<{ count: number }>();
      const aborted = deferred<unknown>();
      server.register(Agent, {
        countAgents: () => {
          unaryStarted.resolve();
          return answer.promise;
        },
        attestAgent: challengeTwice,
      });
      server.register(SpiffeWorkloadAPI, {
        async *fetchX509Bundles(_request, context) {
          yield bundles(1);
          aborted.resolve(await abortOf(context));
          // Ending normally must not turn into OK.
        },
      });
      const client = connect();
      const unary = client.service(Agent).countAgents({});
      await unaryStarted.promise;
      const stream = client.service(SpiffeWorkloadAPI).fetchX509Bundles({});
      await stream.next();
      const conversation = client.service(Agent).attestAgent();
      const responses = conversation[Symbol.asyncIterator]();
      await conversation.send({ step: { case: "params", value: {} } });
      await responses.next();

      const done = server.shutdown(5000);
      const gone = { status: "UNAVAILABLE", detail: "shutting down" };
      await expect(stream.next()).rejects.toMatchObject(gone);
      await expect(responses.next()).rejects.toMatchObject(gone);
      expect(await aborted.promise).toMatchObject({ code: "SHUTTING_DOWN" });
      answer.resolve({ count: 3 });
      expect((await unary).count).toBe(3);
      await done;
      expect(server.connections).toBe(0);
      await expect(connect().service(Agent).countAgents({})).rejects.toMatchObject({ status: "UNAVAILABLE" });
      await server.shutdown(1);
    });

    it("cuts off what is left after the grace", async () => {
      const { server, connect } = await listen();
      const started = deferred<void>();
      server.register(Agent, {
        countAgents: () => {
          started.resolve();
          return new Promise(() => undefined);
        },
      });
      const call = connect().service(Agent).countAgents({});
      call.catch(() => undefined);
      await started.promise;
      await server.shutdown(50);
      await expect(call).rejects.toMatchObject({ status: "UNAVAILABLE" });
    });
  });
});

async function listen(options: Partial<RpcServerOptions<Facts, string>> = {}): Promise<{
  server: RpcServer<Facts, string>;
  path: string;
  connect(more?: Partial<RpcClientOptions>): RpcClient;
}> {
  const server = new RpcServer<Facts, string>({
    clock: systemClock,
    before: ({ peer }) => `caller of ${peer.number}`,
    ...options,
  });
  const folder = mkdtempSync(join(tmpdir(), "assay-rpc-"));
  const path = join(folder, "s");
  let number = 0;
  const listener = net.createServer((socket) => server.injectConnection(socket, { number: ++number }));
  listener.listen({ path });
  await once(listener, "listening");
  cleanups.push(async () => {
    listener.close();
    await server.shutdown(0);
    rmSync(folder, { recursive: true });
  });
  return {
    server,
    path,
    connect(more) {
      const client = new RpcClient({ target: { kind: "unix", path }, ...more });
      cleanups.push(() => client[Symbol.dispose]());
      return client;
    },
  };
}

async function* challengeTwice(requests: AsyncIterable<unknown>) {
  let count = 0;
  for await (const _request of requests) {
    if (++count === 3) break;
    yield { step: { case: "challenge" as const, value: Uint8Array.of(count) } };
  }
  yield { step: { case: "result" as const, value: { reattestable: true } } };
}

function bundles(number: number) {
  return { crl: [Uint8Array.of(number)] };
}

function abortOf({ signal }: Context): Promise<unknown> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve(signal.reason);
    else signal.addEventListener("abort", () => resolve(signal.reason));
  });
}

function deferred<T>() {
  return Promise.withResolvers<T>();
}

/** Waits until something has come true; the test's own time limit says no. */
async function closed(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setImmediate(resolve));
}

/** Waits until a number has not changed for 100 ms. */
async function settled(read: () => number): Promise<void> {
  for (let last = -1; last !== read(); ) {
    last = read();
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
