import {
  chmodSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { execFileSync } from "node:child_process";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { atomicWrite } from "./atomic-write.ts";
import { ensurePrivateFolder } from "./private-folder.ts";
import { readBounded, readBoundedIfPresent } from "./read-bounded.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "files-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

describe("atomicWrite", () => {
  it("writes a private file and leaves nothing beside it", async () => {
    const path = join(folder, "a");
    await atomicWrite(path, Buffer.from("one"));
    expect(readFileSync(path, "utf8")).toBe("one");
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(readdirSync(folder)).toEqual(["a"]);
  });

  it("gives the file the mode asked for, whatever the umask and the old mode", async () => {
    const path = join(folder, "a");
    writeFileSync(path, "old", { mode: 0o600 });
    const before = process.umask(0o077);
    try {
      await atomicWrite(path, Buffer.from("new"), { mode: 0o644 });
    } finally {
      process.umask(before);
    }
    expect(statSync(path).mode & 0o777).toBe(0o644);
  });

  it("replaces the directory entry and never writes into the old file", async () => {
    const path = join(folder, "a");
    writeFileSync(path, "old");
    linkSync(path, join(folder, "b"));
    await atomicWrite(path, Buffer.from("new"));
    expect(readFileSync(join(folder, "b"), "utf8")).toBe("old");
    expect(readFileSync(path, "utf8")).toBe("new");
  });

  it("replaces a symbolic link instead of following it", async () => {
    const target = join(folder, "target");
    writeFileSync(target, "old");
    symlinkSync(target, join(folder, "link"));
    await atomicWrite(join(folder, "link"), Buffer.from("new"));
    expect(readFileSync(target, "utf8")).toBe("old");
    expect(lstatSync(join(folder, "link")).isFile()).toBe(true);
  });

  it("shows a reader only whole contents while many writers run", async () => {
    const path = join(folder, "a");
    await atomicWrite(path, Buffer.alloc(65536, 0));
    let done = false;
    const writers = Promise.all(
      Array.from({ length: 8 }, async (_, i) => {
        for (let round = 0; round < 8; round++) await atomicWrite(path, Buffer.alloc(65536, i));
      }),
    ).finally(() => {
      done = true;
    });
    while (!done) {
      const seen = readFileSync(path);
      expect(seen.length).toBe(65536);
      expect(seen.every((byte) => byte === seen[0])).toBe(true);
      await new Promise((resolve) => setImmediate(resolve));
    }
    await writers;
    expect(readdirSync(folder)).toEqual(["a"]);
  });

  it("keeps what is there and cleans up where the write fails", async () => {
    const path = join(folder, "a");
    mkdirSync(path);
    await expect(atomicWrite(path, Buffer.from("x"))).rejects.toThrowCode("FILE_UNAVAILABLE", path);
    expect(readdirSync(folder)).toEqual(["a"]);
    expect(statSync(path).isDirectory()).toBe(true);
  });

  it("takes pieces, and keeps what is there where they end half-way", async () => {
    const path = join(folder, "a");
    async function* pieces(fault?: Error) {
      yield Buffer.from("one ");
      if (fault !== undefined) throw fault;
      yield Buffer.from("two");
    }
    await atomicWrite(path, pieces());
    expect(readFileSync(path, "utf8")).toBe("one two");
    await expect(atomicWrite(path, pieces(new Error("gone")))).rejects.toThrowCode(
      "FILE_UNAVAILABLE",
      "gone",
    );
    expect(readFileSync(path, "utf8")).toBe("one two");
    expect(readdirSync(folder)).toEqual(["a"]);
  });

  it("names the path and the system's reason, under the code asked for", async () => {
    const path = join(folder, "absent", "a");
    await expect(atomicWrite(path, Buffer.from("x"), { code: "KEY_UNAVAILABLE" })).rejects.toThrowCode(
      "KEY_UNAVAILABLE",
      `cannot write ${path}: no such file or directory (ENOENT)`,
    );
  });

  it("takes another temporary name where a killed process left its own", async () => {
    const path = join(folder, "a");
    await atomicWrite(path, Buffer.from("1"));
    const squatters = Array.from({ length: 200 }, (_, i) => join(folder, `.a.${process.pid}.${i}.tmp`));
    for (const squatter of squatters) writeFileSync(squatter, "squatter");
    await atomicWrite(path, Buffer.from("2"));
    expect(readFileSync(path, "utf8")).toBe("2");
    for (const squatter of squatters) expect(readFileSync(squatter, "utf8")).toBe("squatter");
  });
});

describe("readBounded", () => {
  it.each([0, 1, 4095, 4096, 4097, 20_000])("reads a file of exactly its bound, %i bytes", async (size) => {
    const path = join(folder, "a");
    writeFileSync(path, Buffer.alloc(size, 7));
    expect((await readBounded(path, size)).equals(Buffer.alloc(size, 7))).toBe(true);
  });

  it("refuses a file that is one byte larger than its bound", async () => {
    const path = join(folder, "a");
    writeFileSync(path, Buffer.alloc(101));
    await expect(readBounded(path, 100)).rejects.toThrowCode(
      "FILE_UNAVAILABLE",
      "it is larger than 100 bytes",
    );
  });

  it("reads files whose size the system does not tell", async () => {
    expect((await readBounded("/proc/self/status", 65536)).toString()).toMatch(/^Name:/);
    await expect(readBounded("/proc/self/status", 10)).rejects.toThrowCode("FILE_UNAVAILABLE", "larger");
  });

  it("refuses pipes and folders without waiting", async () => {
    const pipe = join(folder, "pipe");
    execFileSync("mkfifo", [pipe]);
    await expect(readBounded(pipe, 10)).rejects.toThrowCode("FILE_UNAVAILABLE", "not a regular file");
    await expect(readBounded(folder, 10)).rejects.toThrowCode("FILE_UNAVAILABLE", "not a regular file");
    await expect(readBounded("/dev/zero", 10)).rejects.toThrowCode("FILE_UNAVAILABLE", "not a regular file");
  });

  it("tells a missing file from one that cannot be read", async () => {
    const path = join(folder, "absent");
    await expect(readBounded(path, 10, { code: "CONFIG_INVALID" })).rejects.toThrowCode(
      "CONFIG_INVALID",
      path,
    );
    expect(await readBoundedIfPresent(path, 10)).toBeUndefined();
    await expect(readBoundedIfPresent(folder, 10)).rejects.toThrowCode("FILE_UNAVAILABLE", folder);
  });
});

describe("ensurePrivateFolder", () => {
  it("creates the folder and its parents for one user only", async () => {
    const path = join(folder, "a", "b");
    await ensurePrivateFolder(path);
    expect(statSync(path).mode & 0o777).toBe(0o700);
    await ensurePrivateFolder(path);
  });

  it("narrows an empty folder and refuses a wide one that holds something", async () => {
    const path = join(folder, "a");
    mkdirSync(path);
    chmodSync(path, 0o755);
    await ensurePrivateFolder(path);
    expect(statSync(path).mode & 0o777).toBe(0o700);
    chmodSync(path, 0o755);
    writeFileSync(join(path, "x"), "");
    await expect(ensurePrivateFolder(path)).rejects.toThrowCode(
      "FILE_UNAVAILABLE",
      "has mode 0755, expected 0700",
    );
    expect(statSync(path).mode & 0o777).toBe(0o755);
  });

  it("refuses a file in the way", async () => {
    const path = join(folder, "a");
    writeFileSync(path, "");
    await expect(ensurePrivateFolder(path)).rejects.toThrowCode("FILE_UNAVAILABLE", path);
    expect(existsSync(path)).toBe(true);
  });

  it.skipIf(process.geteuid?.() !== 0)("refuses a folder of another user (needs root)", async () => {
    const path = join(folder, "a");
    mkdirSync(path, { mode: 0o700 });
    execFileSync("chown", ["65534", path]);
    await expect(ensurePrivateFolder(path)).rejects.toThrowCode("FILE_UNAVAILABLE", "is owned by uid 65534");
  });
});
