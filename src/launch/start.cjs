"use strict";

var fs = require("fs");
var path = require("path");
var spawnSync = require("child_process").spawnSync;
var programs = require("./programs.cjs");
var install = require("./install.cjs").install;

main();

/** `npm start`: installs and builds what is missing, then runs the demonstration until Ctrl-C. */
function main() {
  if (!install()) return;
  var installed = process.uptime();
  var node = programs.fittingNode();
  if (node === undefined) return fail(programs.nodeWanted());
  if (!build(node)) return;
  programs.runInPlace(
    node,
    [path.join(__dirname, "assay.cjs"), "dev", "--demo"].concat(process.argv.slice(2)),
    function heard(message) {
      if (!message || message.event !== "first-svid") return;
      var seconds = (process.uptime() - installed).toFixed(1);
      process.stdout.write("first SVID " + seconds + " s after npm ci\n");
    },
  );
}

/** Compiles src/ to dist/ where anything in src/ is newer than the last build. Returns false where it does not compile. */
function build(node) {
  var built = newest([path.join(programs.TOP, "dist", ".tsbuildinfo")]);
  var sources = ["src", "tsconfig.json", "package.json"].map(function at(name) {
    return path.join(programs.TOP, name);
  });
  if (built > newest(sources) && fs.existsSync(path.join(programs.TOP, "dist", "main.js"))) return true;
  var started = process.uptime();
  process.stderr.write("building …\n");
  var compiler = path.join(programs.TOP, "node_modules", ".bin", "tsc");
  var result = spawnSync(node, [fs.realpathSync(compiler), "-p", "tsconfig.json"], {
    cwd: programs.TOP,
    stdio: ["ignore", 2, 2],
  });
  if (result.status !== 0) return fail("the build failed\n");
  // The compiler leaves its notes alone when nothing changed; touched, they say when the last look was.
  var now = new Date();
  fs.utimesSync(path.join(programs.TOP, "dist", ".tsbuildinfo"), now, now);
  process.stderr.write("built in " + (process.uptime() - started).toFixed(1) + " s\n");
  return true;
}

/** The youngest modification among files and whole folders, in milliseconds since the Unix epoch; 0 where none exists. */
function newest(places) {
  return places.reduce(function younger(most, place) {
    var facts;
    try {
      facts = fs.statSync(place);
    } catch {
      return most;
    }
    if (!facts.isDirectory()) return Math.max(most, facts.mtimeMs);
    var inside = fs.readdirSync(place).map(function at(name) {
      return path.join(place, name);
    });
    return Math.max(most, newest(inside));
  }, 0);
}

function fail(line) {
  process.stderr.write(line);
  process.exitCode = 1;
  return false;
}
