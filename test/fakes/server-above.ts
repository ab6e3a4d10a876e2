import type { MessageInitShape } from "@bufbuild/protobuf";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { createServer, type Server, type TLSSocket } from "node:tls";
import { systemClock } from "../../src/clock.ts";
import { toPem } from "../../src/crypto/pem.ts";
import { Bundle } from "../../src/proto/gen/spire/api/server/bundle/v1/bundle_pb.ts";
import {
  type NewDownstreamX509CARequest,
  type NewDownstreamX509CAResponseSchema,
  SVID,
} from "../../src/proto/gen/spire/api/server/svid/v1/svid_pb.ts";
import type { BundleSchema } from "../../src/proto/gen/spire/api/types/bundle_pb.ts";
import { RpcServer } from "../../src/rpc/server.ts";
import { makeKey } from "./certificates.ts";
import { makeCa, makeCredential, type TestCa } from "./remote-server.ts";
import { FakeWorkloadEndpoint } from "./workload-endpoint.ts";

type MintAnswer = MessageInitShape<typeof NewDownstreamX509CAResponseSchema>;
type BundleAnswer = MessageInitShape<typeof BundleSchema>;

/** A server above as a server below sees it: says what a test wants it to, right or wrong, over TLS on loopback. */
export class FakeServerAbove implements AsyncDisposable {
  /** Whose X509-SVIDs the two show each other; what is signed and trusted above is the test's affair. */
  readonly #ca: TestCa = makeCa("above");
  readonly #rpc = new RpcServer<undefined>({ clock: systemClock, before: () => undefined });
  readonly #sockets = new Set<TLSSocket>();
  readonly #server: Server;
  /** The Workload API at which the server below gets its SVID. */
  readonly endpoint: FakeWorkloadEndpoint;
  /** Requests for a CA that came. */
  readonly orders: NewDownstreamX509CARequest[] = [];
  mint: () => MintAnswer | Promise<MintAnswer> = () => ({ caCertChain: [] });
  bundle: () => BundleAnswer | Promise<BundleAnswer> = () => ({ trustDomain: "example.org" });

  private constructor(endpoint: FakeWorkloadEndpoint) {
    this.endpoint = endpoint;
    this.#rpc.register(SVID, {
      newDownstreamX509CA: (request) => {
        this.orders.push(request);
        return this.mint();
      },
    });
    this.#rpc.register(Bundle, { getBundle: () => this.bundle() });
    this.#server = createServer({
      ...makeCredential(this.#ca, { uris: ["spiffe://example.org/spire/server"] }),
      ALPNProtocols: ["h2"],
      requestCert: true,
      rejectUnauthorized: false,
    });
    this.#server.on("tlsClientError", () => undefined);
    this.#server.on("secureConnection", (socket) => {
      this.#sockets.add(socket);
      socket.once("close", () => this.#sockets.delete(socket));
      this.#rpc.injectConnection(socket, undefined);
    });
  }

  static async open(): Promise<FakeServerAbove> {
    const fake = new FakeServerAbove(await FakeWorkloadEndpoint.open());
    fake.#server.listen(0, "127.0.0.1");
    await once(fake.#server, "listening");
    fake.#giveSvid();
    return fake;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
    await this.#rpc.shutdown(0);
    await this.endpoint[Symbol.asyncDispose]();
  }

  #giveSvid(): void {
    const key = makeKey();
    const spiffeId = "spiffe://example.org/below";
    const { cert } = makeCredential(this.#ca, { key, uris: [spiffeId] });
    const der = Buffer.from(cert.split("\n").slice(1, -2).join(""), "base64");
    if (toPem("CERTIFICATE", der) !== cert) throw new Error("the certificate is not one PEM block");
    this.endpoint.send("fetchX509SVID", {
      svids: [{ spiffeId, x509Svid: der, x509SvidKey: key.pkcs8, bundle: this.#ca.certificate.der }],
    });
  }
}
