/**
 * The plan of the house: the one list of floors, rooms and walls. `dependency-cruiser.cjs` turns it into rules, the
 * tests beside it prove that each rule catches a planted violation, and `docs/ARCHITECTURE.md` explains it to people.
 *
 * A room is a folder of `src/` (or one file there). It imports rooms of lower floors and itself, never a room of its
 * own floor; `only` narrows that, `also` widens it by a named room of the same floor.
 */

/** @typedef {{ room: string, floor: number, why: string, only?: string[], also?: string[], offline?: true }} Room */

/** @type {readonly Room[]} */
export const ROOMS = [
  {
    room: "errors",
    floor: 0,
    only: [],
    offline: true,
    why: "the code table is what everything else speaks in, so it can depend on nothing",
  },
  {
    room: "spiffe",
    floor: 0,
    only: [],
    also: ["errors"],
    why: "the vocabulary is pure values and parsers; it stays readable against the standard alone",
  },
  { room: "proto", floor: 0, only: [], why: "wire types are generated and know nothing of who uses them" },
  {
    room: "tls",
    floor: 0,
    only: [],
    also: ["errors"],
    why: "what all handshakes share is used on every floor above, and judges nobody",
  },
  {
    room: "clock.ts",
    floor: 0,
    only: [],
    offline: true,
    why: "time is an argument and brings nothing along",
  },
  {
    room: "crypto",
    floor: 1,
    offline: true,
    why: "DER, X.509 and JOSE behind our own words: bytes in, bytes out, so that it can be fuzzed alone",
  },
  { room: "store", floor: 1, why: "the store keeps rows and must not learn what they mean" },
  {
    room: "observe",
    floor: 1,
    why: "logs, audit and metrics are written to by all, so they can know none of them",
  },
  { room: "peer", floor: 1, why: "the one room with native code: it asks the kernel and decides nothing" },
  {
    room: "rpc",
    floor: 1,
    why: "gRPC behind our own words, so that its library can be exchanged in one room",
  },
  { room: "http", floor: 1, why: "HTTP behind our own words; problem documents are written once" },
  {
    room: "outbound",
    floor: 1,
    why: "a URL from outside is asked under one set of rules, which nobody can forget a part of",
  },
  { room: "files", floor: 1, why: "files that survive a crash, and sockets among them, are made in one way" },
  {
    room: "plugin",
    floor: 2,
    only: ["errors", "spiffe", "clock.ts"],
    offline: true,
    why: "the contracts are published alone: whatever they import, every third party would carry",
  },
  {
    room: "workload",
    floor: 2,
    only: ["errors", "spiffe", "proto", "tls", "clock.ts", "crypto", "rpc"],
    why: "the client is published for programs that have no business with a store, a log or native code",
  },
  {
    room: "endpoint",
    floor: 2,
    why: "a Unix socket whose callers the kernel names is listened on in one way by both programs",
  },
  {
    room: "wire",
    floor: 2,
    why: "messages that both programs write are made in one way, though neither knows the other",
  },
  {
    room: "cloud",
    floor: 2,
    why: "the services that hold keys and authorities for others are spoken to in one room, whatever plugin asks",
  },
  {
    room: "attestation",
    floor: 3,
    why: "attestation turns evidence into selectors; it never sees a key of ours or a registration entry",
  },
  {
    room: "signing",
    floor: 3,
    offline: true,
    why: "signing mints what it is told to; it never sees evidence, entries or a network",
  },
  {
    room: "registry",
    floor: 3,
    why: "the registry says which selectors earn which SPIFFE ID and nothing about how they were found",
  },
  { room: "policy", floor: 3, offline: true, why: "policy judges facts that are handed to it" },
  { room: "federation", floor: 3, why: "federation exchanges bundles and needs no other room to do so" },
  {
    room: "tasks",
    floor: 3,
    offline: true,
    why: "the lives of tasks are leases and ends alone, whatever proved the task and whatever is issued to it",
  },
  {
    room: "revocation",
    floor: 3,
    offline: true,
    why: "what is revoked are facts and lists of them; whoever signs and sends those lists stands above",
  },
  { room: "keys", floor: 3, why: "key managers are plugins: they hold keys and know nobody who signs" },
  {
    room: "composers",
    floor: 3,
    offline: true,
    why: "credential composers are plugins: they have a say in the content of an SVID and know nobody who signs",
  },
  { room: "upstream", floor: 3, why: "upstream authorities are plugins as key managers are" },
  {
    room: "issuance",
    floor: 4,
    offline: true,
    why: "the only place that decides, so it stands between those who find facts and those who talk to callers",
  },
  { room: "server", floor: 5, why: "one of the two programs; it meets the agent on the wire only" },
  { room: "agent", floor: 5, why: "one of the two programs; it meets the server on the wire only" },
  { room: "config", floor: 6, why: "the whole configuration fills the option types of the floors below" },
  { room: "cli", floor: 6, also: ["config"], why: "commands read the configuration and call the programs" },
  {
    room: "main.ts",
    floor: 6,
    also: ["cli", "config"],
    why: "the program's entry hands over to the commands",
  },
  {
    room: "launch",
    floor: 7,
    only: [],
    why: "the launcher runs before anything is installed or built, on Nodes that cannot read the rest",
  },
];

