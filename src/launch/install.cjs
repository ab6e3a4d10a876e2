"use strict";

var fs = require("fs");
var path = require("path");
var spawnSync = require("child_process").spawnSync;
var programs = require("./programs.cjs");

exports.install = install;

if (require.main === module) install();

/**
 * Installs what package-lock.json names, unless that is there already: npm leaves a lock of its own in node_modules/
 * when it is done, so a lock that is missing or older tells. Quiet unless it fails, then npm's words are shown.
 *
 * Returns false, and sets the exit code, where npm failed.
 */
function install() {
  var wanted = modified(path.join(programs.TOP, "package-lock.json"));
  var installed = modified(path.join(programs.TOP, "node_modules", ".package-lock.json"));
  if (installed >= wanted && installed > 0) return true;

  var started = process.uptime();
  process.stderr.write("installing …\n");
  var npm = npmCommand();
  var result = spawnSync(npm[0], npm.slice(1).concat(["ci", "--no-audit", "--no-fund", "--loglevel=error"]), {
    cwd: programs.TOP,
    stdio: ["ignore", "pipe", "pipe"],
    encoding: "utf8",
    maxBuffer: 64 * 1024 * 1024,
  });
  if (result.status === 0) {
    process.stderr.write("installed in " + (process.uptime() - started).toFixed(1) + " s\n");
    return true;
  }
  process.stderr.write((result.stdout || "") + (result.stderr || ""));
  process.stderr.write("npm ci failed" + (result.error ? ": " + result.error.message : "") + "\n");
  process.exitCode = 1;
  return false;
}

/** npm as it was called for this script, so that no second npm of another version writes node_modules. */
function npmCommand() {
  var running = process.env.npm_execpath;
  return running && /[.]c?js$/.test(running) ? [process.execPath, running] : ["npm"];
}

/** Milliseconds since the Unix epoch, 0 where there is no such file. */
function modified(file) {
  try {
    return fs.statSync(file).mtimeMs;
  } catch {
    return 0;
  }
}
