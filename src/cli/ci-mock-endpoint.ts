import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** A platform's token endpoint, on this machine alone. */
export interface MockEndpoint extends AsyncDisposable {
  readonly url: string;
  /** The bearer that it wants. */
  readonly secret: string;
}

/**
 * Opens an endpoint that answers as the platforms' do: `/actions` as GitHub's and Forgejo's, `/azure` as that of Azure
 * DevOps, `/token` with the token alone for what imitates a platform's command.
 */
export async function openMockEndpoint(token: (audience: string) => string): Promise<MockEndpoint> {
  const secret = randomBytes(24).toString("base64url");
  const server = createServer((request, response) => answer(request, response, secret, token));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    secret,
    async [Symbol.asyncDispose]() {
      server.close();
      server.closeAllConnections();
    },
  };
}

function answer(
  { url = "/", method, headers }: IncomingMessage,
  response: ServerResponse,
  secret: string,
  token: (audience: string) => string,
): void {
  const { pathname, searchParams } = new URL(url, "http://127.0.0.1");
  const route = ROUTES.get(`${method ?? ""} ${pathname}`);
  if (route === undefined) response.writeHead(404).end();
  else if (headers.authorization !== `Bearer ${secret}`) response.writeHead(401).end();
  else {
    const { type, body } = route(token(searchParams.get("audience") ?? "https://github.com/octo-org"));
    response.writeHead(200, { "content-type": type }).end(body);
  }
}

const json = (value: unknown) => ({ type: "application/json", body: JSON.stringify(value) });
const ROUTES: ReadonlyMap<string, (token: string) => { readonly type: string; readonly body: string }> =
  new Map([
    ["GET /actions", (value: string) => json({ count: value.length, value })],
    ["POST /azure", (oidcToken: string) => json({ oidcToken })],
    ["GET /token", (body: string) => ({ type: "text/plain", body })],
  ]);
