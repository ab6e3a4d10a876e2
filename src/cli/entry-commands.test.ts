import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { FakeSocketServer } from "../../test/fakes/cli.ts";
import { entry, type FakeEntries, serveEntries } from "../../test/fakes/cli-entries.ts";
import type { Entry } from "../proto/gen/spire/api/types/entry_pb.ts";
import { SelectorMatch_MatchBehavior } from "../proto/gen/spire/api/types/selector_pb.ts";

const ID = "spiffe://example.org/web";
const NODE = "spiffe://example.org/node";
const TASKS = "spiffe://example.org/spire/task/github-acme";
const TEMPLATE = "/ci/{repository_id}/{run_id}";

let server: FakeSocketServer;
let entries: Entry[];
let changes: string[];
let registry: FakeEntries;
beforeEach(async () => {
  server = await FakeSocketServer.start();
  registry = serveEntries(server);
  ({ entries, changes } = registry);
});
afterEach(() => server[Symbol.asyncDispose]());

describe("assay entry create", () => {
  it("sends what the flags say and prints the entry", async () => {
    const { code, stdout } = await server.run(
      (
        `entry create --spiffe-id ${ID} --parent-id ${NODE} --selector unix:uid:1000 --selector unix:path:/a:b ` +
        "--x509-svid-ttl 90m --dns-name web.example.org --hint main --expires-at 2030-01-31T12:00:00Z --admin " +
        "--no-x509-prefetch --federates-with b.org"
      ).split(" "),
    );
    expect(stdout).toBe(
      [
        "Entry ID:       e1",
        "SPIFFE ID:      spiffe://example.org/web",
        "Parent ID:      spiffe://example.org/node",
        "Revision:       0",
        "X509-SVID TTL:  90m",
        "JWT-SVID TTL:   default",
        "Selectors:      unix:uid:1000",
        "                unix:path:/a:b",
        "Federates with: b.org",
        "DNS names:      web.example.org",
        "Hint:           main",
        "Expires:        2030-01-31T12:00:00Z",
        "Flags:          admin",
        "                no X509-SVID prefetch",
        "Created:        2027-01-15T08:00:00Z",
        "",
      ].join("\n"),
    );
    expect(code).toBe(0);
  });

  it("prints an id that scripts can read", async () => {
    const args = [
      "entry",
      "create",
      "--spiffe-id",
      ID,
      "--parent-id",
      NODE,
      "--selector",
      "a:b",
      "--output",
      "json",
    ];
    expect(JSON.parse((await server.run(args)).stdout)).toEqual({
      id: "e1",
      spiffe_id: ID,
      parent_id: NODE,
      selectors: ["a:b"],
      x509_svid_ttl: 0,
      jwt_svid_ttl: 0,
      federates_with: [],
      dns_names: [],
      hint: "",
      expires_at: null,
      admin: false,
      downstream: false,
      store_svid: false,
      jwt_svid_include_jti: false,
      disable_x509_svid_prefetch: false,
      id_template: "",
      max_task_duration: 0,
      exchange_audiences: [],
      svid_key_type: "",
      revision: 0,
      created_at: "2027-01-15T08:00:00Z",
    });
  });

  it("makes a node alias below the server itself", async () => {
    await server.run([
      "entry",
      "create",
      "--node",
      "--spiffe-id",
      NODE,
      "--selector",
      "x509pop:subject:cn:a",
    ]);
    expect(entries[0]?.parentId).toMatchObject({ trustDomain: "example.org", path: "/spire/server" });
  });

  it("makes an entry of tasks, with a template in place of the ID", async () => {
    const args = `--parent-id ${TASKS} --selector github:repository_id:1 --id-template ${TEMPLATE} --max-task-duration 90m`;
    const audiences = [
      "--exchange-audience",
      "https://a.example",
      "--exchange-audience",
      "https://b.example",
    ];
    const { code, stdout } = await server.run(["entry", "create", ...args.split(" "), ...audiences]);
    expect(stdout).toContain(
      [
        "ID template:      /ci/{repository_id}/{run_id}",
        "Parent ID:        spiffe://example.org/spire/task/github-acme",
        "Revision:         0",
        "X509-SVID TTL:    default",
        "JWT-SVID TTL:     default",
        "Longest task:     90m",
        "Selectors:        github:repository_id:1",
        "Exchangeable for: https://a.example",
        "                  https://b.example",
      ].join("\n"),
    );
    expect(code).toBe(0);
    expect(entries[0]?.spiffeId).toBeUndefined();
    expect(entries[0]?.assay).toMatchObject({ idTemplate: TEMPLATE, maxTaskDuration: 5400 });
  });

  it("says nothing of tasks unless it is asked to, as to a server that knows none", async () => {
    await server.run(["entry", "create", "--spiffe-id", ID, "--parent-id", NODE, "--selector", "a:b"]);
    expect(entries[0]?.assay).toBeUndefined();
  });

  it("exits 1 naming the entry that is there already", async () => {
    const args = ["entry", "create", "--spiffe-id", ID, "--parent-id", NODE, "--selector", "a:b"];
    await server.run(args);
    expect(await server.run(args)).toEqual({
      code: 1,
      stdout: "",
      stderr: "assay: cannot create the entry: already exists: similar entry already exists (id e1)\n",
    });
  });

  it.each([
    [[], "an entry needs --spiffe-id and --parent-id (or --node) and --selector"],
    [["--spiffe-id", ID, "--parent-id", NODE], "an entry needs --selector"],
    [["--id-template", "", "--parent-id", NODE, "--selector", "a:b"], "an entry needs --spiffe-id"],
    [
      ["--id-template", "/a/{b}", "--parent-id", NODE, "--selector", "a:b", "--max-task-duration", "soon"],
      '--max-task-duration: expected a duration such as 90s or 1h30m, got "soon"',
    ],
    [
      ["--spiffe-id", ID, "--node", "--parent-id", NODE, "--selector", "a:b"],
      "--node and --parent-id exclude each other",
    ],
  ])("with %j exits 2 and asks nobody", async (args, detail) => {
    expect(await server.run(["entry", "create", ...args])).toEqual({
      code: 2,
      stdout: "",
      stderr: `assay: ${detail}\n`,
    });
    expect(changes).toEqual([]);
  });
});