/**
 * Libraries of the package and of Node that only some rooms may name. A package that is not listed may be named by
 * none: a new dependency starts with a line and a reason here.
 *
 * @typedef {{ library: string, rooms: string[], why: string }} Wall
 * @type {readonly Wall[]}
 */
export const WALLS = [
  {
    library: "@grpc/grpc-js",
    rooms: ["rpc"],
    why: "gRPC is spoken in one room; everyone else implements or calls services in our words",
  },
  {
    library: "fastify",
    rooms: ["http", "server", "agent", "workload/fastify.ts"],
    why: "routes live in the two programs, the words for them in http/; the published plugin names Fastify's types",
  },
  {
    library: "@fastify/swagger",
    rooms: ["http", "server", "agent"],
    why: "OpenAPI is made where routes are",
  },
  {
    library: "fastify-type-provider-zod",
    rooms: ["http", "server", "agent"],
    why: "schemas meet routes where routes are",
  },
  { library: "openapi-types", rooms: ["http", "server", "agent"], why: "OpenAPI is made where routes are" },
  { library: "kysely", rooms: ["store"], why: "a query outside the store would tie a room to a database" },
  {
    library: "node:sqlite",
    rooms: ["store"],
    why: "a query outside the store would tie a room to a database",
  },
  { library: "pino", rooms: ["observe"], why: "log lines keep one form and one redaction" },
  { library: "prom-client", rooms: ["observe"], why: "metric names and labels keep one form" },
  { library: "koffi", rooms: ["peer"], why: "native code can crash the process, so it has one room" },
  {
    library: "@peculiar/x509",
    rooms: ["crypto"],
    why: "its errors and its container stay behind our own words, and no hot path can reach it",
  },
  { library: "reflect-metadata", rooms: ["crypto"], why: "only @peculiar/x509 wants it" },
  { library: "jose", rooms: ["crypto"], why: "algorithms are allowed in one place" },
  {
    library: "zod",
    rooms: [
      "cli",
      "config",
      "http",
      "cloud",
      "server",
      "agent",
      "attestation",
      "keys",
      "composers",
      "upstream",
    ],
    why: "schemas stand at the edge (plugin configuration, files, routes); inside, values are already parsed",
  },
  {
    library: "@bufbuild/protobuf",
    rooms: ["proto", "rpc", "wire", "workload", "server", "agent", "cli"],
    why: "wire messages stop at the programs; the rooms that decide and sign never see one",
  },
  {
    library: "acme-client",
    rooms: ["server"],
    why: "certificates of the web are for the server's bundle endpoint and nobody else",
  },
  { library: "commander", rooms: ["cli", "main.ts"], why: "only commands read an argument line" },
  {
    library: "yaml",
    rooms: ["config", "cli", "cloud"],
    why: "YAML is an input of people: configuration, entry files and a kubeconfig",
  },
];

/** Folders whose subfolders are plugins: each stands alone and is named by the catalog or a composition only. */
export const PLUGIN_FOLDERS = [
  "attestation/node",
  "attestation/workload",
  "attestation/task",
  "keys",
  "upstream",
  "composers",
];

/** What a room that is `offline` may not name: whatever it learns from a network would be evidence nobody checked. */
export const NETWORK = ["net", "tls", "http", "https", "http2", "dgram", "dns"];
