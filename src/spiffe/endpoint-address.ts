import { isIP } from "node:net";
import { AssayError } from "../errors/assay-error.ts";

/** Where a Workload Endpoint listens (Workload Endpoint §4). */
export type EndpointAddress =
  | { readonly scheme: "unix"; readonly path: string }
  | { readonly scheme: "tcp"; readonly host: string; readonly port: number };

/**
 * Parses the address form of `SPIFFE_ENDPOINT_SOCKET`: `unix:///absolute/path` (also `unix:/absolute/path`) or
 * `tcp://IP:port`, and nothing besides (Workload Endpoint §4).
 * @throws AssayError `CONFIG_INVALID` saying which part is wrong.
 */
export function parseEndpointAddress(text: string): EndpointAddress {
  if (text.startsWith("unix:")) return parseUnix(text.slice("unix:".length));
  if (text.startsWith("tcp://")) return parseTcp(text.slice("tcp://".length));
  throw refused("scheme must be unix or tcp");
}

function parseUnix(rest: string): EndpointAddress {
  const path = rest.startsWith("//") ? rest.slice(2) : rest;
  if (!path.startsWith("/")) throw refused("a unix address has no authority part and an absolute path");
  if (/[?#]/.test(path)) throw refused("a unix address has no query and no fragment");
  if (path === "/") throw refused("a unix address needs the path of a socket");
  return { scheme: "unix", path };
}

function parseTcp(rest: string): EndpointAddress {
  const match = /^(?:\[([^\]]*)\]|([^:[\]/?#@]*)):(\d{1,5})$/.exec(rest);
  if (match === null) throw refused("a tcp address is an IP address and a port, nothing else");
  const [, v6, v4, portText] = match;
  const host = v6 ?? v4 ?? "";
  const family = isIP(host);
  if (family !== (v6 === undefined ? 4 : 6)) throw refused("the host of a tcp address must be an IP address");
  const port = Number(portText);
  if (port < 1 || port > 65535) throw refused("the port of a tcp address must lie between 1 and 65535");
  return { scheme: "tcp", host, port };
}

function refused(detail: string): AssayError {
  return new AssayError("CONFIG_INVALID", `workload endpoint address: ${detail}`);
}