describe("assay entry update", () => {
  it("changes what is named and leaves the rest alone", async () => {
    entries.push(entry("e1", { additionalAttributes: { disableX509SvidPrefetch: true } }));
    await server.run(["entry", "update", "--id", "e1", "--include-jti", "--hint", "h"]);
    expect(changes).toEqual(["update e1 hint,additionalAttributes"]);
    expect(entries[0]?.additionalAttributes).toMatchObject({
      disableX509SvidPrefetch: true,
      jwtSvidIncludeJti: true,
    });
  });

  it("takes back what was set", async () => {
    entries.push(entry("e1", { admin: true, dnsNames: ["a"], x509SvidTtl: 60, expiresAt: 5n }));
    const args = ["--no-admin", "--dns-name", "", "--x509-svid-ttl", "default", "--expires-at", "never"];
    await server.run(["entry", "update", "--id", "e1", ...args]);
    expect(entries[0]).toMatchObject({ admin: false, dnsNames: [], x509SvidTtl: 0, expiresAt: 0n });
  });

  it("changes one thing of tasks and leaves the others alone", async () => {
    const assay = { idTemplate: TEMPLATE, maxTaskDuration: 60, exchangeAudiences: ["a"] };
    entries.push(entry("e1", { assay }));
    await server.run(["entry", "update", "--id", "e1", "--max-task-duration", "2m"]);
    expect(changes).toEqual(["update e1 assay"]);
    expect(entries[0]?.assay).toMatchObject({ ...assay, maxTaskDuration: 120 });
    await server.run([
      "entry",
      "update",
      "--id",
      "e1",
      "--exchange-audience",
      "",
      "--max-task-duration",
      "default",
    ]);
    expect(entries[0]?.assay).toMatchObject({
      idTemplate: TEMPLATE,
      maxTaskDuration: 0,
      exchangeAudiences: [],
    });
    await server.run(["entry", "update", "--id", "e1", "--hint", "h"]);
    expect(entries[0]?.assay).toMatchObject({ idTemplate: TEMPLATE });
    await server.run(["entry", "update", "--id", "e1", "--svid-key-type", "rsa-4096"]);
    expect(entries[0]?.assay).toMatchObject({ idTemplate: TEMPLATE, svidKeyType: "rsa-4096" });
    await server.run(["entry", "update", "--id", "e1", "--svid-key-type", "any"]);
    expect(entries[0]?.assay).toMatchObject({ idTemplate: TEMPLATE, svidKeyType: "" });
  });

  it("with nothing to change exits 2", async () => {
    const { code, stderr } = await server.run(["entry", "update", "--id", "e1"]);
    expect(stderr).toMatch(/^assay: nothing to change was given/);
    expect(code).toBe(2);
  });
});

