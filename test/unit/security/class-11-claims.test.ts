import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readCertificate } from "../../../src/crypto/certificate-reader.ts";
import { parseX509Svid } from "../../../src/crypto/x509-svid.ts";
import { spiffeIdFault } from "../../../src/spiffe/id.ts";
import { makeCsr } from "../../fakes/issuance-csr.ts";
import { GITLAB, INSTANCE, TaskServer } from "../../fakes/task-server.ts";

// Claims that their authors chose, on their whole way: from a token with a good signature, through a template, to the SPIFFE
// ID in a certificate. Claims are signed by the platform, but what is in them may be anybody's idea.

let server: TaskServer;

beforeAll(async () => {
  server = await TaskServer.start();
  const template = (idTemplate: string) => ({ idTemplate, maxTaskDuration: 0, exchangeAudiences: [] });
  const below = (prefix: string, idTemplate: string, selector: string) =>
    server.taskEntry(prefix, {
      assay: template(idTemplate),
      selectors: [{ type: "github", value: selector }],
    });
  await below("/ci/one", "/ci/one/{workflow}/run/{run_id}", "repository-id:1");
  await below("/ci/many", "/ci/many/{environment+}/end", "repository-id:2");
  await below("/ci/mixed", "/ci/mixed/v-{actor}.x", "repository-id:3");
  await server.entry("/ci/guard", `/spire/task/${GITLAB}`, {
    selectors: [{ type: "gitlab", value: "project-id:20" }],
    assay: template("/ci/guard/{ref_path+}"),
  });
});
afterAll(() => server?.[Symbol.asyncDispose]());

/** The SPIFFE ID that a job with these claims gets in its certificate, or `undefined` where it gets no task at all. */
async function minted(
  claims: Record<string, unknown>,
  token = server.token(claims),
): Promise<string | undefined> {
  const job = server.job();
  const answer = await job.open(token);
  if (answer.status !== 200) {
    expect(answer.status).toBe(400);
    expect(answer.json["error_description"]).toMatch(/^no identity issued \(decision [0-9a-f-]{36}\)$/);
    return undefined;
  }
  const csr = Buffer.from(makeCsr()).toString("base64");
  const { json } = await job.call("POST", "/v1/task/x509-svid", { csr });
  const [leaf = ""] = json["x509_svid"] as string[];
  const { spiffeId } = parseX509Svid(readCertificate(Buffer.from(leaf, "base64")));
  expect(json["spiffe_id"]).toBe(spiffeId);
  const jwt = await job.call("POST", "/v1/task/jwt-svid", { audience: ["db"] });
  const payload = Buffer.from(String(jwt.json["jwt_svid"]).split(".")[1] ?? "", "base64url").toString();
  expect((JSON.parse(payload) as { sub: string }).sub).toBe(spiffeId);
  return spiffeId;
}

const ID = "spiffe://example.org";

const HOSTILE: readonly (readonly [string, unknown])[] = [
  ["a slash", "a/b"],
  ["a slash at the end", "a/"],
  ["one dot", "."],
  ["two dots", ".."],
  ["a way out", "../../admin"],
  ["a way out that is percent-encoded", "%2e%2e%2fadmin"],
  ["a percent sign", "100%"],
  ["a backslash", "a\\..\\b"],
  ["a question mark", "a?b"],
  ["a hash", "a#b"],
  ["an at sign", "user@host"],
  ["a whole SPIFFE ID", "spiffe://example.org/admin"],
  ["a placeholder", "{run_id}"],
  ["another kind of placeholder", `\${run_id}`],
  ["a third kind of placeholder", "{{run_id}}"],
  ["a star", "*"],
  ["a regular expression", "(a+)+$"],
  ["a comma", "a,b"],
  ["a space", "a b"],
  ["a line feed", "a\nb"],
  ["a carriage return", "a\rb"],
  ["a zero byte", "a\u0000b"],
  ["a zero byte at the end", "admin\u0000"],
  ["a control character", "a\u007fb"],
  ["a right-to-left override", "a\u202eb"],
  ["a letter of another script", "\u0430dmin"],
  ["a full-width dot", "\uff0e\uff0e"],
  ["a division slash", "a\u2215b"],
  ["a combining accent", "e\u0301"],
  ["half a character", "\ud800"],
  ["a character beyond the first plane", "\u{1f600}"],
  ["nothing", ""],
  ["null", null],
  ["no claim", undefined],
  ["a number", 5],
  ["true", true],
  ["a list", ["a"]],
  ["an object", { toString: "a" }],
  ["10 kB", "a".repeat(10_000)],
  ["2 kB, too long for an ID", "a".repeat(2040)],
];

