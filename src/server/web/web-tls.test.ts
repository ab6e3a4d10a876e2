import { once } from "node:events";
import type { IncomingMessage } from "node:http";
import { Agent, request, type RequestOptions } from "node:https";
import type { Socket } from "node:net";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { makeCertificate, makeKey, TEST_NOW, type TestKey } from "../../../test/fakes/certificates.ts";
import { OPERATOR, sampleBundle, webBench, type WebBench } from "../../../test/fakes/web-app.ts";
import type { Certificate } from "../../crypto/certificate-reader.ts";
import { toPem } from "../../crypto/pem.ts";
import type { Caller } from "../../issuance/caller.ts";
import { createClientSvidVerifier } from "../../endpoint/client-svid.ts";
import { TlsListener } from "../../endpoint/tls-listener.ts";

interface Root {
  readonly certificate: Certificate;
  readonly key: TestKey;
}

const root = makeRoot();
const foreignRoot = makeRoot();

describe("the web port over TLS", () => {
  let bench: WebBench;
  let listener: TlsListener;
  let bundle: ReturnType<typeof sampleBundle>;

  beforeEach(async () => {
    bundle = {
      ...sampleBundle(),
      x509Authorities: [{ certificate: root.certificate.der, tainted: false }],
    };
    const callers = new WeakMap<Socket, () => Caller>();
    bench = await webBench({
      callerOf: (socket) => callers.get(socket)?.() ?? { address: "" },
    });
    const server = svidOf("spiffe://example.org/spire/server");
    listener = await TlsListener.open({
      address: { host: "127.0.0.1", port: 0 },
      alpn: ["http/1.1"],
      credential: { certificateChain: server.cert, privateKey: server.key },
      verifier: createClientSvidVerifier({
        clock: bench.clock,
        bundleOf: () => bundle,
        crlsOf: () => undefined,
      }),
      onConnection({ socket, peer }) {
        callers.set(socket, () => peer.caller());
        bench.app.serve(socket);
      },
    });
  });

  afterEach(async () => {
    await listener[Symbol.asyncDispose]();
    await bench[Symbol.asyncDispose]();
  });

  it("answers an administrator who shows an SVID", async () => {
    expect(await ask("/v1/entries", svidOf(OPERATOR))).toEqual({ status: 200, body: { entries: [] } });
  });

  it("refuses an SVID that is no administrator's, and names its holder in the audit log", async () => {
    const answer = await ask("/v1/entries", svidOf("spiffe://example.org/workload"));
    expect(answer).toMatchObject({ status: 403, body: { code: "AUTHORIZATION_DENIED" } });
    expect(bench.audit).toMatchObject([
      { event: "api.denied", caller_id: "spiffe://example.org/workload", caller_address: "127.0.0.1" },
    ]);
  });

  it("asks a caller without a certificate for one, but not for what is public", async () => {
    expect(await ask("/v1/entries", {})).toMatchObject({
      status: 401,
      body: { code: "CALLER_NOT_IDENTIFIED" },
    });
    expect(await ask("/live", {})).toMatchObject({ status: 200 });
  });

  it.each([
    ["of a foreign root", () => svidOf(OPERATOR, { issuer: foreignRoot })],
    ["that has expired", () => svidOf(OPERATOR, { notAfter: TEST_NOW - 1 })],
    ["without a SPIFFE ID", () => svidOf("https://example.org/operator")],
    ["signed by itself", () => svidOf(OPERATOR, { issuer: undefined })],
  ])("closes the connection of an SVID %s", async (_, credential) => {
    await expect(ask("/live", credential())).rejects.toThrow(/hang up|ECONNRESET|EPIPE/);
  });

  it("refuses an open connection once its root has left the bundle", async () => {
    const socketOf: { socket?: Socket } = {};
    const options = svidOf(OPERATOR);
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    expect(await ask("/v1/entries", { ...options, agent }, socketOf)).toMatchObject({ status: 200 });
    const first = socketOf.socket;
    bundle = { ...bundle, x509Authorities: [{ certificate: foreignRoot.certificate.der, tainted: false }] };
    expect(await ask("/v1/entries", { ...options, agent }, socketOf)).toMatchObject({
      status: 401,
      body: { code: "CALLER_NOT_IDENTIFIED" },
    });
    expect(socketOf.socket).toBe(first);
    agent.destroy();
  });

  async function ask(path: string, credential: RequestOptions, seen: { socket?: Socket } = {}) {
    const call = request({
      host: "127.0.0.1",
      port: listener.address.port,
      path,
      // The client's side is not what is tested here; its own check would want the real time.
      rejectUnauthorized: false,
      agent: false,
      ...credential,
    });
    call.on("socket", (socket) => (seen.socket = socket));
    call.end();
    const [response] = (await once(call, "response")) as [IncomingMessage];
    let body = "";
    for await (const chunk of response) body += String(chunk);
    return { status: response.statusCode, body: JSON.parse(body) as unknown };
  }
});

function makeRoot(): Root {
  const key = makeKey();
  return {
    key,
    certificate: makeCertificate({ subject: "root", key, ca: true, uris: ["spiffe://example.org"] }),
  };
}

function svidOf(
  uri: string,
  change: { readonly issuer?: Root | undefined; readonly notAfter?: number } = { issuer: root },
) {
  const key = makeKey();
  const issuer = "issuer" in change ? change.issuer : root;
  const { der } = makeCertificate({
    subject: "svid",
    key,
    uris: [uri],
    purposes: ["1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"],
    notBefore: TEST_NOW - 3600,
    ...(change.notAfter !== undefined && { notAfter: change.notAfter }),
    ...(issuer !== undefined && { issuer }),
  });
  return { cert: toPem("CERTIFICATE", der), key: toPem("PRIVATE KEY", key.pkcs8) };
}
