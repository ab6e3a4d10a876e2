"use strict";

var v8 = require("v8");

/** The newest Node whose engine was seen to know the flags of {@link exports.tuneCollector}; a newer one is left as it is. */
exports.NEWEST_NODE = 26;

/** Fits the engine's garbage collector to a server. Must run before the program's code is hot. */
exports.tuneCollector = function tuneCollector() {
  // An engine that does not know a flag writes that on the terminal and throws nothing.
  if (parseInt(process.versions.node, 10) > exports.NEWEST_NODE) return;
  exports.FLAGS.forEach(function set(flag) {
    v8.setFlagsFromString(flag);
  });
};

/** What the engine is told. */
exports.FLAGS = [
  // Else it learns under load, from calls that were seen by two collections, to make parts of each call among its old
  // objects, and all that they lead to stays until the next full collection.
  "--no-allocation-site-pretenuring",
  // The old objects may double before they are all looked through. Else a small heap is looked through as soon as 8 MB
  // were added to it, without end under load, and helpers of the engine spend a tenth of the processor time on it.
  "--heap-growing-percent=100",
];
