import type { MessageInitShape } from "@bufbuild/protobuf";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { type AddressInfo, createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../src/clock.ts";
import { AssayError } from "../../src/errors/assay-error.ts";
import { SpiffeWorkloadAPI } from "../../src/proto/gen/spiffe/workload/workload_pb.ts";
import { RpcServer } from "../../src/rpc/server.ts";

type Methods = typeof SpiffeWorkloadAPI.method;
type MethodName = keyof Methods;
type Answer<Name extends MethodName> = MessageInitShape<Methods[Name]["output"]>;

/** A call that reached the fake. */
export interface RecordedCall {
  readonly method: MethodName;
  /** The security header, as it came. */
  readonly header: string | undefined;
  readonly request: unknown;
}

type Step = { readonly message: unknown } | { readonly error: AssayError } | "end";

/** One method's behaviour: what each new call begins with, and the streams that are open. */
class Line {
  opening: Step | undefined;
  readonly open = new Set<(step: Step) => void>();

  say(step: Step): void {
    for (const hear of this.open) hear(step);
  }

  async *stream(signal: AbortSignal): AsyncGenerator<unknown, void, undefined> {
    const steps: Step[] = this.opening === undefined ? [] : [this.opening];
    let wake = (): void => undefined;
    const hear = (step: Step): void => {
      steps.push(step);
      wake();
    };
    this.open.add(hear);
    const stop = (): void => wake();
    signal.addEventListener("abort", stop);
    try {
      while (!signal.aborted) {
        const step = steps.shift();
        if (step === undefined) {
          const { promise, resolve } = Promise.withResolvers<void>();
          wake = resolve;
          if (steps.length === 0 && !signal.aborted) await promise;
        } else if (step === "end") return;
        else if ("error" in step) throw step.error;
        else yield step.message;
      }
    } finally {
      this.open.delete(hear);
    }
  }
}

/**
 * A Workload API that says what a test wants it to, right or wrong, over a real socket: a client is tested from outside.
 */
export class FakeWorkloadEndpoint implements AsyncDisposable {
  readonly calls: RecordedCall[] = [];
  readonly #lines = new Map<MethodName, Line>();
  readonly #folder: string;
  #server: Server | undefined;
  #rpc: RpcServer<undefined> | undefined;

  private constructor(folder: string) {
    this.#folder = folder;
  }

  /** Opens one on a Unix socket in a folder of its own. */
  static async open(): Promise<FakeWorkloadEndpoint> {
    const fake = new FakeWorkloadEndpoint(await mkdtemp(join(tmpdir(), "assay-fake-")));
    await fake.start();
    return fake;
  }

  /** What a client connects to. */
  get address(): string {
    return `unix://${this.#path}`;
  }

  /** Listens, again after a {@link stop}. */
  async start(): Promise<void> {
    await this.#listen({ path: this.#path });
  }

  /** Listens on a port of the loopback besides, and gives the address. */
  async startTcp(host: "127.0.0.1" | "::1"): Promise<string> {
    const server = this.#makeServer();
    server.listen({ host, port: 0 });
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    return `tcp://${host.includes(":") ? `[${host}]` : host}:${port}`;
  }

  /** Every new call, and every open stream, gets this message. */
  send<Name extends MethodName>(method: Name, message: Answer<Name>): void {
    this.#line(method).opening = { message };
    this.#line(method).say({ message });
  }

  /** Every new call, and every open stream, fails with this. */
  fail(method: MethodName, error: AssayError): void {
    this.#line(method).opening = { error };
    this.#line(method).say({ error });
  }

  /** Ends the streams that are open: with an error, or with OK, which no endpoint should do. New ones are as before. */
  end(method: MethodName, error?: AssayError): void {
    this.#line(method).say(error === undefined ? "end" : { error });
  }

  /** How many streams of the method are open now. */
  streams(method: MethodName): number {
    return this.#line(method).open.size;
  }

  /** How many calls of the method there have been. */
  count(method: MethodName): number {
    return this.calls.filter((call) => call.method === method).length;
  }

  /** Breaks every connection and listens no more. */
  async stop(): Promise<void> {
    const server = this.#server;
    server?.close();
    await this.#rpc?.shutdown(0);
    this.#server = undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    for (const server of this.#more) server.close();
    await rm(this.#folder, { recursive: true, force: true });
  }

  readonly #more: Server[] = [];

  get #path(): string {
    return join(this.#folder, "agent.sock");
  }

  async #listen(where: { readonly path: string }): Promise<void> {
    await rm(where.path, { force: true });
    this.#rpc = this.#serve();
    this.#server = this.#makeServer();
    this.#server.listen(where);
    await once(this.#server, "listening");
  }

  #makeServer(): Server {
    const server = createServer((socket) => this.#rpc?.injectConnection(socket, undefined));
    this.#more.push(server);
    return server;
  }

  #line(method: MethodName): Line {
    let line = this.#lines.get(method);
    if (line === undefined) {
      line = new Line();
      this.#lines.set(method, line);
    }
    return line;
  }

  #serve(): RpcServer<undefined> {
    const rpc = new RpcServer<undefined>({ clock: systemClock, before: () => undefined });
    const streamOf =
      <Name extends MethodName>(method: Name) =>
      (
        request: unknown,
        context: { readonly signal: AbortSignal; header(name: string): string | undefined },
      ) => {
        this.calls.push({ method, request, header: context.header("workload.spiffe.io") });
        return this.#line(method).stream(context.signal) as AsyncGenerator<Answer<Name>>;
      };
    const answerOf =
      <Name extends MethodName>(method: Name) =>
      async (
        request: unknown,
        context: { readonly signal: AbortSignal; header(name: string): string | undefined },
      ): Promise<Answer<Name>> => {
        for await (const message of streamOf(method)(request, context)) return message;
        throw new AssayError("CANCELLED", "the call was cancelled");
      };
    rpc.register(SpiffeWorkloadAPI, {
      fetchX509SVID: streamOf("fetchX509SVID"),
      fetchX509Bundles: streamOf("fetchX509Bundles"),
      fetchJWTSVID: answerOf("fetchJWTSVID"),
      fetchJWTBundles: streamOf("fetchJWTBundles"),
      validateJWTSVID: answerOf("validateJWTSVID"),
      fetchWITSVID: streamOf("fetchWITSVID"),
      fetchWITBundles: streamOf("fetchWITBundles"),
    });
    return rpc;
  }
}

/** What ends a call with the gRPC status of this name, as Workload APIs use them. */
export const REFUSALS = {
  INVALID_ARGUMENT: new AssayError("INVALID_REQUEST", "security header missing from request"),
  UNIMPLEMENTED: new AssayError("UNIMPLEMENTED", "not here"),
  PERMISSION_DENIED: new AssayError("NO_IDENTITY_ISSUED", "no identity issued"),
  UNAVAILABLE: new AssayError("NOT_READY", "not ready yet"),
} as const;
