import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { AssayError } from "../../errors/assay-error.ts";
import { agentNodeAttestors, nodeAttestors, workloadAttestors } from "./kinds.ts";
import {
  checkPlugins,
  instancesByName,
  loadPlugins,
  type LoadablePlugin,
  type PluginKind,
} from "./load-plugin.ts";

interface Thing extends AsyncDisposable {
  attest(): string;
}

function kindOf(...plugins: readonly LoadablePlugin<string, Thing>[]): PluginKind<string, Thing> {
  return {
    kind: "thing",
    label: "thing",
    builtIns: new Map(plugins.map((plugin) => [plugin.name, plugin])),
    sealed: new Set(["one"]),
    methods: ["attest"],
  };
}

function thing(
  name: string,
  log: string[] = [],
  create?: LoadablePlugin<string, Thing>["create"],
): LoadablePlugin<string, Thing> {
  return {
    kind: "thing",
    apiVersion: 1,
    name,
    config: z.strictObject({
      size: z.int().max(10).default(1),
      deep: z.strictObject({ "a/b": z.int() }).optional(),
    }),
    create:
      create ??
      ((config, host) => {
        log.push(`create ${name}`);
        return {
          attest: () => `${host} ${JSON.stringify(config)}`,
          async [Symbol.asyncDispose]() {
            log.push(`dispose ${name}`);
          },
        };
      }),
  };
}

const host = (name: string) => `host of ${name}`;
const nothing = () => expect.unreachable("no module may be imported");

describe("loadPlugins", () => {
  it("makes each plugin with its host and its checked configuration, and disposes the last first", async () => {
    const log: string[] = [];
    const kind = kindOf(thing("one", log), thing("two", log));
    {
      await using loaded = await loadPlugins(
        kind,
        [{ name: "one" }, { name: "two", config: { size: 2 } }],
        host,
        nothing,
      );
      expect(loaded.all.map(({ name, origin, instance }) => [name, origin, instance.attest()])).toEqual([
        ["one", "built-in", 'host of one {"size":1}'],
        ["two", "built-in", 'host of two {"size":2}'],
      ]);
      expect([...instancesByName(loaded).keys()]).toEqual(["one", "two"]);
    }
    expect(log).toEqual(["create one", "create two", "dispose two", "dispose one"]);
  });

  it("disposes what was made where a later plugin cannot be, and names it", async () => {
    const log: string[] = [];
    const failing = thing("two", log, () => {
      throw new AssayError("KEY_FILE_INVALID", "no such file");
    });
    const load = loadPlugins(
      kindOf(thing("one", log), failing),
      [{ name: "one" }, { name: "two" }],
      host,
      nothing,
    );
    await expect(load).rejects.toThrowCode("KEY_FILE_INVALID", 'thing "two": no such file');
    expect(log).toEqual(["create one", "dispose one"]);
  });

  it.each([
    ["an error", () => Promise.reject(new Error("boom")), /thing "one": could not start: boom/],
    // oxlint-disable-next-line typescript/prefer-promise-reject-errors -- a plugin may reject with anything
    ["a bare string", () => Promise.reject("boom"), /thing "one": could not start: boom/],
    ["nothing", () => undefined, /thing "one" gave an instance without attest/],
    ["too little", () => ({ async [Symbol.asyncDispose]() {} }), /without attest/],
    ["what cannot be disposed", () => ({ attest() {} }), /without Symbol\(Symbol.asyncDispose\)/],
  ])("names a plugin that gives %s", async (_, create, detail) => {
    const kind = kindOf(thing("one", [], create as LoadablePlugin<string, Thing>["create"]));
    await expect(loadPlugins(kind, [{ name: "one" }], host)).rejects.toThrowCode("CONFIG_INVALID", detail);
  });

  it("disposes an instance that lacks a method", async () => {
    let disposed = 0;
    const half = thing(
      "one",
      [],
      () => ({ [Symbol.asyncDispose]: async () => void disposed++ }) as unknown as Thing,
    );
    await expect(loadPlugins(kindOf(half), [{ name: "one" }], host)).rejects.toThrowCode("CONFIG_INVALID");
    expect(disposed).toBe(1);
  });

  it("makes none before all configurations are right", async () => {
    const log: string[] = [];
    const kind = kindOf(thing("one", log), thing("two", log));
    const entries = [{ name: "one" }, { name: "two", config: { size: 11 } }];
    await expect(loadPlugins(kind, entries, host)).rejects.toThrowCode(
      "CONFIG_INVALID",
      'thing "two": /size: ',
    );
    expect(log).toEqual([]);
  });
});

