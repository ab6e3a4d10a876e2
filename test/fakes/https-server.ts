import { once } from "node:events";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { toPem } from "../../src/crypto/pem.ts";
import { makeCertificate, makeKey } from "./certificates.ts";

/** Answers one request, of which the body was read: JSON, or `undefined` where there was none. */
export type HttpsHandler = (
  request: IncomingMessage,
  body: unknown,
  response: ServerResponse,
) => Promise<void> | void;

/** An HTTPS server on loopback for a fake, with an authority of its own and a folder for files. Real time. */
export class FakeHttpsServer implements AsyncDisposable {
  readonly #folder: string;
  readonly #server: Server;
  readonly #authority: ReturnType<typeof makeAuthority>;

  private constructor(folder: string, server: Server, authority: ReturnType<typeof makeAuthority>) {
    this.#folder = folder;
    this.#server = server;
    this.#authority = authority;
  }

  /**
   * Starts one, with its authority in `ca.pem` of the folder. It asks for client certificates and lets those in who have none.
   * @param name Begins the name of the folder.
   * @param dnsName The name in its certificate.
   */
  static async start(name: string, dnsName: string): Promise<FakeHttpsServer> {
    const folder = mkdtempSync(join(tmpdir(), `${name}-`));
    const authority = makeAuthority();
    const { certificate, key } = authority.issue({ subject: name, dnsNames: [dnsName] });
    writeFileSync(join(folder, "ca.pem"), authority.pem);
    const server = createServer({
      cert: certificate,
      key,
      ca: authority.pem,
      requestCert: true,
      rejectUnauthorized: false,
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    return new FakeHttpsServer(folder, server, authority);
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Answers by this handler from now on; a connection breaks where it throws. */
  serve(handler: HttpsHandler): void {
    this.#server.on("request", (request: IncomingMessage, response: ServerResponse) => {
      readBody(request)
        .then((body) => handler(request, body, response))
        .catch(() => response.destroy());
    });
  }

  path(name: string): string {
    return join(this.#folder, name);
  }

  /** Puts a line into a file of the folder, readable by its owner alone unless told, and gives its path. */
  write(name: string, text: string, mode = 0o600): string {
    const path = this.path(name);
    writeFileSync(path, `${text}\n`, { mode });
    chmodSync(path, mode);
    return path;
  }

  /** Writes a client certificate of the authority's and its key into the folder: `client.pem` and `client.key`. */
  writeClient(subject: string): { readonly certificate: string; readonly key: string } {
    const { certificate, key } = this.#authority.issue({ subject, purposes: ["1.3.6.1.5.5.7.3.2"] });
    return { certificate: this.write("client.pem", certificate, 0o644), key: this.write("client.key", key) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

function makeAuthority() {
  const now = Math.floor(Date.now() / 1000);
  const time = { notBefore: now - 60, notAfter: now + 3600 };
  const caKey = makeKey();
  const ca = makeCertificate({ subject: "authority of a fake", key: caKey, ca: true, ...time });
  const issuer = { certificate: ca, key: caKey };
  return {
    pem: toPem("CERTIFICATE", ca.der),
    issue(wanted: { subject: string; dnsNames?: string[]; purposes?: string[] }) {
      const key = makeKey();
      const { der } = makeCertificate({ ...wanted, key, issuer, ...time });
      return {
        certificate: toPem("CERTIFICATE", der),
        key: key.privateKey.export({ format: "pem", type: "pkcs8" }).toString(),
      };
    },
  };
}

async function readBody(request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
  const text = Buffer.concat(chunks).toString();
  return text === "" ? undefined : JSON.parse(text);
}
