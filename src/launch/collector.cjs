"use strict";

var v8 = require("v8");

/** The newest Node whose engine was seen to know {@link exports.tuneCollector}'s flag; a newer one is left as it is. */
exports.NEWEST_NODE = 26;

/**
 * Keeps the engine from allocating among its old objects what it expects to live long. Under load it learns that from
 * calls which were seen by two collections; from then on parts of each call begin as old, and all that they lead to
 * stays until the next full collection. Must run before the program's code is hot.
 */
exports.tuneCollector = function tuneCollector() {
  // An engine that does not know a flag writes that on the terminal and throws nothing.
  if (parseInt(process.versions.node, 10) > exports.NEWEST_NODE) return;
  v8.setFlagsFromString("--no-allocation-site-pretenuring");
};
