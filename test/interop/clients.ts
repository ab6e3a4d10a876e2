import { join } from "node:path";
import { type Outcome, Program, run } from "../e2e/program.ts";
import type { Issuer } from "./issuers.ts";
import { buildPeer, type Need, type Peer, placeForAll } from "./peers.ts";

/** A library of the field, behind a probe of ours that all libraries' probes are alike to. */
export interface Client {
  readonly library: string;
  readonly needs: readonly Need[];
  readonly peer: Peer;
  /** The first of the uids that its workloads run under; ten are its own. */
  readonly firstUid: number;
  /** The words that start its probe from the peer's folder. */
  readonly start: (folder: string) => readonly [string, ...string[]];
}

export const GO_SPIFFE: Client = {
  library: "go-spiffe v2.9.0",
  needs: ["go"],
  peer: "go-client",
  firstUid: 61_100,
  start: (folder) => [join(folder, "spiffe-probe")],
};

/** The libraries of four languages. */
export const CLIENTS: readonly Client[] = [
  GO_SPIFFE,
  {
    library: "py-spiffe 0.3.2",
    needs: ["python"],
    peer: "py-client",
    firstUid: 61_200,
    start: (folder) => [
      "/usr/bin/env",
      `PYTHONPATH=${join(folder, "lib")}`,
      "/usr/bin/python3",
      join(folder, "probe.py"),
    ],
  },
  {
    library: "java-spiffe 0.8.17",
    needs: ["java"],
    peer: "java-client",
    firstUid: 61_300,
    // For a quick start and little memory: a probe lives for seconds.
    start: (folder) => [
      "java",
      ..."-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xmx128m -Xshare:auto".split(" "),
      "-cp",
      `${join(folder, "jars")}/*`,
      "probe.Main",
    ],
  },
  {
    library: "the spiffe crate 0.19.0",
    needs: ["rust"],
    peer: "rust-client",
    firstUid: 61_400,
    start: (folder) => [join(folder, "spiffe-probe")],
  },
];

/** A client's probe, built and where every user may run it. */
export class Probe {
  readonly #issuer: Issuer;
  readonly #command: string;
  readonly #words: readonly string[];

  private constructor(issuer: Issuer, [command, ...words]: readonly [string, ...string[]]) {
    this.#issuer = issuer;
    this.#command = command;
    this.#words = words;
  }

  static async place(client: Client, issuer: Issuer): Promise<Probe> {
    return new Probe(issuer, client.start(await placeForAll(await buildPeer(client.peer), issuer.scratch)));
  }

  /** Runs a command of the probe to its end, as a user. */
  once(uid: number, ...args: readonly string[]): Promise<Outcome> {
    return run(this.#command, [...this.#words, ...args], this.#as(uid));
  }

  /** Starts a command of the probe that goes on until it is disposed, as a user. */
  start(uid: number, ...args: readonly string[]): Program {
    return Program.start(`probe of ${uid}`, this.#command, [...this.#words, ...args], this.#as(uid));
  }

  #as(uid: number) {
    return { uid, gid: uid, cwd: "/", env: { SPIFFE_ENDPOINT_SOCKET: this.#issuer.endpoint, HOME: "/" } };
  }
}

/** What the probes say, each line an object with its `event`. */
export interface X509Line {
  readonly event: "x509";
  readonly identities: readonly { readonly id: string; readonly serial: string }[];
  /** The ID that a source picks when nobody chooses. */
  readonly default: string;
  /** Trust domain → PEM of its authorities. */
  readonly bundles: Readonly<Record<string, string>>;
}

export interface JwtBundlesLine {
  readonly event: "jwtBundles";
  /** Trust domain → key IDs of its authorities. */
  readonly bundles: Readonly<Record<string, readonly string[]>>;
}

export interface JwtLine {
  readonly event: "jwt";
  readonly id: string;
  readonly audience: readonly string[];
  readonly validatedByApi: string;
  readonly validatedOffline: string;
  /** The error for an audience that the token was not made for, and for the token under another signature. */
  readonly foreignAudienceByApi: string;
  readonly foreignAudienceOffline: string;
  readonly alteredOffline: string;
}

/** A stream that broke, or a command that failed. */
export interface FaultLine {
  readonly event: "broken" | "error" | "refused";
  readonly stream?: "x509" | "jwtBundles";
  readonly code: string;
  readonly message: string;
}

export interface MtlsLine {
  readonly event: "listening" | "peer" | "refused";
  readonly address?: string;
  readonly own?: string;
  readonly peer?: string;
  readonly peerSerial?: string;
  readonly said?: string;
  readonly message?: string;
}
