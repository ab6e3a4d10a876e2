import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { cruise, type ICruiseResult, type IForbiddenRuleType } from "dependency-cruiser";
import extractTSConfig from "dependency-cruiser/config-utl/extract-ts-config";
import { afterEach, describe, expect, it } from "vitest";

const house = createRequire(import.meta.url)("./dependency-cruiser.cjs") as {
  forbidden: (IForbiddenRuleType & { name: string; comment: string })[];
  options: Record<string, unknown>;
};

/** Rule → one import that it must catch: the file, and what it imports. */
const PLANTED: Record<string, readonly [file: string, imported: string]> = {
  "floor/errors": ["src/errors/plant.ts", "../spiffe/target.ts"],
  "floor/spiffe": ["src/spiffe/plant.ts", "../crypto/target.ts"],
  "floor/tls": ["src/tls/plant.ts", "../crypto/target.ts"],
  "floor/proto": ["src/proto/plant.ts", "../errors/target.ts"],
  "floor/clock.ts": ["src/clock.ts", "./errors/target.ts"],
  "floor/crypto": ["src/crypto/plant.ts", "../store/target.ts"],
  "floor/store": ["src/store/sqlite/plant.ts", "../../registry/target.ts"],
  "floor/observe": ["src/observe/plant.ts", "../http/target.ts"],
  "floor/peer": ["src/peer/plant.ts", "../observe/target.ts"],
  "floor/rpc": ["src/rpc/plant.ts", "../peer/target.ts"],
  "floor/http": ["src/http/plant.ts", "../server/target.ts"],
  "floor/outbound": ["src/outbound/plant.ts", "../http/target.ts"],
  "floor/files": ["src/files/plant.ts", "../store/target.ts"],
  "floor/endpoint": ["src/endpoint/plant.ts", "../server/target.ts"],
  "floor/wire": ["src/wire/plant.ts", "../server/target.ts"],
  "floor/plugin": ["src/plugin/plant.ts", "../crypto/target.ts"],
  "floor/workload": ["src/workload/plant.ts", "../store/target.ts"],
  "floor/cloud": ["src/cloud/plant.ts", "../keys/target.ts"],
  "floor/attestation": ["src/attestation/plant.ts", "../signing/target.ts"],
  "floor/signing": ["src/signing/plant.ts", "../attestation/target.ts"],
  "floor/registry": ["src/registry/plant.ts", "../issuance/target.ts"],
  "floor/policy": ["src/policy/plant.ts", "../registry/target.ts"],
  "floor/federation": ["src/federation/plant.ts", "../signing/target.ts"],
  "floor/tasks": ["src/tasks/plant.ts", "../signing/target.ts"],
  "floor/revocation": ["src/revocation/plant.ts", "../tasks/target.ts"],
  "floor/keys": ["src/keys/disk/plant.ts", "../../signing/target.ts"],
  "floor/composers": ["src/composers/unique-id/plant.ts", "../../keys/target.ts"],
  "floor/upstream": ["src/upstream/disk/plant.ts", "../../keys/target.ts"],
  "floor/issuance": ["src/issuance/plant.ts", "../server/target.ts"],
  "floor/server": ["src/server/plant.ts", "../agent/target.ts"],
  "floor/agent": ["src/agent/plant.ts", "../server/target.ts"],
  "floor/config": ["src/config/plant.ts", "../cli/target.ts"],
  "floor/cli": ["src/cli/plant.ts", "../main.ts"],
  "floor/main.ts": ["src/main.ts", "./launch/target.ts"],
  "floor/launch": ["src/launch/plant.ts", "../errors/target.ts"],
  "offline/errors": ["src/errors/plant.ts", "node:net"],
  "offline/clock.ts": ["src/clock.ts", "node:dgram"],
  "offline/crypto": ["src/crypto/plant.ts", "node:https"],
  "offline/plugin": ["src/plugin/plant.ts", "node:http"],
  "offline/signing": ["src/signing/plant.ts", "node:net"],
  "offline/policy": ["src/policy/plant.ts", "node:http2"],
  "offline/tasks": ["src/tasks/plant.ts", "node:net"],
  "offline/revocation": ["src/revocation/plant.ts", "node:http"],
  "offline/composers": ["src/composers/unique-id/plant.ts", "node:net"],
  "offline/issuance": ["src/issuance/plant.ts", "node:tls"],
  "library/@grpc/grpc-js": ["src/server/plant.ts", "@grpc/grpc-js"],
  "library/fastify": ["src/issuance/plant.ts", "fastify"],
  "library/@fastify/swagger": ["src/registry/plant.ts", "@fastify/swagger"],
  "library/fastify-type-provider-zod": ["src/cli/plant.ts", "fastify-type-provider-zod"],
  "library/openapi-types": ["src/signing/plant.ts", "openapi-types"],
  "library/kysely": ["src/registry/plant.ts", "kysely"],
  "library/node:sqlite": ["src/agent/plant.ts", "node:sqlite"],
  "library/pino": ["src/server/plant.ts", "pino"],
  "library/prom-client": ["src/agent/plant.ts", "prom-client"],
  "library/koffi": ["src/agent/plant.ts", "koffi"],
  "library/@peculiar/x509": ["src/signing/plant.ts", "@peculiar/x509"],
  "library/reflect-metadata": ["src/main.ts", "reflect-metadata"],
  "library/jose": ["src/signing/plant.ts", "jose"],
  "library/zod": ["src/spiffe/plant.ts", "zod"],
  "library/@bufbuild/protobuf": ["src/issuance/plant.ts", "@bufbuild/protobuf"],
  "library/acme-client": ["src/federation/plant.ts", "acme-client"],
  "library/commander": ["src/config/plant.ts", "commander"],
  "library/yaml": ["src/store/plant.ts", "yaml"],
  "library/unlisted": ["src/server/plant.ts", "fast-check"],
  "library/unresolved": ["src/server/plant.ts", "no-such-package"],
  "plugin/attestation/node": ["src/attestation/node/x509pop/plant.ts", "../join-token/target.ts"],
  "plugin/attestation/workload": ["src/attestation/workload/unix/plant.ts", "../../node/x509pop/target.ts"],
  "plugin/attestation/task": ["src/attestation/task/github/plant.ts", "../../catalog/target.ts"],
  "plugin/keys": ["src/keys/disk/plant.ts", "../memory/target.ts"],
  "plugin/composers": ["src/composers/unique-id/plant.ts", "../other/target.ts"],
  "plugin/upstream": ["src/upstream/disk/plant.ts", "../vault/target.ts"],
  "generated/only-protobuf": ["src/proto/gen/plant_pb.ts", "../../errors/target.ts"],
  "tests/not-in-the-house": ["src/registry/plant.ts", "../../test/fakes/target.ts"],
  "house/no-circular": ["src/registry/plant.ts", "./target.ts"],
};

