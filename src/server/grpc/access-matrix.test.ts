import type { DescMethod } from "@bufbuild/protobuf";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { makeKey } from "../../../test/fakes/certificates.ts";
import { makeCsr } from "../../../test/fakes/issuance-csr.ts";
import { TestAgent } from "../../../test/fakes/server-agent.ts";
import { ServerBench } from "../../../test/fakes/server-bench.ts";
import { wireEntry } from "../../../test/fakes/server-wire.ts";
import { AgentSync } from "../../proto/gen/assay/api/server/v1/agent_sync_pb.ts";
import { Backup } from "../../proto/gen/assay/api/server/v1/backup_pb.ts";
import { Explain } from "../../proto/gen/assay/api/server/v1/explain_pb.ts";
import { Health } from "../../proto/gen/grpc/health/v1/health_pb.ts";
import { Agent } from "../../proto/gen/spire/api/server/agent/v1/agent_pb.ts";
import { Bundle } from "../../proto/gen/spire/api/server/bundle/v1/bundle_pb.ts";
import { Debug } from "../../proto/gen/spire/api/server/debug/v1/debug_pb.ts";
import { Entry } from "../../proto/gen/spire/api/server/entry/v1/entry_pb.ts";
import { LocalAuthority } from "../../proto/gen/spire/api/server/localauthority/v1/localauthority_pb.ts";
import { Logger } from "../../proto/gen/spire/api/server/logger/v1/logger_pb.ts";
import { SVID } from "../../proto/gen/spire/api/server/svid/v1/svid_pb.ts";
import { TrustDomain } from "../../proto/gen/spire/api/server/trustdomain/v1/trustdomain_pb.ts";
import type { RpcClient } from "../../rpc/client.ts";
import { parseSpiffeId } from "../../spiffe/id.ts";
import { methodPath } from "../../rpc/service-definition.ts";

const SERVICES = [
  Agent,
  AgentSync,
  Backup,
  Bundle,
  Debug,
  Entry,
  Explain,
  Health,
  LocalAuthority,
  Logger,
  SVID,
  TrustDomain,
];
const CALLERS = [
  "local",
  "anonymous",
  "agent",
  "admin",
  "configured admin",
  "downstream",
  "workload",
] as const;
type CallerKind = (typeof CALLERS)[number];

const OPERATORS: readonly CallerKind[] = ["local", "admin", "configured admin"];
/** Who may call what: written down a second time, from the protocol's description, and not from the table it checks. */
const ALLOWED: Readonly<Record<string, readonly CallerKind[]>> = {
  "Agent/AttestAgent": CALLERS,
  "Bundle/GetBundle": CALLERS,
  ...all(
    ["agent"],
    [
      "Agent/RenewAgent",
      "Agent/PostStatus",
      "Entry/GetAuthorizedEntries",
      "Entry/SyncAuthorizedEntries",
      "SVID/BatchNewX509SVID",
      "SVID/NewJWTSVID",
      "SVID/BatchNewWITSVID",
      "AgentSync/WatchAuthorizedEntries",
    ],
  ),
  ...all(
    ["downstream"],
    ["SVID/NewDownstreamX509CA", "Bundle/PublishJWTAuthority", "Bundle/PublishWITAuthority"],
  ),
  "Bundle/GetFederatedBundle": [...OPERATORS, "agent"],
  ...all(
    ["local"],
    [
      "Backup/CreateBackup",
      "Debug/GetInfo",
      "Logger/GetLogger",
      "Logger/SetLogLevel",
      "Logger/ResetLogLevel",
      "Health/Check",
      "Health/List",
      "Health/Watch",
    ],
  ),
  ...all(OPERATORS, [
    "Agent/CountAgents",
    "Agent/ListAgents",
    "Agent/GetAgent",
    "Agent/DeleteAgent",
    "Agent/BanAgent",
    "Agent/CreateJoinToken",
    "Entry/CountEntries",
    "Entry/ListEntries",
    "Entry/GetEntry",
    "Entry/BatchCreateEntry",
    "Entry/BatchUpdateEntry",
    "Entry/BatchDeleteEntry",
    "SVID/MintX509SVID",
    "SVID/MintJWTSVID",
    "SVID/MintWITSVID",
    "Bundle/CountBundles",
    "Bundle/AppendBundle",
    "Bundle/ListFederatedBundles",
    "Bundle/BatchCreateFederatedBundle",
    "Bundle/BatchUpdateFederatedBundle",
    "Bundle/BatchSetFederatedBundle",
    "Bundle/BatchDeleteFederatedBundle",
    "LocalAuthority/GetX509AuthorityState",
    "LocalAuthority/PrepareX509Authority",
    "LocalAuthority/ActivateX509Authority",
    "LocalAuthority/TaintX509Authority",
    "LocalAuthority/RevokeX509Authority",
    "LocalAuthority/TaintX509UpstreamAuthority",
    "LocalAuthority/RevokeX509UpstreamAuthority",
    "LocalAuthority/GetJWTAuthorityState",
    "LocalAuthority/PrepareJWTAuthority",
    "LocalAuthority/ActivateJWTAuthority",
    "LocalAuthority/TaintJWTAuthority",
    "LocalAuthority/RevokeJWTAuthority",
    "LocalAuthority/GetWITAuthorityState",
    "LocalAuthority/PrepareWITAuthority",
    "LocalAuthority/ActivateWITAuthority",
    "LocalAuthority/TaintWITAuthority",
    "LocalAuthority/RevokeWITAuthority",
    "TrustDomain/ListFederationRelationships",
    "TrustDomain/GetFederationRelationship",
    "TrustDomain/BatchCreateFederationRelationship",
    "TrustDomain/BatchUpdateFederationRelationship",
    "TrustDomain/BatchDeleteFederationRelationship",
    "TrustDomain/RefreshBundle",
    "Explain/ExplainDecision",
    "Explain/ExplainNode",
  ]),
};

