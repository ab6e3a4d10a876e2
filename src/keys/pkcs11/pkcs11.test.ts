import { existsSync, readFileSync } from "node:fs";
import { chmod, mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { systemClock } from "../../clock.ts";
import type { PluginHost } from "../../plugin/host.ts";
import { parseTrustDomain } from "../../spiffe/trust-domain.ts";
import { FakeClock } from "../../../test/fakes/clock.ts";
import { startKeeper } from "./keeper.ts";
import { openPkcs11KeyManager, type Pkcs11Config, pkcs11KeyManager } from "./pkcs11.ts";
import { readPinFile } from "./pin-file.ts";

const PIN = "5309-not-to-be-seen";
let folder: string;
let settings: Pkcs11Config;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "pkcs11-"));
  await writeFile(join(folder, "pin"), `${PIN}\n`, { mode: 0o600 });
  settings = {
    module_path: join(folder, "library.so"),
    token_label: "token",
    pin_file: join(folder, "pin"),
    packages_folder: folder,
  };
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const host: PluginHost = {
  trustDomain: parseTrustDomain("example.org"),
  clock: systemClock,
  log: { debug() {}, info() {}, warn() {}, error() {} },
};

/** Puts a package `pkcs11js` in place whose library does this when it is initialized. */
async function install(initialize: string): Promise<void> {
  const home = join(folder, "node_modules", "pkcs11js");
  await mkdir(home, { recursive: true });
  await writeFile(
    join(home, "index.js"),
    `exports.PKCS11 = class { load() {} C_Initialize() { ${initialize} } C_Finalize() {} }`,
  );
}

describe("the settings", () => {
  const issues = async (value: unknown) => {
    const { issues: found } = await pkcs11KeyManager.config["~standard"].validate(value);
    return found?.map(({ message }) => message) ?? [];
  };
  const good = { module_path: "/lib.so", token_label: "t", pin_file: "/pin" };

  it("name a library, a token by label or slot, and a file with the PIN", async () => {
    expect(await issues(good)).toEqual([]);
    expect(await issues({ ...good, token_label: undefined, slot: 0 })).toEqual([]);
  });

  it.each([
    ["both label and slot", { ...good, slot: 1 }, /exactly one of token_label and slot/],
    ["neither label nor slot", { ...good, token_label: undefined }, /exactly one of token_label and slot/],
    ["a relative library", { ...good, module_path: "lib.so" }, /absolute path/],
    ["a PIN itself", { ...good, pin: "1234" }, /pin/],
    ["a prefix with a blank", { ...good, key_label_prefix: "a b" }, /visible ASCII/],
    ["a slot that is no number", { ...good, token_label: undefined, slot: -1 }, /0/],
  ])("are refused with %s", async (_, value, message) => {
    expect((await issues(value)).join()).toMatch(message);
  });
});

describe("opening", () => {
  it("names the package that is missing and how to install it", async () => {
    await expect(openPkcs11KeyManager(settings, host)).rejects.toThrowCode(
      "CONFIG_INVALID",
      /needs the package pkcs11js: npm install pkcs11js/,
    );
  });

  it("says that the device answered with a code, starts all the same, and fails what is asked", async () => {
    await install('throw Object.assign(new Error("CKR_DEVICE_ERROR"), { code: 48 })');
    await using keys = await openPkcs11KeyManager(settings, host);
    await expect(keys.listKeys()).rejects.toThrowCode(
      "KEY_UNAVAILABLE",
      /cannot initialize the library: CKR_DEVICE_ERROR/,
    );
  });

  it("outlives a library that crashes", async () => {
    await install('process.kill(process.pid, "SIGSEGV"); for (;;);');
    await using keys = await openPkcs11KeyManager(settings, host);
    await expect(keys.listKeys()).rejects.toThrowCode("KEY_UNAVAILABLE", /ended by SIGSEGV/);
  });

  it("shows no PIN where the library tells it", async () => {
    await install(`console.error("${PIN}"); throw new Error("CKR_GENERAL_ERROR:5")`);
    await using keys = await openPkcs11KeyManager(settings, host);
    const failed = await keys.listKeys().catch((error: unknown) => String(error));
    expect(failed).toMatch(/CKR_GENERAL_ERROR \(0x5\)/);
    expect(failed).not.toContain(PIN);
  });
});

