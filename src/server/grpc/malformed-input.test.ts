import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { makeCsr } from "../../../test/fakes/issuance-csr.ts";
import { ServerBench } from "../../../test/fakes/server-bench.ts";
import { type EntryFields, wireBundle, wireEntry } from "../../../test/fakes/server-wire.ts";
import { Explain } from "../../proto/gen/assay/api/server/v1/explain_pb.ts";
import { SVID } from "../../proto/gen/spire/api/server/svid/v1/svid_pb.ts";

const PARENT = "spiffe://example.org/spire/agent/x509pop/p";
let bench: ServerBench;
beforeAll(async () => {
  bench = await ServerBench.start();
  await bench.entries.batchCreateEntry({ entries: [wireEntry("there", PARENT, { id: "there" })] });
});
afterAll(() => bench[Symbol.asyncDispose]());

type WireId = { trustDomain: string; path: string };
/** Gives what the call, or its only item, was answered: a status number, 0 for success. */
type Call<Input> = (input: Input) => Promise<number | undefined>;

const BAD_IDS: readonly [string, WireId | undefined][] = [
  ["absent", undefined],
  ["empty", { trustDomain: "", path: "" }],
  ["without a trust domain", { trustDomain: "", path: "/a" }],
  ["with an upper-case trust domain", { trustDomain: "Example.org", path: "/a" }],
  ["with a port", { trustDomain: "example.org:80", path: "/a" }],
  ["with a user", { trustDomain: "u@example.org", path: "/a" }],
  ["with a path in the trust domain", { trustDomain: "example.org/a", path: "/b" }],
  ["with a path without its slash", { trustDomain: "example.org", path: "a" }],
  ["with a trailing slash", { trustDomain: "example.org", path: "/a/" }],
  ["with an empty segment", { trustDomain: "example.org", path: "/a//b" }],
  ["with a dot segment", { trustDomain: "example.org", path: "/a/../b" }],
  ["with percent-encoding", { trustDomain: "example.org", path: "/%61" }],
  ["with a query", { trustDomain: "example.org", path: "/a?b" }],
  ["with a fragment", { trustDomain: "example.org", path: "/a#b" }],
  ["with a space", { trustDomain: "example.org", path: "/a b" }],
  ["with a NUL", { trustDomain: "example.org", path: "/a\0" }],
  ["with a letter that is not ASCII", { trustDomain: "example.org", path: "/ä" }],
  ["of 2,049 bytes", { trustDomain: "example.org", path: `/${"a".repeat(2049 - 21)}` }],
];

const CALLS_WITH_IDS: Readonly<Record<string, { call: Call<WireId | undefined>; optional?: true }>> = {
  "ListEntries by SPIFFE ID": {
    call: (id) => status(bench.entries.listEntries({ filter: { ...(id && { bySpiffeId: id }) } })),
    optional: true,
  },
  "ListEntries by parent": {
    call: (id) => status(bench.entries.listEntries({ filter: { ...(id && { byParentId: id }) } })),
    optional: true,
  },
  "CountEntries by SPIFFE ID": {
    call: (id) => status(bench.entries.countEntries({ filter: { ...(id && { bySpiffeId: id }) } })),
    optional: true,
  },
  "CountEntries by parent": {
    call: (id) => status(bench.entries.countEntries({ filter: { ...(id && { byParentId: id }) } })),
    optional: true,
  },
  "BatchCreateEntry's SPIFFE ID": { call: (id) => item(create({ spiffeId: id })) },
  "BatchCreateEntry's parent": { call: (id) => item(create({ parentId: id })) },
  "BatchUpdateEntry's SPIFFE ID": {
    call: (id) =>
      item(
        bench.entries.batchUpdateEntry({
          entries: [{ id: "there", ...(id && { spiffeId: id }) }],
          inputMask: { spiffeId: true },
        }),
      ),
  },
  "BatchUpdateEntry's parent": {
    call: (id) =>
      item(
        bench.entries.batchUpdateEntry({
          entries: [{ id: "there", ...(id && { parentId: id }) }],
          inputMask: { parentId: true },
        }),
      ),
  },
  GetAgent: { call: (id) => status(bench.agents.getAgent({ ...(id && { id }) })) },
  DeleteAgent: { call: (id) => status(bench.agents.deleteAgent({ ...(id && { id }) })) },
  BanAgent: { call: (id) => status(bench.agents.banAgent({ ...(id && { id }) })) },
  "CreateJoinToken's alias": {
    call: (id) => status(bench.agents.createJoinToken({ ttl: 60, ...(id && { agentId: id }) })),
    optional: true,
  },
  MintJWTSVID: {
    call: (id) => status(bench.admin.service(SVID).mintJWTSVID({ ...(id && { id }), audience: ["a"] })),
  },
  ExplainNode: {
    call: (id) => status(bench.admin.service(Explain).explainNode({ ...(id && { agentId: id }) })),
  },
};

