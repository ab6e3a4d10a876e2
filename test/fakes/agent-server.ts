import { ENTRY_DEFAULTS } from "./entry-defaults.ts";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { createServer, type Server, type TLSSocket } from "node:tls";
import type { Clock } from "../../src/clock.ts";
import { readCertificate } from "../../src/crypto/certificate-reader.ts";
import { toPem } from "../../src/crypto/pem.ts";
import { parseX509Svid } from "../../src/crypto/x509-svid.ts";
import { WIT_PROOF_HEADER } from "../../src/crypto/jose/wit-proof.ts";
import { AssayError } from "../../src/errors/assay-error.ts";
import type { ErrorCode } from "../../src/errors/codes.ts";
import type { WorkloadEntry } from "../../src/issuance/workload/workload-entry.ts";
import { AgentSync } from "../../src/proto/gen/assay/api/server/v1/agent_sync_pb.ts";
import type { WatchAuthorizedEntriesResponseSchema } from "../../src/proto/gen/assay/api/server/v1/agent_sync_pb.ts";
import { Agent } from "../../src/proto/gen/spire/api/server/agent/v1/agent_pb.ts";
import { Bundle } from "../../src/proto/gen/spire/api/server/bundle/v1/bundle_pb.ts";
import { Entry } from "../../src/proto/gen/spire/api/server/entry/v1/entry_pb.ts";
import { SVID } from "../../src/proto/gen/spire/api/server/svid/v1/svid_pb.ts";
import type { CallContext } from "../../src/rpc/call-context.ts";
import { RpcServer } from "../../src/rpc/server.ts";
import type { SpiffeBundle } from "../../src/spiffe/bundle.ts";
import { pathOf, type SpiffeId, spiffeIdOf, trustDomainOf } from "../../src/spiffe/id.ts";
import { serverId } from "../../src/spiffe/reserved.ts";
import type { FakeAuthority } from "./agent-authority.ts";

type Context = CallContext<SpiffeId | undefined, undefined>;
type WatchMessage = MessageInitShape<typeof WatchAuthorizedEntriesResponseSchema>;

/** A server of the agents' half of the API on loopback, over real TLS, with everything in memory. */
export class FakeAgentServer implements AsyncDisposable {
  /** Join tokens that work, once each. */
  readonly tokens = new Set<string>();
  readonly entries = new Map<string, WorkloadEntry>();
  /** Whether WIT-SVIDs are signed. */
  hasWit = true;
  /** The proofs of possession that came with requests for them. */
  readonly witProofs: string[] = [];
  /** Revocation lists that agents are told with the complete state. */
  readonly crls: { readonly trustDomain: string; readonly crl: Uint8Array }[] = [];
  readonly federated = new Map<string, SpiffeBundle>();
  /** How often each method was called. */
  readonly calls = new Map<string, number>();
  /** Connections that were opened, whatever became of them. */
  connections = 0;
  /** Told by PostStatus. */
  readonly versions: string[] = [];
  /** What every call of an agent is denied with. */
  denial: ErrorCode | undefined;
  /** Entries whose SVIDs cannot be signed. */
  readonly unsignable = new Set<string>();
  hasStream = true;
  reattestable = false;
  agentTtl = 3600;
  svidTtl = 3600;
  bundle: SpiffeBundle;
  /** What a join token's evidence is challenged with before it is taken. */
  challenge: Uint8Array | undefined;
  /** Entries in one page of SyncAuthorizedEntries. */
  pageSize = 500;
  readonly #authority: FakeAuthority;
  readonly #rpc: RpcServer<SpiffeId | undefined>;
  readonly #watches = new Set<(message: WatchMessage) => void>();
  readonly #sockets = new Set<TLSSocket>();
  #server: Server | undefined;
  #port = 0;
  #sequence = 1n;