describe("a claim in a template", () => {
  it("is a part of the ID as it is, where it is made of what IDs are made of", async () => {
    expect(await minted({ repository_id: "1", workflow: "deploy-1.x_Y", run_id: "8" })).toBe(
      `${ID}/ci/one/deploy-1.x_Y/run/8`,
    );
    expect(await minted({ repository_id: "2", environment: "a/b.c/d" })).toBe(`${ID}/ci/many/a/b.c/d/end`);
    expect(await minted({ repository_id: "3", actor: "..." })).toBe(`${ID}/ci/mixed/v-....x`);
  });

  it.each(HOSTILE)("earns nothing as one segment where it is %s", async (_what, workflow) => {
    expect(await minted({ repository_id: "1", workflow })).toBeUndefined();
  });

  it.each(HOSTILE.filter(([what]) => what !== "a slash"))(
    "earns nothing as several segments where it is %s",
    async (_what, environment) => {
      expect(await minted({ repository_id: "2", environment })).toBeUndefined();
    },
  );

  it.each(["a//b", "/a", "a/", "a/./b", "a/../b", "a/..", "a/b/\n"])(
    "earns nothing as several segments where they are %j",
    async (environment) => {
      expect(await minted({ repository_id: "2", environment })).toBeUndefined();
    },
  );

  it("never leaves its prefix, whatever is signed", async () => {
    const piece = fc.oneof(
      fc.constantFrom(
        "a",
        "..",
        ".",
        "/",
        "//",
        "%2f",
        "\\",
        "admin",
        "\u0000",
        "{a}",
        "spire",
        "\n",
        "*",
        "",
      ),
      fc.string({ unit: "binary", maxLength: 6 }),
    );
    const value = fc.array(piece, { maxLength: 5 }).map((pieces) => pieces.join(""));
    await fc.assert(
      fc.asyncProperty(value, fc.constantFrom("1", "2", "3"), async (text, repository) => {
        const id = await minted({
          repository_id: repository,
          workflow: text,
          environment: text,
          actor: text,
        });
        if (id === undefined) return;
        expect(spiffeIdFault(id)).toBeUndefined();
        const prefix = { 1: "/ci/one/", 2: "/ci/many/", 3: "/ci/mixed/" }[repository] ?? "none";
        expect(id.startsWith(`${ID}${prefix}`)).toBe(true);
        expect(id).toContain(text);
      }),
      { numRuns: 150, seed: 20_261_122 },
    );
  });

  it("is none of the job's who shows it, though an entry's template names what every object has", async () => {
    await server.taskEntry("/ci/proto", {
      assay: { idTemplate: "/ci/proto/{constructor}", maxTaskDuration: 0, exchangeAudiences: [] },
      selectors: [{ type: "github", value: "repository-id:4" }],
    });
    expect(await minted({ repository_id: "4" })).toBeUndefined();
    expect(
      await minted({ repository_id: "4", constructor: "x", __proto__: { constructor: "y" } }),
    ).toBeUndefined();
  });

  it("is a fault that operators read of, in words that hold no control characters", async () => {
    expect(await minted({ repository_id: "1", workflow: "a/b" })).toBeUndefined();
    const last = server.bench.audit().at(-1);
    expect(last).toMatchObject({ event: "task.denied", attestor: INSTANCE });
    expect(String(last?.["reasons"])).toMatch(/claim workflow/);
    await minted({ repository_id: "1", workflow: "a\u001b[31m" });
    expect(JSON.stringify(server.bench.audit().at(-1))).not.toContain("\u001b");
  });
});

