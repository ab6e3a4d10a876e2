import { randomInt } from "node:crypto";
import { type Clock, systemClock } from "../clock.ts";
import type { AssayError } from "../errors/assay-error.ts";
import { SpiffeWorkloadAPI } from "../proto/gen/spiffe/workload/workload_pb.ts";
import type { CallOptions } from "../rpc/client-call.ts";
import { RpcClient, type ServiceClient } from "../rpc/client.ts";
import type { RpcTarget } from "../rpc/client-target.ts";
import type { EndpointAddress } from "../spiffe/endpoint-address.ts";
import { locateEndpoint } from "./environment.ts";

/** What every source is opened with. Times are milliseconds. */
export interface WorkloadOptions {
  /** `unix:///absolute/path` or `tcp://IP:port`; taken from `SPIFFE_ENDPOINT_SOCKET` unless given. */
  readonly address?: string;
  /**
   * Told of everything that goes wrong and is tried again, discarded or survived. The detail holds no secret. Problems
   * are silent unless somebody listens here.
   */
  readonly onProblem?: (problem: AssayError) => void;
  /** Gives up waiting for the first answer. */
  readonly signal?: AbortSignal;
  /** How long to wait for the first answer: 60 s unless told, `Infinity` for ever. */
  readonly timeout?: number;
  /** The machine's clock unless given; tests bring their own. */
  readonly clock?: Clock;
  /** A number from 0 up to but not including 1, which spreads retries; fresh ones unless given. */
  readonly random?: () => number;
}

/** A connection to one Workload Endpoint, with everything that a source needs of its surroundings. */
export class WorkloadApi implements Disposable {
  readonly calls: ServiceClient<typeof SpiffeWorkloadAPI>;
  readonly clock: Clock;
  readonly random: () => number;
  readonly onProblem: (problem: AssayError) => void;
  readonly #client: RpcClient;

  /** Connects with the first call. @throws AssayError `CONFIG_INVALID` for an address that is none. */
  constructor(options: WorkloadOptions) {
    this.clock = options.clock ?? systemClock;
    this.random = options.random ?? freshNumber;
    this.onProblem = options.onProblem ?? (() => undefined);
    this.#client = new RpcClient({
      target: targetOf(locateEndpoint(options.address)),
      reconnect: { first: 100, longest: 2000 },
    });
    this.calls = this.#client.service(SpiffeWorkloadAPI);
  }

  /** What following a stream needs of its surroundings. */
  get surroundings(): Pick<WorkloadApi, "clock" | "random" | "onProblem"> {
    return { clock: this.clock, random: this.random, onProblem: this.onProblem };
  }

  /** What every call carries: the security header (Workload Endpoint §3). */
  callOptions(signal: AbortSignal, timeout?: number): CallOptions {
    return { headers: SECURITY_HEADER, signal, ...(timeout === undefined ? {} : { timeout }) };
  }

  /** Cancels what is under way and closes the connection. */
  [Symbol.dispose](): void {
    this.#client[Symbol.dispose]();
  }
}

function targetOf(address: EndpointAddress): RpcTarget {
  return address.scheme === "unix"
    ? { kind: "unix", path: address.path }
    : { kind: "tcp", host: address.host, port: address.port };
}

function freshNumber(): number {
  return randomInt(RANDOM_STEPS) / RANDOM_STEPS;
}

const SECURITY_HEADER = { "workload.spiffe.io": "true" } as const;
const RANDOM_STEPS = 2 ** 32;