  constructor(authority: FakeAuthority, clock: Clock) {
    this.#authority = authority;
    this.bundle = authority.bundle();
    this.#rpc = new RpcServer({ clock, before: (context) => this.#admit(context) });
    registerServices(this, this.#rpc, authority, this.#watches);
  }

  get port(): number {
    return this.#port;
  }

  get watches(): number {
    return this.#watches.size;
  }

  /** Listens, at the same port again after `stop`. `id` is who the server says it is. */
  async start(id: SpiffeId = serverId(this.#authority.trustDomain)): Promise<void> {
    const { certificate, privateKey } = this.#authority.credential(id);
    const server = createServer({
      cert: toPem("CERTIFICATE", certificate),
      key: privateKey.export({ type: "pkcs8", format: "pem" }),
      ALPNProtocols: ["h2"],
      requestCert: true,
      rejectUnauthorized: false,
    });
    server.on("secureConnection", (socket) => {
      this.#sockets.add(socket);
      socket.once("close", () => this.#sockets.delete(socket));
      const { raw } = socket.getPeerCertificate();
      this.#rpc.injectConnection(
        socket,
        raw === undefined ? undefined : parseX509Svid(readCertificate(raw)).spiffeId,
      );
    });
    server.on("connection", () => (this.connections += 1));
    server.on("tlsClientError", () => undefined);
    server.listen(this.#port, "127.0.0.1");
    await once(server, "listening");
    this.#port = (server.address() as AddressInfo).port;
    this.#server = server;
  }

  /** Goes away, as a machine that loses its power does. */
  async stop(): Promise<void> {
    const server = this.#server;
    if (server === undefined) return;
    this.#server = undefined;
    const closed = new Promise((resolve) => server.close(resolve));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  /** Adds or changes an entry and tells the agents. */
  put(entry: WorkloadEntry): void {
    this.entries.set(entry.id, entry);
    this.push({ upserted: [entryMessage(entry)] });
  }

  /** Removes an entry and tells the agents. */
  remove(id: string): void {
    this.entries.delete(id);
    this.push({ deleted: [id] });
  }

  /** Tells the agents something. */
  push(message: WatchMessage): void {
    this.#sequence += 1n;
    for (const watch of this.#watches) watch({ sequence: this.#sequence, ...message });
  }

  count(method: string): number {
    return this.calls.get(method) ?? 0;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    await this.#rpc.shutdown(0);
  }

  #admit(context: CallContext<SpiffeId | undefined, undefined>): undefined {
    const method = context.method.slice(context.method.lastIndexOf("/") + 1);
    this.calls.set(method, this.count(method) + 1);
    if (method === "AttestAgent" || method === "GetBundle") return undefined;
    if (this.denial !== undefined)
      throw new AssayError(this.denial, `authorization denied for method ${context.method}`);
    if (context.peer === undefined) throw new AssayError("AUTHORIZATION_DENIED", "no SVID was shown");
    return undefined;
  }

  /** Everything an agent is to know. */
  complete(): WatchMessage {
    return {
      sequence: this.#sequence,
      complete: true,
      upserted: [...this.entries.values()].map(entryMessage),
      bundle: bundleMessage(this.bundle),
      federatedBundles: [...this.federated.values()].map(bundleMessage),
      revocationLists: { lists: this.crls.map(({ trustDomain, crl }) => ({ trustDomain, crl })) },
    };
  }
}

function registerServices(
  server: FakeAgentServer,
  rpc: RpcServer<SpiffeId | undefined>,
  authority: FakeAuthority,
  watches: Set<(message: WatchMessage) => void>,
): void {
  const { trustDomain } = authority;
  const issue = (csr: Uint8Array, id: SpiffeId, ttl: number) => ({
    certChain: authority.issue(csr, id, ttl),
    id: idMessage(id),
  });
  rpc.register(Agent, {
    async *attestAgent(requests) {
      let params: { csr: Uint8Array; token: string } | undefined;
      for await (const { step } of requests) {
        if (step.case === "params") {
          const token = Buffer.from(step.value.data?.payload ?? []).toString();
          params = { csr: step.value.params?.csr ?? new Uint8Array(), token };
          if (server.challenge !== undefined) {
            yield { step: { case: "challenge" as const, value: server.challenge } };
            continue;
          }
        }
        if (params === undefined || !server.tokens.delete(params.token)) {
          throw new AssayError("JOIN_TOKEN_INVALID", "join token does not exist or has already been used");
        }
        const svid = issue(
          params.csr,
          spiffeIdOf(trustDomain, `/spire/agent/join_token/${params.token}`),
          server.agentTtl,
        );
        if (server.reattestable) server.tokens.add(params.token);
        yield { step: { case: "result" as const, value: { svid, reattestable: server.reattestable } } };
        return;
      }
    },
    renewAgent: ({ params }, { peer }: Context) => ({
      svid: issue(params?.csr ?? new Uint8Array(), peer as SpiffeId, server.agentTtl),
    }),
    postStatus: ({ agentVersion }) => {
      server.versions.push(agentVersion);
      return {};
    },
  });
  rpc.register(AgentSync, {
    async *watchAuthorizedEntries(_request, { signal }) {
      if (!server.hasStream) throw new AssayError("UNIMPLEMENTED", "unknown service");
      const queue: WatchMessage[] = [server.complete()];
      let wake = () => {};
      const watch = (message: WatchMessage) => {
        queue.push(message);
        wake();
      };
      watches.add(watch);
      const abort = () => wake();
      signal.addEventListener("abort", abort);
      try {
        for (;;) {
          for (let next = queue.shift(); next !== undefined; next = queue.shift()) yield next;
          signal.throwIfAborted();
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
        }
      } finally {
        watches.delete(watch);
      }
    },
  });
  rpc.register(Entry, {
    async *syncAuthorizedEntries(requests) {
      const all = [...server.entries.values()];
      let isFirst = true;
      for await (const { ids } of requests) {
        if (isFirst && all.length <= server.pageSize) {
          yield { entries: all.map(entryMessage) };
          return;
        }
        const found = isFirst ? all : ids.flatMap((id) => server.entries.get(id) ?? []);
        for (let at = 0; at === 0 || at < found.length; at += server.pageSize) {
          const page = found.slice(at, at + server.pageSize);
          const more = at + server.pageSize < found.length;
          if (isFirst) {
            yield {
              more,
              entryRevisions: page.map(({ id, revision, createdAt }) => ({
                id,
                revisionNumber: BigInt(revision),
                createdAt: BigInt(createdAt),
              })),
            };
          } else yield { more, entries: page.map(entryMessage) };
        }
        isFirst = false;
      }
    },
  });
  rpc.register(Bundle, {
    getBundle: () => bundleMessage(server.bundle),
    getFederatedBundle: (request) => {
      const bundle = server.federated.get(request.trustDomain);
      if (bundle === undefined) throw new AssayError("BUNDLE_NOT_FOUND", "bundle not found");
      return bundleMessage(bundle);
    },
  });
  rpc.register(SVID, {
    batchNewX509SVID: ({ params }) => ({
      results: params.map(({ entryId, csr }) => {
        const entry = server.entries.get(entryId);
        if (entry === undefined || server.unsignable.has(entryId)) {
          return { status: { code: 5, message: "entry not found or not authorized" } };
        }
        return { status: { code: 0, message: "OK" }, svid: issue(csr, entry.spiffeId, server.svidTtl) };
      }),
    }),
    batchNewWITSVID: ({ params }, context) => {
      if (!server.hasWit) throw new AssayError("UNIMPLEMENTED", "WIT-SVIDs are not supported");
      server.witProofs.push(context.header(WIT_PROOF_HEADER) ?? "");
      return {
        results: params.map(({ entryId, publicKey }) => {
          const entry = server.entries.get(entryId);
          if (entry === undefined) return { status: { code: 5, message: "entry not found" } };
          const token = authority.witSvid(entry.spiffeId, publicKey, server.svidTtl);
          return { status: { code: 0, message: "OK" }, svid: { token, id: idMessage(entry.spiffeId) } };
        }),
      };
    },
    newJWTSVID: ({ entryId, audience }) => {
      const entry = server.entries.get(entryId);
      if (entry === undefined) throw new AssayError("ENTRY_NOT_FOUND", "entry not found or not authorized");
      const svid = authority.jwtSvid(entry.spiffeId, audience, 300);
      return {
        svid: {
          token: svid.token,
          id: idMessage(svid.spiffeId),
          issuedAt: BigInt(svid.issuedAt),
          expiresAt: BigInt(svid.expiresAt),
        },
      };
    },
  });
}

/** An entry for a process of this user id. */
export function fakeEntry(
  spiffeId: SpiffeId,
  uid: number,
  fields: Partial<WorkloadEntry> = {},
): WorkloadEntry {
  return {
    id: `entry-${pathOf(spiffeId).slice(1).replaceAll("/", "-")}`,
    revision: 0,
    createdAt: 1_700_000_000,
    spiffeId,
    parentId: spiffeIdOf(trustDomainOf(spiffeId), "/spire/agent/join_token/t"),
    selectors: [{ type: "unix", value: `uid:${uid}` }],
    ...ENTRY_DEFAULTS,
    ...fields,
  };
}

/** An entry as the wire has it. */
export function entryMessage(entry: WorkloadEntry) {
  const { revision, createdAt, expiresAt, spiffeId, parentId, selectors, federatesWith, dnsNames, ...rest } =
    entry;
  return {
    ...rest,
    spiffeId: idMessage(spiffeId),
    parentId: idMessage(parentId),
    selectors: selectors.map(({ type, value }) => ({ type, value })),
    federatesWith: [...federatesWith],
    dnsNames: [...dnsNames],
    revisionNumber: BigInt(revision),
    createdAt: BigInt(createdAt),
    expiresAt: BigInt(expiresAt),
    additionalAttributes: {
      disableX509SvidPrefetch: entry.disableX509SvidPrefetch,
      jwtSvidIncludeJti: entry.jwtSvidIncludeJti,
    },
  };
}

/** A bundle as the wire has it. */
export function bundleMessage(bundle: SpiffeBundle) {
  return {
    trustDomain: bundle.trustDomain,
    sequenceNumber: bundle.sequence,
    refreshHint: BigInt(bundle.refreshHint),
    x509Authorities: bundle.x509Authorities.map(({ certificate, tainted }) => ({
      asn1: certificate,
      tainted,
    })),
    jwtAuthorities: bundle.jwtAuthorities.map(({ keyId, publicKey, expiresAt, tainted }) => ({
      keyId,
      publicKey,
      expiresAt: BigInt(expiresAt),
      tainted,
    })),
    witAuthorities: bundle.witAuthorities.map((key) => ({ ...key, expiresAt: BigInt(key.expiresAt) })),
  };
}

function idMessage(id: SpiffeId) {
  return { trustDomain: trustDomainOf(id), path: pathOf(id) };
}
