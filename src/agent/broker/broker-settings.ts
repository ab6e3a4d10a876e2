import type { EndpointAddress } from "../../spiffe/endpoint-address.ts";
import type { SpiffeId } from "../../spiffe/id.ts";

/** What the operator says about brokers. */
export interface BrokerSettings {
  /** Where the Broker Endpoint is. */
  readonly addresses: readonly EndpointAddress[];
  /** Permission bits of its Unix sockets. */
  readonly socketMode: number;
  /** Who may call; nobody else may. */
  readonly brokers: readonly BrokerAllowance[];
}

/** What one broker may do. */
export interface BrokerAllowance {
  readonly id: SpiffeId;
  /** The ways in which it may name workloads; there is no other. */
  readonly references: readonly ReferenceAllowance[];
}

/** One way of naming workloads. */
export interface ReferenceAllowance {
  readonly type: ReferenceType;
  /** Whether it may be used over TCP too, where the broker may be on another machine. */
  readonly allowOverTcp: boolean;
}

/** How workloads can be named: by the process on this node, or by an object of a Kubernetes cluster. */
export const REFERENCE_TYPES = ["workload_pid", "kubernetes_object"] as const;
export type ReferenceType = (typeof REFERENCE_TYPES)[number];
