import type { SpiffeId } from "../spiffe/id.ts";
import type { DevPlace } from "./dev-place.ts";
import type { CliIo } from "./io.ts";
import { jwtSvidText, x509SvidText } from "./svid-text.ts";
import { facts } from "./table.ts";
import type { X509SvidView } from "./workload-client.ts";

/** What the calling user got over the socket. */
export interface DemoSvids {
  readonly x509: readonly X509SvidView[];
  readonly jwt: { readonly spiffeId: string; readonly hint: string; readonly svid: string };
}

/** Where everything is. */
export function placeText(
  place: DevPlace,
  addresses: { readonly api: string; readonly web: string },
): string {
  return facts([
    ["Folder", `${place.folder}${place.isTemporary ? " (removed at the end)" : ""}`],
    ["Server API", addresses.api],
    ["Web port", addresses.web],
    ["Server's admin socket", place.server.adminSocket],
    ["Workload socket", place.agent.socket],
    ["Agent's admin socket", place.agent.adminSocket],
  ]);
}

/** The SVIDs, for people. */
export function demoText({ x509, jwt }: DemoSvids): string {
  const [first] = x509;
  return [
    "X509-SVID, as this process got it over the workload socket:",
    indented(first === undefined ? "none" : x509SvidText(first)),
    "",
    "JWT-SVID for the audience demo:",
    indented(jwtSvidText(jwt.spiffeId, jwt.hint, jwt.svid)),
  ].join("\n");
}

/** What to type next, to be copied as it stands. */
export function nextText(io: CliIo, place: DevPlace, user: SpiffeId): string {
  const { command } = io;
  const socket = quoted(place.agent.socket);
  const admin = `--admin-socket ${quoted(place.server.adminSocket)}`;
  return [
    `Every process of uid ${io.user.uid} is ${user}. In another terminal:`,
    "",
    `  export SPIFFE_ENDPOINT_SOCKET=${quoted(`unix://${place.agent.socket}`)}`,
    `  ${command} fetch x509`,
    `  ${command} fetch jwt --audience demo`,
    `  curl --unix-socket ${socket} -H 'workload.spiffe.io: true' http://localhost/v1/x509-svids`,
    `  ${command} entry list ${admin}`,
    `  ${command} agents list ${admin}`,
    `  ${command} ci-mock github${place.isTemporary ? "" : ` --dev ${quoted(place.folder)}`} -- ${command} task run -- ${command} fetch x509`,
    `  ${command} explain pid $$ --admin-socket ${quoted(place.agent.adminSocket)}`,
    "",
    `Ctrl-C ends it${place.isTemporary ? " and removes the folder" : ""}.`,
  ].join("\n");
}

function indented(text: string): string {
  return text.replaceAll(/^/gm, "  ");
}

function quoted(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", String.raw`'\''`)}'`;
}
