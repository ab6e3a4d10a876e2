import {
  chmod,
  chown,
  copyFile,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  symlink,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { isValid, keyManagerSuite } from "../../../test/contract/key-manager-suite.ts";
import { diskKeyManager, openDiskKeyManager } from "./disk.ts";

let root: string;
let folder: string;
let count = 0;

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "assay-keys-"));
});
afterAll(() => rm(root, { recursive: true, force: true }));
beforeEach(() => {
  folder = join(root, `keys-${count++}`);
});

keyManagerSuite("disk", (place) => openDiskKeyManager(join(root, place)), { durable: true });

const DATA = Buffer.from("data");
const IS_ROOT = process.geteuid?.() === 0;

/** A folder with the keys `a` and `b`, closed. */
async function twoKeys(): Promise<void> {
  await using keys = await openDiskKeyManager(folder);
  await keys.generateKey("a", "ec-p256");
  await keys.generateKey("b", "ec-p256");
}

describe("the files", () => {
  it("are private and hold one key each", async () => {
    await twoKeys();
    expect((await stat(folder)).mode & 0o777).toBe(0o700);
    expect((await readdir(folder)).toSorted()).toEqual(["a.json", "b.json"]);
    expect((await stat(join(folder, "a.json"))).mode & 0o777).toBe(0o600);
  });

  it("survive closing and opening", async () => {
    await using first = await openDiskKeyManager(folder);
    const made = [];
    for (const type of ["ec-p256", "ec-p384", "rsa-2048"] as const)
      made.push(await first.generateKey(type, type));
    await using second = await openDiskKeyManager(folder);
    for (const { id, type, publicKey } of made) {
      const key = await second.getKey(id);
      expect(key).toMatchObject({ id, type, publicKey });
      expect(isValid(made.find((one) => one.id === id)!, DATA, await key!.sign(DATA, "der"), "der")).toBe(
        true,
      );
    }
    expect(await second.listKeys()).toHaveLength(3);
  });

  it("are replaced by another file, never written over", async () => {
    await twoKeys();
    const before = await stat(join(folder, "a.json"));
    await using keys = await openDiskKeyManager(folder);
    const key = await keys.generateKey("a", "ec-p384");
    expect((await stat(join(folder, "a.json"))).ino).not.toBe(before.ino);
    expect((await readdir(folder)).toSorted()).toEqual(["a.json", "b.json"]);
    await using again = await openDiskKeyManager(folder);
    expect((await again.getKey("a"))?.publicKey).toEqual(key.publicKey);
  });

  it("are gone after their key was deleted", async () => {
    await twoKeys();
    await using keys = await openDiskKeyManager(folder);
    await keys.deleteKey("a");
    expect(await readdir(folder)).toEqual(["b.json"]);
    await using again = await openDiskKeyManager(folder);
    expect(await again.getKey("a")).toBeUndefined();
  });

  it("of a killed writer are removed", async () => {
    await twoKeys();
    await writeFile(join(folder, ".a.json.12.0.tmp"), "half a key", { mode: 0o600 });
    await using keys = await openDiskKeyManager(folder);
    expect(await keys.listKeys()).toHaveLength(2);
    expect((await readdir(folder)).toSorted()).toEqual(["a.json", "b.json"]);
  });

  it("of other kinds are left alone", async () => {
    await twoKeys();
    await writeFile(join(folder, "README"), "mine");
    await using keys = await openDiskKeyManager(folder);
    expect(await keys.listKeys()).toHaveLength(2);
    expect(await readFile(join(folder, "README"), "utf8")).toBe("mine");
  });
});

describe("a failing write", () => {
  it("leaves the old key at work", async () => {
    await using keys = await openDiskKeyManager(folder);
    const before = await keys.generateKey("a", "ec-p256");
    await rename(folder, `${folder}-away`);
    await expect(keys.generateKey("a", "ec-p256")).rejects.toThrowCode(
      "KEY_UNAVAILABLE",
      /cannot write .*a\.json/,
    );
    expect((await keys.getKey("a"))?.publicKey).toEqual(before.publicKey);
    expect(isValid(before, DATA, await before.sign(DATA, "der"), "der")).toBe(true);
    await rename(`${folder}-away`, folder);
    await using again = await openDiskKeyManager(folder);
    expect((await again.getKey("a"))?.publicKey).toEqual(before.publicKey);
  });
});

