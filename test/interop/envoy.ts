import { chown, mkdir, readFile, writeFile } from "node:fs/promises";
import { request } from "node:http";
import { join } from "node:path";
import { parse } from "yaml";
import { Program } from "../e2e/program.ts";
import type { Scratch } from "../e2e/scratch.ts";

/** A piece of Envoy's configuration. */
export interface Piece {
  readonly [key: string]: unknown;
}

/** The configuration that `docs/envoy.md` shows, piece by piece. */
export interface Snippets {
  readonly cluster: Piece;
  readonly downstream: Piece;
  readonly upstream: Piece;
}

/** Which of Envoy's two protocols for secrets is spoken. */
export type Protocol = "GRPC" | "DELTA_GRPC";

/** Reads the snippets of the page, for an agent's socket. */
export async function readSnippets(protocol: Protocol, socket: string): Promise<Snippets> {
  const page = await readFile(join(import.meta.dirname, "..", "..", "docs", "envoy.md"), "utf8");
  const named = (name: string): Piece => {
    const [, yaml] = new RegExp(`\`\`\`yaml name=${name}\\n([^]*?)\`\`\``).exec(page) ?? [];
    if (yaml === undefined) throw new Error(`docs/envoy.md has no snippet ${name}`);
    return parse(yaml) as Piece;
  };
  const delta = named("delta");
  const adapted = (piece: Piece) =>
    changed(piece, (key, value) => {
      if (key === "sds_config" && protocol === "DELTA_GRPC") return delta;
      return key === "pipe" ? { path: socket } : value;
    });
  return {
    cluster: adapted(named("cluster")),
    downstream: adapted(named("downstream")),
    upstream: adapted(named("upstream")),
  };
}

/** A copy of a piece in which `change` may replace each value, the outer ones first. */
export function changed(piece: Piece, change: (key: string, value: unknown) => unknown): Piece {
  const copy = (key: string, value: unknown): unknown => {
    const next = change(key, value);
    if (Array.isArray(next)) return next.map((item) => copy("", item));
    if (typeof next !== "object" || next === null) return next;
    return Object.fromEntries(Object.entries(next).map(([name, inner]) => [name, copy(name, inner)]));
  };
  return copy("", piece) as Piece;
}

/** The snippet with other peers allowed, and bundles under another name. */
export function expecting(
  piece: Piece,
  ids: readonly string[],
  { bundles = "ROOTCA" }: { readonly bundles?: string } = {},
): Piece {
  return changed(piece, (key, value) => {
    if (key === "match_typed_subject_alt_names") {
      return ids.map((exact) => ({ san_type: "URI", matcher: { exact } }));
    }
    return key === "name" && value === "ROOTCA" ? bundles : value;
  });
}

/** A listener on a port of loopback that Envoy chooses, which forwards HTTP to a cluster and tells it who called. */
export function httpListener(name: string, cluster: string, transportSocket?: Piece): Piece {
  return {
    name,
    address: { socket_address: { address: "127.0.0.1", port_value: 0 } },
    filter_chains: [
      {
        ...(transportSocket === undefined ? {} : { transport_socket: transportSocket }),
        filters: [
          {
            name: "envoy.filters.network.http_connection_manager",
            typed_config: {
              "@type":
                "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
              stat_prefix: name,
              forward_client_cert_details: "SANITIZE_SET",
              set_current_client_cert_details: { uri: true },
              route_config: {
                virtual_hosts: [
                  { name: "all", domains: ["*"], routes: [{ match: { prefix: "/" }, route: { cluster } }] },
                ],
              },
              http_filters: [
                {
                  name: "envoy.filters.http.router",
                  typed_config: {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
                  },
                },
              ],
            },
          },
        ],
      },
    ],
  };
}

/** A cluster of one port of loopback. Over TLS, each request has a connection and a full handshake of its own. */
export function cluster(name: string, port: number, transportSocket?: Piece): Piece {
  return {
    name,
    type: "STATIC",
    connect_timeout: "5s",
    typed_extension_protocol_options: {
      "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        explicit_http_config: { http_protocol_options: {} },
        ...(transportSocket === undefined
          ? {}
          : { common_http_protocol_options: { max_requests_per_connection: 1 } }),
      },
    },
    load_assignment: {
      cluster_name: name,
      endpoints: [
        {
          lb_endpoints: [
            { endpoint: { address: { socket_address: { address: "127.0.0.1", port_value: port } } } },
          ],
        },
      ],
    },
    ...(transportSocket === undefined
      ? {}
      : {
          transport_socket: changed(transportSocket, (key, value) =>
            key === "typed_config" ? { ...(value as Piece), max_session_keys: 0 } : value,
          ),
        }),
  };
}

/** What an Envoy is started with. */
export interface EnvoyWanted {
  readonly name: string;
  readonly uid: number;
  readonly listeners: readonly Piece[];
  readonly clusters: readonly Piece[];
  /** Of its node. */
  readonly metadata?: Piece;
}

