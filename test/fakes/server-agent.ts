import type { KeyObject } from "node:crypto";
import { AgentSync } from "../../src/proto/gen/assay/api/server/v1/agent_sync_pb.ts";
import { Agent } from "../../src/proto/gen/spire/api/server/agent/v1/agent_pb.ts";
import { Bundle } from "../../src/proto/gen/spire/api/server/bundle/v1/bundle_pb.ts";
import { Entry } from "../../src/proto/gen/spire/api/server/entry/v1/entry_pb.ts";
import { SVID } from "../../src/proto/gen/spire/api/server/svid/v1/svid_pb.ts";
import type { RpcClient } from "../../src/rpc/client.ts";
import { parseSpiffeId, type SpiffeId } from "../../src/spiffe/id.ts";
import { makeKey } from "./certificates.ts";
import { makeCsr } from "./issuance-csr.ts";
import type { ServerBench } from "./server-bench.ts";

/** An agent that has attested, as far as a test of the server needs one. */
export class TestAgent {
  readonly id: SpiffeId;
  readonly chain: readonly Uint8Array[];
  readonly privateKey: KeyObject;
  readonly client: RpcClient;
  readonly #bench: ServerBench;

  private constructor(
    bench: ServerBench,
    id: SpiffeId,
    chain: readonly Uint8Array[],
    privateKey: KeyObject,
    client: RpcClient,
  ) {
    this.#bench = bench;
    this.id = id;
    this.chain = chain;
    this.privateKey = privateKey;
    this.client = client;
  }

  /** Attests with a join token, a fresh one unless given, and connects with the SVID. */
  static async attest(bench: ServerBench, token?: string): Promise<TestAgent> {
    const value = token ?? (await bench.agents.createJoinToken({ ttl: 60 })).value;
    const key = makeKey();
    const anonymous = await bench.tls();
    const svid = await attestOnce(anonymous, joinTokenParams(value, makeCsr({}, key)));
    anonymous[Symbol.dispose]();
    return TestAgent.#with(bench, svid, key.privateKey);
  }

  static async #with(
    bench: ServerBench,
    svid: {
      readonly id?: { readonly trustDomain: string; readonly path: string } | undefined;
      readonly certChain: Uint8Array[];
    },
    privateKey: KeyObject,
  ): Promise<TestAgent> {
    const id = parseSpiffeId(idText(svid.id));
    const client = await bench.tls({ certificates: svid.certChain, privateKey });
    return new TestAgent(bench, id, svid.certChain, privateKey, client);
  }

  get agent() {
    return this.client.service(Agent);
  }

  get entries() {
    return this.client.service(Entry);
  }

  get svids() {
    return this.client.service(SVID);
  }

  get bundles() {
    return this.client.service(Bundle);
  }

  get wireId() {
    return wireId(this.id);
  }

  /** Renews, and gives the agent as it is with the new SVID, which has not been used yet. */
  async renew(): Promise<TestAgent> {
    const key = makeKey();
    const { svid } = await this.agent.renewAgent({ params: { csr: makeCsr({}, key) } });
    if (svid === undefined) throw new Error("the renewal gave no SVID");
    return TestAgent.#with(this.#bench, svid, key.privateKey);
  }

  /** Opens the stream of changes. */
  watch(): Watch {
    return new Watch(this.client);
  }
}

/** An open stream of changes. */
export class Watch {
  readonly #abort = new AbortController();
  readonly #messages;

  constructor(client: RpcClient) {
    this.#messages = client.service(AgentSync).watchAuthorizedEntries({}, { signal: this.#abort.signal });
  }

  /** The next message. Fails with what the stream ended with. */
  async next() {
    const { value, done } = await this.#messages.next();
    if (done === true) throw new Error("the stream ended with OK");
    return value;
  }

  /** Messages up to the one without `more`, as one list. */
  async whole() {
    const messages = [await this.next()];
    while (messages.at(-1)?.more === true) messages.push(await this.next());
    return messages;
  }

  close(): void {
    this.#abort.abort();
  }
}

/** The first message of an attestation by join token. */
export function joinTokenParams(token: string, csr: Uint8Array) {
  return { data: { type: "join_token", payload: Buffer.from(token) }, params: { csr } };
}

/** One attestation without challenges; the SVID, or what it failed with. */
export async function attestOnce(client: RpcClient, params: Partial<ReturnType<typeof joinTokenParams>>) {
  const call = client.service(Agent).attestAgent();
  await call.send({ step: { case: "params", value: params } });
  for await (const { step } of call) {
    if (step.case !== "result" || step.value.svid === undefined) throw new Error("expected a result");
    return step.value.svid;
  }
  throw new Error("the attestation ended without a result");
}

/** A SPIFFE ID of the wire as text; empty where it is absent. */
export function idText(id: { readonly trustDomain: string; readonly path: string } | undefined): string {
  return id === undefined ? "" : `spiffe://${id.trustDomain}${id.path}`;
}

/** A SPIFFE ID as the wire has it. */
export function wireId(id: string): { trustDomain: string; path: string } {
  const [, trustDomain = "", path = ""] = /^spiffe:\/\/([^/]*)(.*)$/.exec(id) ?? [];
  return { trustDomain, path };
}
