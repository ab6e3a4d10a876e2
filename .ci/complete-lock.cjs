/**
 * Completes package-lock.json with the optional packages of other platforms:  node .ci/complete-lock.cjs
 *
 * Where a registry does not serve them, `npm install` leaves them out of the lock, and `npm ci` then refuses the lock
 * everywhere. Run it after each change of a dependency; it changes nothing where nothing is missing. The entries have
 * no checksum, because nobody has seen the packages; npm adds it where it installs one.
 */
"use strict";

const fs = require("fs");
const path = require("path");

const OS = ["aix", "android", "darwin", "freebsd", "linux", "netbsd", "openbsd", "openharmony", "sunos", "win32"];
const CPU = ["arm", "arm64", "ia32", "loong64", "mips64el", "ppc64", "riscv64", "s390x", "x64"];

const file = path.join(__dirname, "..", "package-lock.json");
const lock = JSON.parse(fs.readFileSync(file, "utf8"));
let added = 0;

for (const [place, entry] of Object.entries(lock.packages)) {
  for (const [name, version] of Object.entries(entry.optionalDependencies || {})) {
    if (place === "" || !/^\d/.test(version) || found(place, name)) continue;
    const { cpu, libc, os } = platformOf(name);
    // In npm's own order, so that npm has nothing to change.
    lock.packages[`node_modules/${name}`] = {
      version,
      ...(cpu ? { cpu: [cpu] } : {}),
      ...(entry.dev ? { dev: true } : {}),
      ...(libc ? { libc: [libc] } : {}),
      optional: true,
      os: [os],
    };
    added += 1;
  }
}

if (added > 0) {
  const [top, ...others] = Object.entries(lock.packages);
  others.sort(([one], [other]) => one.localeCompare(other, "en"));
  lock.packages = Object.fromEntries([top, ...others]);
  fs.writeFileSync(file, `${JSON.stringify(lock, null, 2)}\n`);
}
console.log(`${added} optional packages of other platforms added to package-lock.json`);

/** Whether the lock has the package where Node would look for it from `place`. */
function found(place, name) {
  for (let folder = place; ; folder = folder.slice(0, Math.max(folder.lastIndexOf("/node_modules/"), 0))) {
    if (lock.packages[`${folder === "" ? "" : `${folder}/`}node_modules/${name}`]) return true;
    if (folder === "") return false;
  }
}

/** What such packages say of themselves, read from their names: `binding-linux-arm64-musl`, `win32-x64`, … */
function platformOf(name) {
  const words = name.split("/").pop().split(/[-_]/);
  const os = words.find((word) => OS.includes(word));
  if (os === undefined) throw new Error(`${name}: no platform in the name; add it to the lock by hand`);
  const cpu = words.map((word) => (/^armv?\d?$/.test(word) ? "arm" : word)).find((word) => CPU.includes(word));
  const libc = words.find((word) => /^(musl|gnu)/.test(word));
  return { os, cpu, libc: os === "linux" && libc ? (libc.startsWith("musl") ? "musl" : "glibc") : undefined };
}
