import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { describe, expect, it } from "vitest";
import { silentLog } from "../../observe/log.ts";
import { WatchAuthorizedEntriesResponseSchema } from "../../proto/gen/assay/api/server/v1/agent_sync_pb.ts";
import type { SyncUpdate } from "../cache/sync-update.ts";
import { RpcServerApi } from "./rpc-server-api.ts";

type Message = MessageInitShape<typeof WatchAuthorizedEntriesResponseSchema>;

describe("word of revoked tokens from the server", () => {
  it("adds where nothing says that it is complete", async () => {
    const [update] = await updatesFrom({ revokedTokens: { tokens: [{ id: "a", expiresAt: 7n }] } });
    expect(update?.revokedTokens).toEqual({ complete: false, ends: new Map([["a", 7]]) });
  });

  it("replaces though the rest of the update is a change", async () => {
    const [update] = await updatesFrom({ revokedTokens: { complete: true, tokens: [] } });
    expect(update?.revokedTokens).toEqual({ complete: true, ends: new Map() });
    expect(update?.complete).toBe(false);
  });

  it("is put together from the messages of one state, and begun anew with the next", async () => {
    const list = (id: string, complete: boolean) => ({ complete, tokens: [{ id, expiresAt: 7n }] });
    const updates = await updatesFrom(
      { complete: true, more: true, revokedTokens: list("a", true) },
      { complete: true, more: true, revokedTokens: list("b", true) },
      { complete: true },
      { revokedTokens: list("c", false) },
      { deleted: ["x"] },
    );
    expect(updates.map(({ revokedTokens }) => revokedTokens)).toEqual([
      {
        complete: true,
        ends: new Map([
          ["a", 7],
          ["b", 7],
        ]),
      },
      { complete: false, ends: new Map([["c", 7]]) },
      undefined,
    ]);
  });
});

async function updatesFrom(...messages: readonly Message[]): Promise<readonly SyncUpdate[]> {
  const service = {
    async *watchAuthorizedEntries() {
      for (const message of messages) yield create(WatchAuthorizedEntriesResponseSchema, message);
    },
  };
  const api = new RpcServerApi({ service: () => service } as never, silentLog);
  const updates: SyncUpdate[] = [];
  for await (const update of api.watch(new AbortController().signal)) updates.push(update);
  return updates;
}