/** Imports that the plan allows, one for each way a rule could be too eager. */
const ALLOWED: readonly (readonly [file: string, imported: string])[] = [
  ["src/spiffe/id.ts", "../errors/target.ts"],
  ["src/store/sqlite/plant.ts", "kysely"],
  ["src/store/sqlite/native.ts", "node:sqlite"],
  ["src/attestation/catalog/catalog.ts", "../node/x509pop/target.ts"],
  ["src/attestation/node/x509pop/plant.ts", "./target.ts"],
  ["src/attestation/node/x509pop/config.ts", "zod"],
  ["src/server/plant.ts", "../issuance/target.ts"],
  ["src/server/routes.ts", "fastify"],
  ["src/workload/fastify.ts", "fastify"],
  ["src/workload/plant.ts", "node:tls"],
  ["src/cli/plant.ts", "../config/target.ts"],
  ["src/signing/plant.test.ts", "@peculiar/x509"],
  ["src/signing/fake.test.ts", "../../test/fakes/target.ts"],
  ["src/peer/plant.ts", "node:net"],
  ["src/main.ts", "./cli/target.ts"],
];

const trees: string[] = [];

afterEach(async () => {
  await Promise.all(trees.splice(0).map((tree) => rm(tree, { recursive: true, force: true })));
});

describe("the floors of the house", () => {
  it("has a planted violation for every rule, and no plant without a rule", () => {
    expect(Object.keys(PLANTED).toSorted()).toEqual(house.forbidden.map(({ name }) => name).toSorted());
  });

  it("gives the reason of every rule", () => {
    for (const { name, comment } of house.forbidden) expect(comment, name).toMatch(/\S+ \S+ \S+ \S+/);
  });

  it("catches each planted violation, and by the rule that is meant to", async () => {
    const missed: string[] = [];
    for (const [rule, plant] of Object.entries(PLANTED)) {
      const caught = await violations([plant]);
      if (!caught.includes(rule)) missed.push(`${rule}: caught by ${caught.join(", ") || "nothing"}`);
    }
    expect(missed).toEqual([]);
  });

  it("lets pass what the plan allows", async () => {
    const caught: string[] = [];
    for (const plant of ALLOWED) {
      for (const rule of await violations([plant])) caught.push(`${plant.join(" → ")}: ${rule}`);
    }
    expect(caught).toEqual([]);
  });

  it("holds in the house itself", async () => {
    expect(await findings(process.cwd())).toEqual([]);
  });
});

/** The names of the rules that a tree of these files breaks. */
async function violations(plants: readonly (readonly [file: string, imported: string])[]): Promise<string[]> {
  const tree = await mkdtemp(join(tmpdir(), "assay-floors-"));
  trees.push(tree);
  await symlink(join(process.cwd(), "node_modules"), join(tree, "node_modules"));
  for (const [file, imported] of plants) {
    const path = join(tree, file);
    await mkdir(dirname(path), { recursive: true });
    if (imported.startsWith(".")) {
      const target = join(dirname(path), imported);
      await mkdir(dirname(target), { recursive: true });
      // The target of the circular plant imports its importer back; every other target imports nothing.
      const back = imported === "./target.ts" && file === "src/registry/plant.ts";
      await writeFile(target, back ? 'import "./plant.ts";\n' : "export const target = 1;\n");
    }
    await writeFile(path, `import ${JSON.stringify(imported)};\n`);
  }
  return [...new Set((await findings(tree)).map((finding) => finding.slice(0, finding.indexOf(" "))))];
}

/** What the rules say about a tree, one line for each violation. */
async function findings(tree: string): Promise<string[]> {
  const { forbidden, options } = house;
  const { output } = await cruise(
    ["src"],
    { ...options, baseDir: tree, validate: true, ruleSet: { forbidden } },
    undefined,
    { tsConfig: extractTSConfig(join(process.cwd(), "tsconfig.json")) },
  );
  return (output as ICruiseResult).summary.violations.map(
    ({ rule, from, to }) => `${rule.name} ${from} → ${to}`,
  );
}