describe("a claim in a selector", () => {
  it("matches whole and exactly: no pattern, no prefix, no other letters", async () => {
    await server.taskEntry("/ci/ref", {
      selectors: [
        { type: "github", value: "repository-id:5" },
        { type: "github", value: "ref:refs/heads/main" },
      ],
    });
    const of = (ref: string) => minted({ repository_id: "5", ref });
    expect(await of("refs/heads/main")).toBe(`${ID}/ci/ref`);
    for (const ref of [
      "refs/heads/main2",
      "refs/heads/Main",
      "refs/heads/main/",
      "xrefs/heads/main",
      "refs/heads/*",
      ".*",
      "refs/heads/main,refs/heads/x",
      "refs/heads/m\u0430in",
    ]) {
      expect(await of(ref)).toBeUndefined();
    }
  });

  it("cannot be made of another claim that ends early", async () => {
    // A property's name comes from whoever administers the repository.
    await server.taskEntry("/ci/prop", {
      selectors: [
        { type: "github", value: "repository-id:6" },
        { type: "github", value: "property:team:admins" },
      ],
    });
    expect(await minted({ repository_id: "6", repo_property_team: "admins" })).toBe(`${ID}/ci/prop`);
    expect(
      await minted({ repository_id: "6", repo_property_team: undefined, "repo_property_team:admins": "x" }),
    ).toBeUndefined();
    expect(
      await minted({ repository_id: "6", repo_property_team: undefined, repo_property_: "team:admins" }),
    ).toBeUndefined();
  });

  it("names a branch of a GitLab project in the ID, and a fork's only where the entry says so", async () => {
    expect(await minted({}, server.gitlabToken({ ref_path: "refs/heads/a.b" }))).toBe(
      `${ID}/ci/guard/refs/heads/a.b`,
    );
    expect(await minted({}, server.gitlabToken({ ref_path: "refs/heads/../../admin" }))).toBeUndefined();
    expect(await minted({}, server.gitlabToken({ job_project_id: "666" }))).toBeUndefined();
  });
});

describe("a template", () => {
  it("is taken where it has a literal beginning", async () => {
    await server.taskEntry("/ci/good", {
      assay: { idTemplate: "/ci/good/{run_id}", maxTaskDuration: 0, exchangeAudiences: [] },
      selectors: [{ type: "github", value: "repository-id:7" }],
    });
    expect(await minted({ repository_id: "7", run_id: "1" })).toBe(`${ID}/ci/good/1`);
  });

  it.each([
    "/{run_id}",
    "/x{run_id}/a",
    "/spire/{run_id}",
    "/spire/server/{run_id}",
    "/ci/../{run_id}",
    "/ci/%2e%2e/{run_id}",
    "/ci//{run_id}",
    "/ci/{run_id}/",
    "/ci/{run_id}/..",
    "/ci/{workflow+}/{ref+}",
    "/ci/{run_id}{workflow}",
    `/ci/\${run_id}`,
    "/ci/{{run_id}}",
    "/ci/{run_id",
    "ci/{run_id}",
    "spiffe://example.org/ci/{run_id}",
    "/ci/{run_id.substr(1)}",
    "/ci/{run_id|lower}",
    "/ci/{.*}",
  ])("%s that could escape or compute is refused when it is registered", async (idTemplate) => {
    await expect(
      server.taskEntry("", {
        spiffeId: { trustDomain: "example.org", path: "/ci" },
        assay: { idTemplate, maxTaskDuration: 0, exchangeAudiences: [] },
      }),
    ).rejects.toThrow(/idTemplate/);
  });
});