describe("a key file is refused, naming it and the remedy,", () => {
  beforeEach(twoKeys);

  const refused = async (detail: RegExp) => {
    const opening = openDiskKeyManager(folder);
    await expect(opening).rejects.toThrowCode("KEY_FILE_INVALID", detail);
    await expect(opening).rejects.toThrowCode("KEY_FILE_INVALID", join(folder, "a.json"));
  };
  const edit = async (change: (content: Record<string, unknown>) => unknown) => {
    const path = join(folder, "a.json");
    await writeFile(
      path,
      JSON.stringify(change(JSON.parse(await readFile(path, "utf8")) as Record<string, unknown>)),
    );
  };

  it("when it is cut short at any byte", async () => {
    const whole = await readFile(join(folder, "a.json"));
    for (let length = 0; length < whole.length - 2; length += 23) {
      await writeFile(join(folder, "a.json"), whole.subarray(0, length));
      await refused(/truncated or not JSON; restore it from a backup/);
    }
  });

  it.each(["null", "7", '"text"', "[]"])("when it is the JSON value %s", async (text) => {
    await writeFile(join(folder, "a.json"), text);
    await refused(/not a JSON object|format other/);
  });

  it.each(["id", "type", "publicKeySha256", "privateKey"])("when the field %s is missing", async (field) => {
    await edit((content) => ({ ...content, [field]: undefined }));
    await refused(new RegExp(`lacks the field ${field}`));
  });

  it("when a newer program wrote it", async () => {
    await edit((content) => ({ ...content, version: 2 }));
    await refused(/another version of this program/);
  });

  it("when it is another key's file", async () => {
    await copyFile(join(folder, "b.json"), join(folder, "a.json"));
    await refused(/swapped or copied/);
  });

  it("when the private key in it is another one", async () => {
    const other = JSON.parse(await readFile(join(folder, "b.json"), "utf8")) as { privateKey: string };
    await edit((content) => ({ ...content, privateKey: other.privateKey }));
    await refused(/does not belong to a;/);
  });

  it("when the private key is damaged", async () => {
    await edit((content) => ({ ...content, privateKey: "AAAA" }));
    await refused(/no private key that an authority can have/);
  });

  it.each([0o640, 0o604, 0o660, 0o644, 0o620])("when its mode is %i", async (mode) => {
    await chmod(join(folder, "a.json"), mode);
    await refused(/has mode 0\d{3}.*chmod 600/);
  });

  it("when it is a symbolic link", async () => {
    await rename(join(folder, "a.json"), join(root, `elsewhere-${count}`));
    await symlink(join(root, `elsewhere-${count}`), join(folder, "a.json"));
    await refused(/not a regular file/);
  });

  it("when it is larger than any key", async () => {
    await writeFile(join(folder, "a.json"), Buffer.alloc(20_000, 0x20));
    await refused(/larger than/);
  });

  it.skipIf(!IS_ROOT)("when another user owns it (needs root)", async () => {
    await chown(join(folder, "a.json"), 65534, 65534);
    await refused(/owned by uid 65534/);
  });

  it("without a word of its content", async () => {
    const { privateKey } = JSON.parse(await readFile(join(folder, "a.json"), "utf8")) as {
      privateKey: string;
    };
    await writeFile(join(folder, "a.json"), `{"privateKey":"${privateKey}" "id"`);
    const error = await openDiskKeyManager(folder).catch((thrown: unknown) => thrown);
    expect(JSON.stringify(error, Object.getOwnPropertyNames(error))).not.toContain(privateKey.slice(0, 10));
  });
});

it("refuses a folder that others can enter", async () => {
  await twoKeys();
  await chmod(folder, 0o755);
  await expect(openDiskKeyManager(folder)).rejects.toThrowCode("KEY_FILE_INVALID", /chmod 700/);
});

it("refuses a path that is no folder", async () => {
  await mkdir(folder);
  await writeFile(join(folder, "file"), "");
  await expect(openDiskKeyManager(join(folder, "file"))).rejects.toThrowCode("KEY_FILE_INVALID", /file/);
});

it("knows its one setting and no other", async () => {
  const { validate } = diskKeyManager.config["~standard"];
  expect(await validate({ directory: "/keys" })).toEqual({ value: { directory: "/keys" } });
  expect((await validate({})).issues).toHaveLength(1);
  expect((await validate({ directory: "/keys", keys_path: "/keys" })).issues).toHaveLength(1);
});
