#!/usr/bin/env node
/**
 * launch/ — starts the program, in words that any Node since 12 can read.
 *
 * Must never know what the program does: it finds a Node that fits, installs and builds in a checkout, and hands over.
 * Called by the shell as `assay`, and by npm as `npm start` and `npm test`.
 */
"use strict";

var fs = require("fs");
var path = require("path");
var url = require("url");
var collector = require("./collector.cjs");
var programs = require("./programs.cjs");

main();

function main() {
  if (!programs.nodeFits()) {
    var node = programs.fittingNode();
    if (node === undefined) return refuse(programs.nodeWanted());
    return programs.runInPlace(node, [__filename].concat(process.argv.slice(2)));
  }
  var entry = path.join(programs.TOP, "dist", "main.js");
  if (!fs.existsSync(entry)) {
    var checkout = fs.existsSync(path.join(programs.TOP, "src", "main.ts"));
    return refuse(
      checkout
        ? "assay: this checkout is not built; run: npm run build\n"
        : "assay: the package is incomplete, " + entry + " is missing; install it again\n",
    );
  }
  collector.tuneCollector();
  import(url.pathToFileURL(entry).href).catch(function failed(error) {
    process.stderr.write("assay: " + ((error && error.stack) || error) + "\n");
    process.exitCode = 1;
  });
}

function refuse(line) {
  process.stderr.write(line);
  process.exitCode = 1;
}
