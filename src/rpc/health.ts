import type { MessageInitShape } from "@bufbuild/protobuf";
import { AssayError } from "../errors/assay-error.ts";
import {
  type Health,
  HealthCheckResponse_ServingStatus as ServingStatus,
  type HealthCheckResponseSchema,
} from "../proto/gen/grpc/health/v1/health_pb.ts";
import type { CallContext } from "./call-context.ts";
import type { ServiceHandlers } from "./handlers.ts";

/** Whether a service can do its work now. */
export type HealthState = "serving" | "not_serving" | "unknown";

/**
 * The state behind `grpc.health.v1.Health`: a function by full service name, the empty name being the server as a
 * whole. Whoever changes what such a function says calls {@link HealthBoard.changed}.
 */
export class HealthBoard {
  readonly #services: ReadonlyMap<string, () => HealthState>;
  readonly #watchers = new Set<() => void>();

  constructor(services: Readonly<Record<string, () => HealthState>>) {
    this.#services = new Map(Object.entries(services));
  }

  /** How many watches are open. */
  get watchers(): number {
    return this.#watchers.size;
  }

  /** Tells the open watches to look again. */
  changed(): void {
    for (const wake of this.#watchers) wake();
  }

  /** The handlers to register. */
  handlers<Peer, Caller>(): Required<ServiceHandlers<typeof Health, CallContext<Peer, Caller>>> {
    return {
      check: ({ service }) => {
        const status = this.#status(service);
        if (status === undefined) throw new AssayError("NOT_FOUND", "service is not known");
        return { status };
      },
      list: () => {
        const statuses: Record<string, MessageInitShape<typeof HealthCheckResponseSchema>> = {};
        for (const name of this.#services.keys()) {
          statuses[name] = { status: this.#status(name) ?? ServingStatus.UNKNOWN };
        }
        return { statuses };
      },
      watch: ({ service }, context) => this.#watch(service, context.signal),
    };
  }

  async *#watch(service: string, signal: AbortSignal) {
    let last: ServingStatus | undefined;
    let wake: () => void = ignore;
    const awaken = (): void => wake();
    this.#watchers.add(awaken);
    signal.addEventListener("abort", awaken);
    try {
      while (!signal.aborted) {
        const changed = new Promise<void>((resolve) => {
          wake = resolve;
        });
        const status = this.#status(service) ?? ServingStatus.SERVICE_UNKNOWN;
        if (status !== last) {
          last = status;
          yield { status };
          // It may have changed while the message was on its way.
          continue;
        }
        await changed;
      }
      throw signal.reason;
    } finally {
      this.#watchers.delete(awaken);
      signal.removeEventListener("abort", awaken);
    }
  }

  #status(service: string): ServingStatus | undefined {
    const state = this.#services.get(service);
    return state === undefined ? undefined : STATUS[state()];
  }
}

function ignore(): void {
  // Nobody waits yet.
}

const STATUS: Readonly<Record<HealthState, ServingStatus>> = {
  serving: ServingStatus.SERVING,
  not_serving: ServingStatus.NOT_SERVING,
  unknown: ServingStatus.UNKNOWN,
};
