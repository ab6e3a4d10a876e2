/** Rules for dependency-cruiser, made from the plan in `floors.mjs`. Run by `npm run check:floors`. */
const { ROOMS, WALLS, PLUGIN_FOLDERS, NETWORK } = require("./floors.mjs");

/** Unit tests stand beside the source but are no part of the house: they may name any room and any oracle. */
const TESTS = "[.]test[.]ts$";

module.exports = {
  forbidden: [
    ...ROOMS.map(floorRule),
    ...ROOMS.filter(({ offline }) => offline).map(offlineRule),
    ...WALLS.map(wallRule),
    ...PLUGIN_FOLDERS.map(pluginRule),
    {
      name: "library/unlisted",
      severity: "error",
      comment: "a dependency enters the house by a line with a reason in test/architecture/floors.mjs",
      from: { path: "^src/", pathNot: [TESTS] },
      to: {
        path: "(^|/)node_modules/",
        pathNot: [...WALLS.map(({ library }) => inPackage(library)), inPackage("@types/node")],
      },
    },
    {
      name: "library/unresolved",
      severity: "error",
      comment: "an import that resolves to nothing would slip past every other rule",
      from: { path: "^src/" },
      to: { couldNotResolve: true, pathNot: ["^node:", "^sqlite$"] },
    },
    {
      name: "generated/only-protobuf",
      severity: "error",
      comment: "generated code is the wire and nothing else, so that generating it again is always safe",
      from: { path: "^src/proto/gen/" },
      to: { pathNot: ["^src/proto/gen/", inPackage("@bufbuild/protobuf")] },
    },
    {
      name: "tests/not-in-the-house",
      severity: "error",
      comment: "what ships must not need what only tests have",
      from: { path: "^src/", pathNot: [TESTS] },
      to: { path: ["^test/", TESTS] },
    },
    {
      name: "house/no-circular",
      severity: "error",
      comment: "two files that need each other are one concept or one concept too many",
      from: { path: "^src/" },
      to: { circular: true },
    },
  ],
  options: {
    doNotFollow: { path: "node_modules" },
    tsPreCompilationDeps: true,
    enhancedResolveOptions: { exportsFields: ["exports"], conditionNames: ["import", "node", "types"] },
  },
};

function floorRule({ room, floor, only, also = [], why }) {
  const below = only ?? ROOMS.filter((other) => other.floor < floor).map((other) => other.room);
  return {
    name: `floor/${room}`,
    severity: "error",
    comment: `${room} stands on floor ${floor} and may import ${[...below, ...also].join(", ") || "no other room"}: ${why}`,
    from: { path: inRoom(room), pathNot: [TESTS] },
    to: { path: "^src/", pathNot: [room, ...below, ...also].map(inRoom).concat(TESTS) },
  };
}

function offlineRule({ room, why }) {
  return {
    name: `offline/${room}`,
    severity: "error",
    comment: `${room} never opens a connection: ${why}`,
    from: { path: inRoom(room), pathNot: [TESTS] },
    to: { path: `^(node:)?(${NETWORK.join("|")})(/promises)?$`, dependencyTypes: ["core"] },
  };
}

function wallRule({ library, rooms, why }) {
  return {
    name: `library/${library}`,
    severity: "error",
    comment: `${library} is for ${rooms.join(", ")} only: ${why}`,
    from: { path: "^src/", pathNot: [...rooms.map(inRoom), TESTS] },
    to: { path: library.startsWith("node:") ? `^(node:)?${library.slice(5)}$` : inPackage(library) },
  };
}

function pluginRule(folder) {
  return {
    name: `plugin/${folder}`,
    severity: "error",
    comment: `a plugin of ${folder} stands alone: it can be taken out, or be a package of its own, without a trace in another`,
    from: { path: `^src/${folder}/([^/]+)/`, pathNot: [TESTS] },
    to: {
      path: [...PLUGIN_FOLDERS.map((other) => `^src/${other}/[^/]+/`), "^src/attestation/catalog/"],
      pathNot: [`^src/${folder}/$1/`],
    },
  };
}

function inRoom(room) {
  return room.endsWith(".ts") ? `^src/${room.replace(".", "[.]")}$` : `^src/${room}/`;
}

/** Matches a file of an installed package, and its bare name where it is not installed. */
function inPackage(name) {
  return `((^|/)node_modules/|^)${name.replace(".", "[.]")}(/|$)`;
}