describe("assay entry list, show, count and delete", () => {
  beforeEach(
    () =>
      void entries.push(entry("e1"), entry("e2", { spiffeId: { trustDomain: "example.org", path: "/b" } })),
  );

  it("list prints a table, page after page", async () => {
    expect((await server.run(["entry", "list"])).stdout).toBe(
      [
        "ENTRY ID  SPIFFE ID                 PARENT ID                  SELECTORS",
        "e1        spiffe://example.org/web  spiffe://example.org/node  unix:uid:1",
        "e2        spiffe://example.org/b    spiffe://example.org/node  unix:uid:1",
        "",
      ].join("\n"),
    );
    expect((await server.run(["entry", "list", "--long"])).stdout).toContain("\n\nEntry ID:      e2\n");
    entries.length = 0;
    expect((await server.run(["entry", "list"])).stdout).toBe("no entries\n");
    expect((await server.run(["entry", "list", "--output", "json"])).stdout).toBe("[]\n");
  });

  it("list asks for what its flags name", async () => {
    await server.run(["entry", "list", "--parent-id", NODE, "--selector", "a:b", "--match-selectors", "any"]);
    expect(changes[0]).toContain(`"match":${SelectorMatch_MatchBehavior.MATCH_ANY}`);
    expect(changes[0]).toContain('"path":"/node"');
  });

  it("count prints a number", async () => {
    expect((await server.run(["entry", "count"])).stdout).toBe("2\n");
    expect(JSON.parse((await server.run(["entry", "count", "--output", "json"])).stdout)).toEqual({
      count: 2,
    });
  });

  it("show prints one, and exits 1 for one that is not there", async () => {
    expect((await server.run(["entry", "show", "--id", "e2"])).stdout).toContain(
      "SPIFFE ID:     spiffe://example.org/b\n",
    );
    expect(await server.run(["entry", "show", "--id", "e3"])).toEqual({
      code: 1,
      stdout: "",
      stderr: "assay: entry not found\n",
    });
  });

  it("delete says what it deleted, and exits 1 where one was not there", async () => {
    expect(await server.run(["entry", "delete", "--id", "e1", "--id", "e9"])).toEqual({
      code: 1,
      stdout: "deleted e1\n",
      stderr: "assay: e9: not found: entry not found\n",
    });
    expect(entries.map(({ id }) => id)).toEqual(["e2"]);
  });
});

