import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer, type Server, type ServerOptions } from "node:https";
import type { AddressInfo } from "node:net";
import { systemClock, unixSeconds } from "../../src/clock.ts";
import type { Certificate } from "../../src/crypto/certificate-reader.ts";
import { toPem } from "../../src/crypto/pem.ts";
import { makeCertificate, makeKey, type TestCertificate, type TestKey } from "./certificates.ts";

/** A CA of a test, valid now. */
export interface TestCa {
  readonly certificate: Certificate;
  readonly key: TestKey;
  readonly pem: string;
}

/** What a server shows in its handshakes. */
export interface TestCredential {
  readonly cert: string;
  readonly key: string;
}

/** Makes a CA, self-signed or under another. */
export function makeCa(subject: string, wanted: Partial<TestCertificate> = {}): TestCa {
  const key = wanted.key ?? makeKey();
  const certificate = makeCertificate({ subject, ca: true, ...validNow(), ...wanted, key });
  return { certificate, key, pem: toPem("CERTIFICATE", certificate.der) };
}

/** Makes a server's certificate under a CA: for DNS names, as an X509-SVID, or as bad as asked. */
export function makeCredential(
  ca: TestCa,
  wanted: Partial<TestCertificate> = {},
  intermediates: readonly TestCa[] = [],
): TestCredential {
  const key = wanted.key ?? makeKey();
  const certificate = makeCertificate({ subject: "server", issuer: ca, ...validNow(), ...wanted, key });
  const chain = [certificate, ...intermediates.map((one) => one.certificate)];
  return {
    cert: chain.map(({ der }) => toPem("CERTIFICATE", der)).join(""),
    key: toPem("PRIVATE KEY", key.pkcs8),
  };
}

/** An https server on loopback that counts what reaches it. */
export class RemoteServer implements AsyncDisposable {
  readonly #server: Server;
  /** Requests that arrived, `METHOD path`. */
  readonly requests: string[] = [];
  /** The headers of the newest request. */
  headers: IncomingMessage["headers"] = {};
  /** Bytes of application data that clients sent, headers included. */
  received = 0;
  /** Connections that were opened. */
  connections = 0;
  answer: (request: IncomingMessage, response: ServerResponse) => void;

  private constructor(options: ServerOptions, answer: RemoteServer["answer"]) {
    this.answer = answer;
    this.#server = createServer(options, (request, response) => {
      this.requests.push(`${request.method ?? ""} ${request.url ?? ""}`);
      this.headers = request.headers;
      this.answer(request, response);
    });
    this.#server.on("connection", () => (this.connections += 1));
    this.#server.on("secureConnection", (socket) =>
      socket.on("data", (bytes) => (this.received += bytes.length)),
    );
    this.#server.on("tlsClientError", () => {});
  }

  static async start(
    credential: ServerOptions,
    answer: RemoteServer["answer"] | string,
  ): Promise<RemoteServer> {
    const text = answer;
    const server = new RemoteServer(
      credential,
      typeof text === "string" ? (_request, response) => void response.end(text) : text,
    );
    await new Promise<void>((resolve) => server.#server.listen(0, "127.0.0.1", resolve));
    return server;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Shows another certificate from the next handshake on. */
  show(credential: TestCredential): void {
    this.#server.setSecureContext(credential);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

function validNow(): { readonly notBefore: number; readonly notAfter: number } {
  const now = unixSeconds(systemClock);
  return { notBefore: now - 60, notAfter: now + 3600 };
}
