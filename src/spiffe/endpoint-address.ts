import { isIP } from "node:net";
import { AssayError } from "../errors/assay-error.ts";

/** Where a Workload Endpoint or a Broker Endpoint is (Workload Endpoint §4, Broker Endpoint §4). */
export type EndpointAddress =
  | { readonly scheme: "unix"; readonly path: string }
  | { readonly scheme: "tcp"; readonly host: string; readonly port: number };

/**
 * Parses the address form of `SPIFFE_ENDPOINT_SOCKET`: `unix:///absolute/path` (also `unix:/absolute/path`) or
 * `tcp://IP:port`, and nothing besides (Workload Endpoint §4).
 * @throws AssayError `CONFIG_INVALID` saying which part is wrong.
 */
export function parseEndpointAddress(text: string): EndpointAddress {
  return parse(text, { subject: "workload endpoint address", dnsNames: false });
}

/**
 * Parses the address form of `SPIFFE_BROKER_SOCKET`: as `parseEndpointAddress`, but the host of a `tcp` address may also
 * be a DNS name (Broker Endpoint §4).
 * @throws AssayError `CONFIG_INVALID` saying which part is wrong.
 */
export function parseBrokerAddress(text: string): EndpointAddress {
  return parse(text, { subject: "broker endpoint address", dnsNames: true });
}

interface Form {
  /** What is parsed, for messages. */
  readonly subject: string;
  readonly dnsNames: boolean;
}

function parse(text: string, form: Form): EndpointAddress {
  if (text.startsWith("unix:")) return parseUnix(text.slice("unix:".length), form);
  if (text.startsWith("tcp://")) return parseTcp(text.slice("tcp://".length), form);
  throw refused(form, "scheme must be unix or tcp");
}

function parseUnix(rest: string, form: Form): EndpointAddress {
  const path = rest.startsWith("//") ? rest.slice(2) : rest;
  if (!path.startsWith("/")) throw refused(form, "a unix address has no authority part and an absolute path");
  if (/[?#]/.test(path)) throw refused(form, "a unix address has no query and no fragment");
  if (path === "/") throw refused(form, "a unix address needs the path of a socket");
  return { scheme: "unix", path };
}

function parseTcp(rest: string, form: Form): EndpointAddress {
  const kind = form.dnsNames ? "an IP address or a DNS name" : "an IP address";
  const match = /^(?:\[([^\]]*)\]|([^:[\]/?#@]*)):(\d{1,5})$/.exec(rest);
  if (match === null) throw refused(form, `a tcp address is ${kind} and a port, nothing else`);
  const [, v6, other, portText] = match;
  const host = v6 ?? other ?? "";
  const fits = v6 === undefined ? isIP(host) === 4 || (form.dnsNames && isDnsName(host)) : isIP(host) === 6;
  if (!fits) throw refused(form, `the host of a tcp address must be ${kind}`);
  const port = Number(portText);
  if (port < 1 || port > 65535) {
    throw refused(form, "the port of a tcp address must lie between 1 and 65535");
  }
  return { scheme: "tcp", host, port };
}

/** A name of letters, digits and hyphens (RFC 1123 §2.1). One that ends in digits alone would be a broken IPv4 address. */
function isDnsName(host: string): boolean {
  const labels = host.split(".");
  return (
    host.length <= 253 &&
    labels.every((label) => /^[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?$/.test(label)) &&
    !/^\d+$/.test(labels.at(-1) ?? "")
  );
}

function refused({ subject }: Form, detail: string): AssayError {
  return new AssayError("CONFIG_INVALID", `${subject}: ${detail}`);
}