/** A running Envoy, whose administration listens on a Unix socket. */
export class Envoy implements AsyncDisposable {
  readonly program: Program;
  readonly #socket: string;

  private constructor(program: Program, socket: string) {
    this.program = program;
    this.#socket = socket;
  }

  /** Starts one as a user, and waits until it can be asked; it need not be ready. */
  static async start(binary: string, scratch: Scratch, wanted: EnvoyWanted): Promise<Envoy> {
    const { name, uid, listeners, clusters, metadata = {} } = wanted;
    const folder = scratch.at(`envoy-${name}`);
    await mkdir(folder);
    await chown(folder, uid, uid);
    const socket = join(folder, "admin.sock");
    const config = join(folder, "bootstrap.json");
    await writeFile(
      config,
      JSON.stringify({
        node: { id: name, cluster: "test", metadata },
        admin: { address: { pipe: { path: socket } } },
        static_resources: { listeners, clusters },
      }),
    );
    const args = ["-c", config, "--concurrency", "1", "--disable-hot-restart", "--log-level", "info"];
    const program = Program.start(name, binary, args, { uid, gid: uid, cwd: "/" });
    const envoy = new Envoy(program, socket);
    try {
      await eventually("its administration", async () => (await envoy.ask("/server_info")).status === 200);
    } catch (error) {
      await program.stop();
      throw new Error(program.lines.join("\n"), { cause: error });
    }
    return envoy;
  }

  /** Asks the administration. */
  ask(path: string): Promise<Answer> {
    return httpGet({ socketPath: this.#socket, path });
  }

  /** Whether it serves: `/ready` says LIVE. */
  async isReady(): Promise<boolean> {
    return (await this.ask("/ready")).status === 200;
  }

  /** Waits until it serves. */
  async ready(patience?: number): Promise<void> {
    try {
      await eventually("readiness", () => this.isReady(), patience);
    } catch (error) {
      const { body } = await this.ask("/stats?filter=sds");
      throw new Error([...this.program.lines.slice(-60), body].join("\n"), { cause: error });
    }
  }

  /** The port that a listener got. */
  async port(listener: string): Promise<number> {
    const { body } = await this.ask("/listeners?format=json");
    const { listener_statuses: all } = JSON.parse(body) as Listeners;
    const found = all.find(({ name }) => name === listener)?.local_address.socket_address.port_value;
    if (found === undefined) throw new Error(`there is no listener ${listener}: ${body}`);
    return found;
  }

  /** The sum of all its counters and gauges whose name fits. */
  async stat(pattern: RegExp): Promise<number> {
    const { body } = await this.ask("/stats");
    let sum = 0;
    for (const line of body.split("\n")) {
      const colon = line.lastIndexOf(": ");
      if (pattern.test(line.slice(0, colon))) sum += Number(line.slice(colon + 2)) || 0;
    }
    return sum;
  }

  /** The X509-SVIDs that it shows its peers. */
  async certificates(): Promise<readonly { readonly serial: string; readonly ids: readonly string[] }[]> {
    const { certificates } = JSON.parse((await this.ask("/certs")).body) as Certificates;
    return certificates.flatMap(({ cert_chain: chain = [] }) =>
      chain.map(({ serial_number: serial, subject_alt_names: names = [] }) => ({
        serial,
        ids: names.flatMap(({ uri }) => (uri === undefined ? [] : [uri])),
      })),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.program.stop();
  }
}

/** What an HTTP request was answered; status 0 where it was not. */
export interface Answer {
  readonly status: number;
  readonly body: string;
}

/** One request on a connection of its own. Does not reject: a refusal is an answer, too. */
export function httpGet(
  target: { readonly socketPath: string; readonly path: string } | { readonly port: number },
): Promise<Answer> {
  return new Promise((resolve) => {
    const call = request({ agent: false, host: "127.0.0.1", timeout: 20_000, ...target }, (response) => {
      let body = "";
      response.setEncoding("utf8");
      response.on("data", (chunk: string) => (body += chunk));
      response.on("end", () => resolve({ status: response.statusCode ?? 0, body }));
      response.on("error", (error) => resolve({ status: 0, body: error.message }));
    });
    call.on("timeout", () => call.destroy(new Error("took too long")));
    call.on("error", (error) => resolve({ status: 0, body: error.message }));
    call.end();
  });
}

/** Asks again and again until it is so. */
export async function eventually(
  what: string,
  isSo: () => Promise<boolean>,
  patience = 30_000,
): Promise<void> {
  const deadline = performance.now() + patience;
  while (!(await isSo())) {
    if (performance.now() > deadline) throw new Error(`waited ${patience} ms for ${what} in vain`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

interface Listeners {
  readonly listener_statuses: readonly {
    readonly name: string;
    readonly local_address: { readonly socket_address: { readonly port_value: number } };
  }[];
}

interface Certificates {
  readonly certificates: readonly {
    readonly cert_chain?: readonly {
      readonly serial_number: string;
      readonly subject_alt_names?: readonly { readonly uri?: string }[];
    }[];
  }[];
}
