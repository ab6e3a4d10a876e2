import { connect, type ConnectionOptions, type TLSSocket } from "node:tls";
import { request } from "node:https";
import { readCertificate, type Certificate } from "../../../src/crypto/certificate-reader.ts";
import { formatBundleDocument } from "../../../src/crypto/bundle-document.ts";
import { emptyBundle, type SpiffeBundle } from "../../../src/spiffe/bundle.ts";
import { parseTrustDomain } from "../../../src/spiffe/trust-domain.ts";
import { freePorts } from "../../e2e/scratch.ts";
import type { TestCa } from "../../fakes/remote-server.ts";
import { makeWorld, type World, type WorldOptions } from "../world.ts";

/** A world whose server has a bundle endpoint. */
export interface EndpointWorld extends AsyncDisposable {
  readonly world: World;
  readonly port: number;
}

/** What the endpoint answered. */
export interface EndpointAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly body: Buffer;
}

/** Starts a world with a bundle endpoint on loopback; `endpoint` is as in the configuration, without `listen`. */
export async function makeEndpointWorld(
  endpoint: Readonly<Record<string, unknown>>,
  options: Omit<WorldOptions, "serverConfig"> = {},
): Promise<EndpointWorld> {
  const [port = 0] = await freePorts(1);
  // JSON is YAML.
  const serverConfig = JSON.stringify({
    federation: { bundle_endpoint: { listen: `127.0.0.1:${port}`, ...endpoint } },
  });
  const world = await makeWorld({ ...options, serverConfig });
  return { world, port, [Symbol.asyncDispose]: () => world[Symbol.asyncDispose]() };
}

/** Asks an endpoint without a word about who asks. */
export function askEndpoint(port: number, path = "/", method = "GET"): Promise<EndpointAnswer> {
  return new Promise((resolve, reject) => {
    const asking = request(
      { host: "127.0.0.1", port, path, method, agent: false, rejectUnauthorized: false },
      (response) => {
        const chunks: Buffer[] = [];
        response.on("data", (chunk: Buffer) => chunks.push(chunk));
        response.on("end", () =>
          resolve({
            status: response.statusCode ?? 0,
            headers: response.headers,
            body: Buffer.concat(chunks),
          }),
        );
      },
    );
    asking.once("error", reject);
    asking.end();
  });
}

/** The certificate that an endpoint shows, and how the handshake went. */
export function shakeHands(
  port: number,
  options: ConnectionOptions = {},
): Promise<{ readonly certificate: Certificate; readonly socket: TLSSocket }> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: "127.0.0.1", port, rejectUnauthorized: false, ...options }, () => {
      const certificate = readCertificate(socket.getPeerCertificate().raw);
      socket.end();
      resolve({ certificate, socket });
    });
    socket.once("error", reject);
  });
}

/** A bundle as a document. */
export function documentOf(
  name: string,
  authorities: readonly TestCa[],
  change: Partial<Pick<SpiffeBundle, "sequence" | "refreshHint">> = {},
): string {
  return formatBundleDocument({
    ...emptyBundle(parseTrustDomain(name)),
    sequence: 1n,
    refreshHint: 5,
    ...change,
    x509Authorities: authorities.map(({ certificate }) => ({ certificate: certificate.der, tainted: false })),
  });
}