describe("assay entry apply", () => {
  const file = (more = "") =>
    `entries:\n  - spiffe_id: ${ID}\n    parent_id: ${NODE}\n    selectors: ["unix:uid:1", "unix:gid:2"]\n${more}`;
  const apply = (input: string, ...args: string[]) => server.run(["entry", "apply", "-", ...args], { input });

  it("creates what is missing, and the second time leaves it alone", async () => {
    expect((await apply(file())).stdout).toBe(
      "OUTCOME  SPIFFE ID                 ENTRY ID\ncreated  spiffe://example.org/web  e1\n",
    );
    const again = await apply(file(), "--output", "json");
    expect(JSON.parse(again.stdout)).toEqual([{ spiffe_id: ID, id: "e1", outcome: "unchanged" }]);
    expect(changes.filter((change) => !change.startsWith("list"))).toEqual(["create e1"]);
  });

  it("changes what differs in something that the file says, and nothing else", async () => {
    await apply(file("    hint: main\n    jwt_svid_include_jti: true\n"));
    expect((await apply(file())).stdout).toContain("unchanged");
    expect((await apply(file("    x509_svid_ttl: 1h\n"))).stdout).toContain("updated");
    expect(entries[0]).toMatchObject({
      hint: "main",
      x509SvidTtl: 3600,
      additionalAttributes: { jwtSvidIncludeJti: true },
    });
    expect((await apply(file("    x509_svid_ttl: 3600\n"))).stdout).toContain("unchanged");
    expect((await apply(file("    disable_x509_svid_prefetch: true\n"))).stdout).toContain("updated");
    expect(entries[0]?.additionalAttributes).toMatchObject({
      jwtSvidIncludeJti: true,
      disableX509SvidPrefetch: true,
    });
    expect((await apply(file("    x509_svid_ttl: default\n"))).stdout).toContain("updated");
  });

  it("with --dry-run says what it would do and does nothing", async () => {
    expect((await apply(file(), "--dry-run")).stdout).toBe(
      "WOULD BE  SPIFFE ID                 ENTRY ID\ncreated   spiffe://example.org/web\n",
    );
    entries.push(
      entry("e7", {
        selectors: [
          { type: "unix", value: "gid:2" },
          { type: "unix", value: "uid:1" },
        ],
      }),
    );
    expect((await apply(file("    admin: true\n"), "--dry-run")).stdout).toContain(
      "updated   spiffe://example.org/web  e7",
    );
    expect(changes.filter((change) => !change.startsWith("list"))).toEqual([]);
  });

  it("recognises an entry by its id where the file gives one", async () => {
    entries.push(entry("e1"));
    expect((await apply(file("    id: e1\n"))).stdout).toContain("updated");
    expect(entries[0]?.selectors).toHaveLength(2);
    expect((await apply(file("    id: mine\n"))).stderr).toContain("similar entry already exists");
  });

  it("takes what entry list prints as JSON", async () => {
    entries.push(
      entry("e1", { hint: "h", x509SvidTtl: 60, dnsNames: ["b", "a"] }),
      entry("e2", { expiresAt: 1_900_000_000n }),
    );
    const { stdout } = await server.run(["entry", "list", "--output", "json"]);
    const applied = JSON.parse((await apply(stdout, "--output", "json")).stdout) as { outcome: string }[];
    expect(applied.map(({ outcome }) => outcome)).toEqual(["unchanged", "unchanged"]);
  });

  it("makes entries of tasks, apart by their templates, changes one, and takes its own list back", async () => {
    const ofTasks = (template: string, more = "") =>
      `  - parent_id: ${TASKS}\n    selectors: ["github:repository_id:1"]\n    id_template: ${JSON.stringify(template)}\n${more}`;
    const both = (more = "") => `entries:\n${ofTasks("/ci/{a}", more)}${ofTasks("/ci/{b}")}`;
    const dry = JSON.parse((await apply(both(), "--dry-run", "--output", "json")).stdout) as unknown;
    expect(dry).toEqual([
      { spiffe_id: "/ci/{a}", id: "", outcome: "created" },
      { spiffe_id: "/ci/{b}", id: "", outcome: "created" },
    ]);
    // The server answers with the ID that the template says.
    registry.derivesIds = true;
    const outcomes = async (text: string) =>
      (
        JSON.parse((await apply(text, "--output", "json")).stdout) as { spiffe_id: string; outcome: string }[]
      ).map(({ spiffe_id, outcome }) => `${spiffe_id} ${outcome}`);
    const each = (first: string, second = "unchanged") => [
      `spiffe://example.org/ci ${first}`,
      `spiffe://example.org/ci ${second}`,
    ];
    expect(await outcomes(both())).toEqual(each("created", "created"));
    expect(await outcomes(both())).toEqual(each("unchanged"));
    expect(await outcomes(both("    max_task_duration: 1h\n"))).toEqual(each("updated"));
    expect(await outcomes(both("    exchange_audiences: [b, a]\n"))).toEqual(each("updated"));
    expect(await outcomes(both("    exchange_audiences: [a, b]\n"))).toEqual(each("unchanged"));
    expect(entries[0]?.assay).toMatchObject({ idTemplate: "/ci/{a}", maxTaskDuration: 3600 });
    const { stdout } = await server.run(["entry", "list", "--output", "json"]);
    expect(await outcomes(stdout)).toEqual(each("unchanged"));
  });

  it.each([
    ["entries: 1", /^assay: -: entries: /],
    [
      `entries:\n  - {parent_id: "${NODE}", selectors: ["a:b"]}\n`,
      /^assay: -: entries\[0\]\.spiffe_id: expected a SPIFFE ID, or id_template/,
    ],
    [file("    max_task_duration: soon\n"), /max_task_duration: expected a duration/],
    ["- a: [", /^assay: -: not valid YAML: /],
    ["entries:\n  - spiffe_id: a\n", /^assay: -: entries\[0\]\.parent_id: /],
    [file("    hnt: x\n"), /^assay: -: entries\[0\]: unrecognized key: "hnt"/],
    [
      file().replace(ID, "spiffe://Example.org/a"),
      /^assay: entries\[0\] \(spiffe:\/\/Example\.org\/a\): spiffe_id: /,
    ],
    [
      `${file()}  - {spiffe_id: "${ID}", parent_id: "${NODE}", selectors: [unix]}\n`,
      /^assay: entries\[1\] .*: selectors: /,
    ],
    [file("    jwt_svid_ttl: -5\n"), /^assay: -: entries\[0\]\.jwt_svid_ttl: too small/],
    [file("    jwt_svid_ttl: 5min\n"), /jwt_svid_ttl: expected a duration/],
  ])("refuses %j with exit 2 before anything is changed", async (input, line) => {
    const { code, stderr } = await apply(input);
    expect(stderr).toMatch(line);
    expect(stderr.trimEnd().split("\n")).toHaveLength(1);
    expect({ code, changes }).toEqual({ code: 2, changes: [] });
  });

  it("exits 2 for a file that cannot be read", async () => {
    const { code, stderr } = await server.run(["entry", "apply", server.at("none.yaml")]);
    expect(stderr).toMatch(/none\.yaml: cannot be read \(ENOENT\)/);
    expect(code).toBe(2);
  });

  it("stops at the entry that the server refuses, and names it", async () => {
    const { code, stderr } = await apply(file("    hint: refused\n"));
    expect({ code, stderr }).toEqual({
      code: 1,
      stderr: `assay: entries[0] (${ID}): invalid argument: bad hint\n`,
    });
  });
});
