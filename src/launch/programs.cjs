"use strict";

var fs = require("fs");
var path = require("path");
var spawn = require("child_process").spawn;

/** The oldest Node that can run the program: the lower bound of `engines` in package.json. */
exports.OLDEST_NODE = 24;

/** The top folder of the package or checkout. */
exports.TOP = path.resolve(__dirname, "..", "..");

/** Whether the Node that runs this file can run the program too. */
exports.nodeFits = function nodeFits() {
  return parseInt(process.versions.node, 10) >= exports.OLDEST_NODE;
};

/**
 * The path of a Node that can run the program: this one, or the one that npm installed with the package.
 * Undefined where neither fits.
 */
exports.fittingNode = function fittingNode() {
  if (exports.nodeFits()) return process.execPath;
  try {
    var name = "node-" + process.platform + "-" + process.arch;
    var manifest = require.resolve(name + "/package.json", { paths: [exports.TOP] });
    var binary = path.join(path.dirname(manifest), "bin", "node");
    return fs.existsSync(binary) ? binary : undefined;
  } catch {
    return undefined;
  }
};

/** What to tell somebody whose Node is too old and whose installation brought no other: one line. */
exports.nodeWanted = function nodeWanted() {
  return (
    "assay: needs Node " +
    exports.OLDEST_NODE +
    " or newer and this is " +
    process.versions.node +
    "; install a newer Node, or the optional dependencies of the package, which bring one\n"
  );
};

/**
 * Runs a program in the place of this process: same terminal, signals passed on, and in the end the same exit code
 * or the same death by a signal. `onMessage` is called with what the program sends over a channel, if it sends.
 */
exports.runInPlace = function runInPlace(command, args, onMessage) {
  var stdio = onMessage ? ["inherit", "inherit", "inherit", "ipc"] : "inherit";
  var child = spawn(command, args, { stdio: stdio });
  var relays = SIGNALS.map(function relay(signal) {
    var listener = function pass() {
      // A terminal sends its signals to the whole group; passed on as well, the program would see it twice.
      if (OF_TERMINAL.indexOf(signal) >= 0 && process.stdin.isTTY) return;
      child.kill(signal);
    };
    process.on(signal, listener);
    return { signal: signal, listener: listener };
  });
  if (onMessage) child.on("message", onMessage);
  child.on("error", function failed(error) {
    process.stderr.write("assay: cannot start " + command + ": " + error.message + "\n");
    process.exitCode = 1;
  });
  child.on("exit", function ended(code, signal) {
    relays.forEach(function remove(relay) {
      process.removeListener(relay.signal, relay.listener);
    });
    if (signal) process.kill(process.pid, signal);
    else process.exitCode = code;
  });
};

var SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGWINCH"];
var OF_TERMINAL = ["SIGINT", "SIGQUIT", "SIGWINCH"];
