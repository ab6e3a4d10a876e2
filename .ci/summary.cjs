/** Adds up the checks and vitest's reports and prints the one line that a reader of the log looks for. */
"use strict";

const fs = require("fs");
const path = require("path");

const sum = { passed: Number(process.argv[2]), failed: Number(process.argv[3]), skipped: 0 };
const folder = process.argv[4];

for (const name of fs.readdirSync(folder).filter((entry) => entry.endsWith(".json.code"))) {
  const code = Number(fs.readFileSync(path.join(folder, name), "utf8"));
  const before = sum.failed;
  try {
    const report = JSON.parse(fs.readFileSync(path.join(folder, name.slice(0, -".code".length)), "utf8"));
    sum.passed += report.numPassedTests;
    sum.failed += report.numFailedTests;
    sum.skipped += report.numPendingTests + report.numTodoTests;
    for (const suite of report.testResults) {
      for (const test of suite.assertionResults) {
        if (test.status === "passed") continue;
        console.log(`${test.status}: ${test.fullName}`);
        for (const message of test.failureMessages ?? []) console.log(shortened(message));
      }
      if (suite.message) console.log(`${path.relative(process.cwd(), suite.name)}: ${suite.message}`);
    }
  } catch (error) {
    console.log(`no report of ${name}: ${error.message}`);
  }
  // A suite that broke before its first test is in nobody's count.
  if (code !== 0 && sum.failed === before) sum.failed += 1;
}

/** What is left of a long log is its end: the reason of a failure must be there too. */
function shortened(message) {
  const lines = message.split("\n").slice(0, 20);
  return lines.map((line) => `  ${line.slice(0, 300)}`).join("\n");
}

console.log(`${sum.passed} passed, ${sum.failed} failed, ${sum.skipped} skipped`);
process.exitCode = sum.failed === 0 ? 0 : 1;