describe.each(Object.entries(CALLS_WITH_IDS))("%s", (_, { call, optional = false }) => {
  it.each(optional ? BAD_IDS.slice(1) : BAD_IDS)("refuses a SPIFFE ID %s", async (_what, id) => {
    expect(await call(id)).toBe(INVALID_ARGUMENT);
  });
});

describe("MintX509SVID", () => {
  it.each([
    "example.org/a",
    "https://example.org/a",
    "SPIFFE://example.org/a",
    "spiffe://example.org/a/",
    "spiffe://example.org/a//b",
    "spiffe://example.org/%61",
    "spiffe://example.org:80/a",
    "spiffe:///a",
  ])("refuses a request for %s", async (uri) => {
    const csr = makeCsr({ uris: [uri] });
    expect(await status(bench.admin.service(SVID).mintX509SVID({ csr }))).toBe(INVALID_ARGUMENT);
  });
});

const BAD_SELECTORS: readonly [string, { type: string; value: string }][] = [
  ["without a type", { type: "", value: "uid:1" }],
  ["without a value", { type: "unix", value: "" }],
  ["with a colon in its type", { type: "un:ix", value: "uid:1" }],
];

const CALLS_WITH_SELECTORS: Readonly<Record<string, Call<{ type: string; value: string }>>> = {
  "ListEntries by selectors": (selector) =>
    status(bench.entries.listEntries({ filter: { bySelectors: { selectors: [GOOD, selector] } } })),
  "CountEntries by selectors": (selector) =>
    status(bench.entries.countEntries({ filter: { bySelectors: { selectors: [GOOD, selector] } } })),
  BatchCreateEntry: (selector) => item(create({ selectors: [GOOD, selector] })),
  BatchUpdateEntry: (selector) =>
    item(
      bench.entries.batchUpdateEntry({
        entries: [{ id: "there", selectors: [GOOD, selector] }],
        inputMask: { selectors: true },
      }),
    ),
  "ListAgents by selectors": (selector) =>
    status(bench.agents.listAgents({ filter: { bySelectorMatch: { selectors: [GOOD, selector] } } })),
  "CountAgents by selectors": (selector) =>
    status(bench.agents.countAgents({ filter: { bySelectorMatch: { selectors: [GOOD, selector] } } })),
};

describe.each(Object.entries(CALLS_WITH_SELECTORS))("%s", (_, call) => {
  it.each(BAD_SELECTORS)("refuses a selector %s", async (_what, selector) => {
    expect(await call(selector)).toBe(INVALID_ARGUMENT);
  });
});

const BAD_NAMES = ["", "Other.org", "other.org/a", "other.org:80", "spiffe://", "a b", "a".repeat(256)];

const CALLS_WITH_TRUST_DOMAINS: Readonly<Record<string, Call<string>>> = {
  GetFederatedBundle: (trustDomain) => status(bench.bundles.getFederatedBundle({ trustDomain })),
  BatchCreateFederatedBundle: (trustDomain) =>
    item(bench.bundles.batchCreateFederatedBundle({ bundle: [{ ...GOOD_BUNDLE, trustDomain }] })),
  BatchSetFederatedBundle: (trustDomain) =>
    item(bench.bundles.batchSetFederatedBundle({ bundle: [{ ...GOOD_BUNDLE, trustDomain }] })),
  BatchUpdateFederatedBundle: (trustDomain) =>
    item(bench.bundles.batchUpdateFederatedBundle({ bundle: [{ ...GOOD_BUNDLE, trustDomain }] })),
  BatchDeleteFederatedBundle: (trustDomain) =>
    item(bench.bundles.batchDeleteFederatedBundle({ trustDomains: [trustDomain] })),
  "BatchCreateEntry's federation": (name) => item(create({ federatesWith: [name] })),
};

describe.each(Object.entries(CALLS_WITH_TRUST_DOMAINS))("%s", (_, call) => {
  it.each(BAD_NAMES)("refuses the trust domain %j", async (name) => {
    expect(await call(name)).toBe(INVALID_ARGUMENT);
  });
});

function create(
  fields: Omit<EntryFields, "spiffeId" | "parentId"> & {
    spiffeId?: WireId | undefined;
    parentId?: WireId | undefined;
  },
) {
  const { spiffeId, parentId, ...entry } = { ...wireEntry("new", PARENT), ...fields };
  return bench.entries.batchCreateEntry({
    entries: [{ ...entry, ...(spiffeId && { spiffeId }), ...(parentId && { parentId }) }],
  });
}

async function item(
  call: Promise<{ results: readonly { status?: { code: number } | undefined }[] }>,
): Promise<number | undefined> {
  return (await call).results[0]?.status?.code;
}

async function status(call: Promise<unknown>): Promise<number> {
  try {
    await call;
    return 0;
  } catch (error) {
    return (error as { status?: string }).status === "INVALID_ARGUMENT" ? INVALID_ARGUMENT : -1;
  }
}

const INVALID_ARGUMENT = 3;
const GOOD = { type: "unix", value: "uid:1" };
const GOOD_BUNDLE = wireBundle("other.org");
