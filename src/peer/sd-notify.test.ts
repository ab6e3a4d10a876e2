import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { sdNotify } from "./sd-notify.ts";

const PYTHON = spawnSync("python3", ["--version"]).status === 0;
const RECEIVER = `
import os, socket, struct, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
name = sys.argv[1]
s.bind("\\0" + name[1:] if name.startswith("@") else name)
print("bound", flush=True)
message, ancillary, _, _ = s.recvmsg(4096, 64)
print(struct.unpack("3i", ancillary[0][2])[0], message.decode().replace("\\n", "|"), flush=True)
`;

let folder: string;
let receiver: ChildProcess | undefined;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "notify-"));
});
afterEach(() => {
  receiver?.kill("SIGKILL");
  receiver = undefined;
  rmSync(folder, { recursive: true });
});

describe.skipIf(process.platform !== "linux")("sdNotify", () => {
  describe.skipIf(!PYTHON)("to a datagram socket (needs python3)", () => {
    it.each([
      ["with a path", () => join(folder, "notify.sock")],
      ["of the abstract namespace", () => `@assay-test-${process.pid}-${folder.length}`],
    ])("%s delivers the state from this very process", async (_, name) => {
      const socket = name();
      receiver = spawn("python3", ["-c", RECEIVER, socket], { stdio: ["ignore", "pipe", "inherit"] });
      const lines = createInterface({ input: receiver.stdout! });
      expect(await once(lines, "line")).toEqual(["bound"]);
      const heard = once(lines, "line");
      sdNotify(socket, "READY=1\nSTATUS=serving");
      expect(await heard).toEqual([`${process.pid} READY=1|STATUS=serving`]);
    });
  });

  it("says so where nobody listens", () => {
    expect(() => sdNotify(join(folder, "none.sock"), "READY=1")).toThrowCode(
      "FILE_UNAVAILABLE",
      /NOTIFY_SOCKET/,
    );
  });

  it.each(["relative.sock", "", "@", "/", `/${"x".repeat(108)}`])("refuses the address %j", (socket) => {
    expect(() => sdNotify(socket, "READY=1")).toThrowCode("FILE_UNAVAILABLE", /expected/);
  });
});
