import { describe, expect, it } from "vitest";
import type { PeerProcess } from "../../peer/identify-peer.ts";
import type { CallContext } from "../../rpc/call-context.ts";
import { admitAdminCall } from "./admit-admin-call.ts";

const own = process.geteuid?.() ?? 0;

function call(method: string, uid: number) {
  return { method, peer: { uid } } as CallContext<PeerProcess, undefined>;
}

const DELEGATED = "/spire.api.agent.delegatedidentity.v1.DelegatedIdentity/FetchJWTSVIDs";

describe("a call on the admin socket", () => {
  it.each([DELEGATED, "/assay.api.agent.v1.Explain/ExplainPid", "/grpc.health.v1.Health/Check"])(
    "may be made to %s by the agent's own user and by root",
    (method) => {
      for (const uid of [own, 0]) expect(() => admitAdminCall(call(method, uid))).not.toThrow();
    },
  );

  it("may be made to the Delegated Identity API by anybody, who is told by identity there", () => {
    expect(() => admitAdminCall(call(DELEGATED, own + 1))).not.toThrow();
  });

  it.each([
    "/assay.api.agent.v1.Explain/ExplainPid",
    "/assay.api.agent.v1.Status/GetInfo",
    "/grpc.health.v1.Health/Check",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/spire.api.agent.delegatedidentity.v1.DelegatedIdentityX/FetchJWTSVIDs",
    "/anything.Else/Method",
  ])("may not be made to %s by another user", (method) => {
    expect(() => admitAdminCall(call(method, own + 1))).toThrowCode("AUTHORIZATION_DENIED");
  });
});