let bench: ServerBench;
const clients = new Map<CallerKind, RpcClient>();
beforeAll(async () => {
  bench = await ServerBench.start({
    adminIds: [parseSpiffeId("spiffe://example.org/configured")],
    features: ["wit-svid"],
  });
  const agent = await TestAgent.attest(bench);
  clients.set("local", bench.admin);
  clients.set("anonymous", await bench.tls());
  clients.set("agent", agent.client);
  for (const [kind, name, fields] of [
    ["admin", "admin", { admin: true }],
    ["configured admin", "configured", {}],
    ["downstream", "downstream", { downstream: true }],
    ["workload", "workload", {}],
  ] as const) {
    const { results } = await bench.entries.batchCreateEntry({
      entries: [wireEntry(name, agent.id, fields)],
    });
    const key = makeKey();
    const params = [{ entryId: results[0]?.entry?.id ?? "", csr: makeCsr({}, key) }];
    const signed = await agent.svids.batchNewX509SVID({ params });
    const certificates = signed.results[0]?.svid?.certChain ?? [];
    clients.set(kind, await bench.tls({ certificates, privateKey: key.privateKey }));
  }
});
afterAll(() => bench[Symbol.asyncDispose]());

describe.each(CALLERS)("a caller that is %s", (kind) => {
  it.each(SERVICES.flatMap((service) => service.methods))(
    "and method $name of $parent.name",
    async (method) => {
      const key = `${method.parent.name}/${method.name}`;
      const allowed = ALLOWED[key];
      const outcome = await attempt(kind, method);
      if (allowed === undefined) expect(outcome).toBe("UNIMPLEMENTED");
      else if (!allowed.includes(kind)) {
        expect(outcome).toBe(`PERMISSION_DENIED authorization denied for method ${methodPath(method)}`);
      } else {
        expect(outcome).not.toContain("authorization denied");
        expect(outcome).not.toBe("UNIMPLEMENTED");
      }
    },
  );
});

it("knows no method that is not in the table of this test", () => {
  const known = new Set(
    SERVICES.flatMap(({ methods }) => methods.map(({ parent, name }) => `${parent.name}/${name}`)),
  );
  expect(Object.keys(ALLOWED).filter((key) => !known.has(key))).toEqual([]);
});

/** Calls a method with an empty message; what came of it. */
async function attempt(kind: CallerKind, method: DescMethod): Promise<string> {
  const client = clients.get(kind);
  if (client === undefined) throw new Error(`no client is ${kind}`);
  const calls = client.service(method.parent as never) as Record<string, Call | undefined>;
  try {
    const answer = calls[method.localName]?.({}, {});
    if (answer === undefined) return "UNIMPLEMENTED";
    if (Symbol.asyncIterator in answer) {
      if (answer.end !== undefined) answer.end();
      for await (const _ of answer) break;
    } else await answer;
    return "OK";
  } catch (error) {
    const { status, detail } = error as { status: string; detail: string };
    return status === "UNIMPLEMENTED" ? status : `${status} ${detail}`;
  }
}

type Call = (
  request: object,
  options: object,
) => Promise<unknown> | (AsyncIterable<unknown> & { end?(): void });

function all(kinds: readonly CallerKind[], methods: readonly string[]) {
  return Object.fromEntries(methods.map((method) => [method, kinds]));
}