describe("a signature", () => {
  /** A library with a whole token, whose signatures are never made; the process that waits tells its number. */
  async function installStalling(): Promise<string> {
    const told = join(folder, "pid");
    const fake = join(import.meta.dirname, "../../../test/fakes/pkcs11.ts");
    await install("");
    await writeFile(
      join(folder, "node_modules", "pkcs11js", "index.js"),
      `const { renameSync, writeFileSync } = require("node:fs");
      const { FakeCryptoki } = require(${JSON.stringify(fake)});
      exports.PKCS11 = class extends FakeCryptoki {
        label = "token";
        pin = ${JSON.stringify(PIN)};
        C_SignAsync() {
          writeFileSync("${told}.new", String(process.pid));
          renameSync("${told}.new", "${told}");
          Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 60_000);
          throw new Error("not made");
        }
      };`,
    );
    return told;
  }

  const isAlive = (pid: number) => {
    try {
      return process.kill(pid, 0);
    } catch {
      return false;
    }
  };

  it("that the library stalls in has its process killed after ten seconds, and fails", async () => {
    const told = await installStalling();
    const clock = new FakeClock();
    await using keys = await openPkcs11KeyManager(settings, { ...host, clock });
    const key = await keys.generateKey("a", "ec-p256");
    const failed = expect(key.sign(Buffer.from("data"), "der")).rejects.toThrowCode(
      "KEY_UNAVAILABLE",
      /did not answer within 10 s and its process was ended/,
    );
    await expect.poll(() => existsSync(told), { timeout: 5000 }).toBe(true);
    const pid = Number(readFileSync(told, "utf8"));
    await clock.advance(9999);
    expect(isAlive(pid)).toBe(true);
    await clock.advance(1);
    await failed;
    await expect.poll(() => isAlive(pid), { timeout: 5000 }).toBe(false);
  });
});

describe("the process of a library", () => {
  const request = () => ({
    op: "open" as const,
    settings: {
      library: settings.module_path,
      token: { slot: 0 },
      pinFile: settings.pin_file,
      prefix: "p",
      packagesFolder: folder,
    },
  });

  it("is ended where it stalls, and what was asked of it fails", async () => {
    await install("for (;;);");
    const keeper = startKeeper(systemClock);
    const began = performance.now();
    await expect(keeper.ask(request(), 800)).rejects.toThrow(
      /did not answer within 0.8 s and its process was ended/,
    );
    await keeper.retire();
    expect(performance.now() - began).toBeLessThan(10_000);
    await expect(keeper.ask(request(), 800)).rejects.toThrow(/did not answer/);
  });

  it("is ended within two seconds of closing where it stalls", async () => {
    await install("for (;;);");
    const keeper = startKeeper(systemClock);
    const asked = expect(keeper.ask(request(), 60_000)).rejects.toThrow("key manager is closed");
    await Promise.all([keeper.close(), asked]);
  });

  it("answers what it cannot do without an open token", async () => {
    const keeper = startKeeper(systemClock);
    await expect(keeper.ask({ op: "list" }, 10_000)).rejects.toMatchObject({
      kind: "lost",
      detail: "the token is not open",
    });
    await keeper.close();
  });
});

describe("the file of the PIN", () => {
  const path = () => join(folder, "pin");

  it("holds one line", async () => {
    expect(await readPinFile(path())).toBe(PIN);
    await writeFile(path(), "no newline");
    expect(await readPinFile(path())).toBe("no newline");
  });

  it.each([0o640, 0o604, 0o660, 0o644])("is refused with mode %i", async (mode) => {
    await chmod(path(), mode);
    await expect(readPinFile(path())).rejects.toThrow(/pin_file .*has mode 06\d\d.*chmod 600/);
  });

  it.each(["", "\n", "two\nlines\n", "nul\0", "x".repeat(257)])(
    "is refused with the content %j",
    async (text) => {
      await writeFile(path(), text);
      const refusal = readPinFile(path());
      await expect(refusal).rejects.toMatchObject({ kind: "config" });
      if (text.length > 3) await expect(refusal).rejects.not.toThrow(text.trim());
    },
  );

  it("is refused where it is missing or no file", async () => {
    await expect(readPinFile(join(folder, "absent"))).rejects.toThrow(/ENOENT/);
    await expect(readPinFile(folder)).rejects.toThrow(/not a regular file|EISDIR/);
    await symlink("/dev/zero", join(folder, "zero"));
    await expect(readPinFile(join(folder, "zero"))).rejects.toThrow(/not a regular file/);
  });
});