describe("checkPlugins", () => {
  it("names the plugin and the key that is not known", async () => {
    const check = checkPlugins(kindOf(thing("one")), [{ name: "one", config: { sise: 1 } }]);
    await expect(check).rejects.toThrowCode("CONFIG_INVALID", 'thing "one": unrecognized key: "sise"');
  });

  it("points at each fault by JSON Pointer", async () => {
    const config = { size: "x", deep: { "a/b": "x" } };
    const error = await checkPlugins(kindOf(thing("one")), [{ name: "one", config }]).catch(
      (e: unknown) => e,
    );
    expect((error as AssayError).violations.map(({ pointer }) => pointer)).toEqual(["/size", "/deep/a~1b"]);
  });

  it("makes one plugin several times under the operator's names for them", async () => {
    const entries = [
      { name: "one", instance: "a" },
      { name: "one", instance: "b", config: { size: 2 } },
    ];
    const loaded = await loadPlugins(kindOf(thing("one")), entries, (name) => name, nothing);
    const byName = instancesByName(loaded);
    expect([...byName].map(([name, made]) => [name, made.attest()])).toEqual([
      ["a", 'a {"size":1}'],
      ["b", 'b {"size":2}'],
    ]);
    await loaded[Symbol.asyncDispose]();
    const wrong = [{ name: "one", instance: "b", config: { size: 11 } }];
    await expect(checkPlugins(kindOf(thing("one")), wrong, nothing)).rejects.toThrowCode(
      "CONFIG_INVALID",
      /thing "b": /,
    );
  });

  it.each([
    ["an unknown name", [{ name: "three" }], /thing "three" is not built in \(one\), and no module is named/],
    ["a name twice", [{ name: "one" }, { name: "one" }], /"one" is named twice/],
    [
      "an instance twice",
      [
        { name: "one", instance: "a" },
        { name: "one", instance: "a" },
      ],
      /"a" is named twice/,
    ],
    ["an instance without a usable name", [{ name: "one", instance: "A/b" }], /"A\/b" has no usable name/],
    ["a name that is no name", [{ name: "../one" }], /has no usable name/],
    ["a replacement of a sealed one", [{ name: "one", module: "x" }], /cannot be replaced by a module/],
    ["a relative module", [{ name: "two", module: "./x.js" }], /expected a package name or an absolute path/],
    ["a module by URL", [{ name: "two", module: "https://x.test/y.js" }], /expected a package name/],
    ["a data URL", [{ name: "two", module: "data:text/javascript,0" }], /expected a package name/],
    ["a module of Node", [{ name: "two", module: "node:fs" }], /expected a package name/],
  ])("refuses %s", async (_, entries, detail) => {
    await expect(checkPlugins(kindOf(thing("one")), entries, nothing)).rejects.toThrowCode(
      "CONFIG_INVALID",
      detail,
    );
  });
});

describe("a third party's plugin", () => {
  it("is imported from an absolute path and held to the same rules", async () => {
    const folder = mkdtempSync(join(tmpdir(), "plugin-"));
    try {
      const module = join(folder, "plugin.mjs");
      writeFileSync(
        module,
        `export default { kind: "thing", apiVersion: 1, name: "mine",
           config: { "~standard": { version: 1, vendor: "me", validate: (value) => ({ value }) } },
           create: () => ({ attest: () => "mine", async [Symbol.asyncDispose]() {} }) };`,
      );
      await using loaded = await loadPlugins(kindOf(), [{ name: "mine", module }], host);
      expect(loaded.all[0]).toMatchObject({ name: "mine", origin: module });
      expect(loaded.all[0]?.instance.attest()).toBe("mine");
      const absent = join(folder, "absent.mjs");
      await expect(loadPlugins(kindOf(), [{ name: "mine", module: absent }], host)).rejects.toThrowCode(
        "CONFIG_INVALID",
        /thing "mine" from .*absent.mjs cannot be imported/,
      );
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  const good = thing("mine");
  it.each([
    ["no default export", undefined, /the default export is no plugin object/],
    ["another kind", { ...good, kind: "other" }, /kind is "other", expected thing/],
    ["another version", { ...good, apiVersion: 2 }, /apiVersion is 2, expected 1/],
    ["another name", { ...good, name: "theirs" }, /name is "theirs", expected mine/],
    ["no schema", { ...good, config: {} }, /config is no Standard Schema/],
    ["no create", { ...good, create: 1 }, /create is no function/],
    ["a bad type of selectors", { ...good, selectorType: "K8S" }, /selectorType is no name/],
  ])("is refused with %s", async (_, plugin, detail) => {
    const entries = [{ name: "mine", module: "@scope/assay-plugin-mine" }];
    const check = checkPlugins(kindOf(), entries, () => Promise.resolve({ default: plugin }));
    await expect(check).rejects.toThrowCode("CONFIG_INVALID", detail);
  });
});

describe("a kind of which methods are optional", () => {
  const oneOf = { ...kindOf(thing("one")), methods: [], oneOf: ["attest", "other"] };

  it("wants one of them", async () => {
    await using loaded = await loadPlugins(oneOf, [{ name: "one" }], host);
    expect(loaded.all).toHaveLength(1);
    const none = { ...oneOf, oneOf: ["other", "another"] };
    await expect(loadPlugins(none, [{ name: "one" }], host)).rejects.toThrowCode(
      "CONFIG_INVALID",
      "gave an instance without other or another",
    );
  });

  it("passes the type of the selectors on", async () => {
    const typed = { ...thing("one"), selectorType: "k8s" };
    const kind = { ...kindOf(thing("one")), builtIns: new Map([["one", typed]]) };
    await using loaded = await loadPlugins(kind, [{ name: "one" }], host);
    expect(loaded.all[0]?.selectorType).toBe("k8s");
  });
});

describe("the built-ins", () => {
  it.each([
    [nodeAttestors, ["join_token", "x509pop"], ["join_token"]],
    [agentNodeAttestors, ["join_token", "x509pop"], ["join_token"]],
    [workloadAttestors, ["unix", "kubernetes_object"], []],
  ])("are listed under their names ($kind)", (kind, names, sealed) => {
    expect([...kind.builtIns.keys()]).toEqual(names);
    expect([...kind.sealed]).toEqual(sealed);
    for (const plugin of kind.builtIns.values()) expect(plugin.kind).toBe(kind.kind);
  });
});
