import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { AssayError } from "../../../errors/assay-error.ts";
import { namesFromFile, parseNames } from "./id-names.ts";
import { parseProcessStatus } from "./process-status.ts";

const folder = mkdtempSync(join(tmpdir(), "names-"));
afterAll(() => rmSync(folder, { recursive: true }));

describe("parseProcessStatus", () => {
  const status = (lines: string) => `Name:\tx\nUmask:\t0022\n${lines}VmPeak:\t1 kB\n`;

  it("reads the effective ids, not the real, saved or file-system ones", () => {
    const text = status("Uid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nFDSize:\t64\nGroups:\t10 20 30 \n");
    expect(parseProcessStatus(text)).toEqual({ uid: 2, gid: 6, groups: [10, 20, 30] });
  });

  it("reads a process without supplementary groups", () => {
    expect(parseProcessStatus(status("Uid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nGroups:\t \n")).groups).toEqual([]);
  });

  it.each([
    ["nothing", ""],
    ["no Uid", status("Gid:\t5\t6\t7\t8\nGroups:\t\n")],
    ["no Groups", status("Uid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\n")],
    ["three ids", status("Uid:\t1\t2\t3\nGid:\t5\t6\t7\t8\nGroups:\t\n")],
    ["words for ids", status("Uid:\ta\tb\tc\td\nGid:\t5\t6\t7\t8\nGroups:\t\n")],
    ["a negative id", status("Uid:\t1\t-2\t3\t4\nGid:\t5\t6\t7\t8\nGroups:\t\n")],
  ])("refuses %s", (_, text) => {
    expect(() => parseProcessStatus(text)).toThrowCode("WORKLOAD_ATTESTATION_FAILED");
  });

  it("is not misled by a program named like a line, as the kernel escapes newlines", () => {
    const text = `Name:\tx\\nUid:\\t0\\t0\\t0\\t0\n${status("Uid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nGroups:\t\n")}`;
    expect(parseProcessStatus(text).uid).toBe(2);
  });

  it("throws nothing but its own error", () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        try {
          parseProcessStatus(text);
        } catch (error) {
          expect(error).toBeInstanceOf(AssayError);
        }
      }),
    );
  });
});

describe("parseNames", () => {
  it("takes the first name of an id and skips what names nobody", () => {
    const text = [
      "root:x:0:0:root:/root:/bin/sh",
      "toor:x:0:0::/:/bin/sh",
      "# comment:x:7:",
      "+nis:x:8:",
      "-nis:x:9:",
      ":x:10:",
      "no-id:x::",
      "word:x:ten:",
      "negative:x:-1:",
      "short:x",
      "",
      "bad\ufffdname:x:11:",
      "last:x:12:",
    ].join("\n");
    expect([...parseNames(text)]).toEqual([
      [0, "root"],
      [12, "last"],
    ]);
  });
});

describe("namesFromFile", () => {
  it("notices that the file was changed, replaced, removed and made again", () => {
    const path = join(folder, "passwd");
    const names = namesFromFile(path);
    expect(names().size).toBe(0);
    writeFileSync(path, "a:x:1:\n");
    expect(names().get(1)).toBe("a");
    expect(names()).toBe(names());
    writeFileSync(path, "bb:x:1:\n");
    expect(names().get(1)).toBe("bb");
    rmSync(path);
    expect(names().size).toBe(0);
    writeFileSync(path, "c:x:1:\n");
    expect(names().get(1)).toBe("c");
  });

  it("reads no folder, no device and no file without bounds", () => {
    const path = join(folder, "odd");
    symlinkSync("/dev/zero", path);
    expect(namesFromFile(path)().size).toBe(0);
    expect(namesFromFile(folder)().size).toBe(0);
    const large = join(folder, "large");
    writeFileSync(large, "a:x:1:\n".padEnd(16_777_217, "#"));
    expect(namesFromFile(large)().size).toBe(0);
  });
});
