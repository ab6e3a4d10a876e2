import type { SpiffeId } from "../spiffe/id.ts";

/** Who asks: what the transport proved about the other end, before anybody decides what it may do. */
export interface Caller {
  /** Network address without port; empty on a Unix socket. */
  readonly address: string;
  /** The process, where the kernel named it. */
  readonly process?: CallerProcess;
  /** The X509-SVID the caller proved possession of, verified against the bundle of its trust domain. */
  readonly svid?: CallerSvid;
}

/** A process as the kernel names it. */
export interface CallerProcess {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
  /** Executable, where it could be read. */
  readonly path?: string;
}

/** A verified client SVID. */
export interface CallerSvid {
  readonly spiffeId: SpiffeId;
  /** Lower-case hex. */
  readonly serial: string;
  /** Unix seconds. */
  readonly notAfter: number;
}

/** A caller that is the current, unbanned agent of an attested node. */
export interface AgentCaller extends Caller {
  readonly svid: CallerSvid;
}
