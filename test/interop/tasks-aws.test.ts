import { decodeJwt, decodeProtectedHeader } from "jose";
import { afterAll, beforeAll, expect, it } from "vitest";
import { makeScratch, type Scratch } from "../e2e/scratch.ts";
import { Dialogue } from "./dialogue.ts";
import { BUILD_PATIENCE, describeWith } from "./peers.ts";
import { GITHUB_OWNER, GITHUB_TASKS, startAssay, startTaskWorld, type TaskWorld } from "./task-world.ts";

const AWS = "sts.amazonaws.com";
const STABLE = "spiffe://example.org/ci/shop-deployment";

let scratch: Scratch;
let world: TaskWorld;
let cloud: Dialogue;

// moto verifies no signature, so PyJWT does, with the keys that it finds as AWS would: see the probe.
describeWith(["python"], "AWS as moto 5.2.5 imitates it, and PyJWT 2.15.1", () => {
  beforeAll(async () => {
    scratch = await makeScratch();
    world = await startTaskWorld(scratch, { rs256_audiences: [AWS] });
    await world.server.createEntry({
      parentId: GITHUB_TASKS,
      spiffeId: STABLE,
      selectors: [GITHUB_OWNER],
      flags: ["--hint=aws"],
    });
    await world.server.createEntry({
      parentId: GITHUB_TASKS,
      spiffeId: "spiffe://example.org/ci/github",
      selectors: [GITHUB_OWNER],
      flags: ["--id-template=/ci/github/{repository_id}/run/{run_id}/{run_attempt}", "--hint=run"],
    });
    cloud = (await Dialogue.start("moto", [world.issuer, world.caFile])).dialogue;
  }, BUILD_PATIENCE);

  afterAll(async () => {
    await cloud?.[Symbol.asyncDispose]();
    await world?.[Symbol.asyncDispose]();
    await scratch?.[Symbol.asyncDispose]();
  });

  it("lets one run after another assume a role that trusts a stable sub; which run it was is in another claim", async () => {
    const role = await cloud.ask<Role>({ do: "trust", role: "shop", sub: STABLE });
    expect(role).toMatchObject({ url: world.issuer.replace("https://", ""), clients: [AWS] });
    const runs = new Set<unknown>();
    for (const token of [await tokenOf(["--spiffe-id", STABLE]), await tokenOf(["--spiffe-id", STABLE])]) {
      const assumed = await cloud.ask<Assumed>({ do: "assume", role: "shop", roleArn: role.role, token });
      expect(assumed).toMatchObject({ alg: "RS256", claims: { sub: STABLE, aud: [AWS], iss: world.issuer } });
      expect(assumed.arn).toMatch(/:assumed-role\/shop\/task$/);
      runs.add(assumed.claims.task["run_id"]);
    }
    expect(runs.size).toBe(2);
  });

  it("lets no other run than the one that a role names", async () => {
    const first = await tokenOf(["--spiffe-id", ...(await idOfNextRun())], nextRun);
    const { sub = "" } = decodeJwt(first);
    expect(sub).toMatch(/\/run\/\d+\/1$/);
    const { role } = await cloud.ask<Role>({ do: "trust", role: "one-run", sub });
    expect(await cloud.ask({ do: "assume", role: "one-run", roleArn: role, token: first })).toMatchObject({
      claims: { sub },
    });
    const other = await tokenOf(["--spiffe-id", STABLE]);
    expect(await cloud.ask({ do: "assume", role: "one-run", roleArn: role, token: other })).toEqual({
      error: "AccessDenied: sub",
    });
  });

  it("accepts ES256 as well, which is what tokens of other audiences are signed by", async () => {
    const token = await tokenOf(["--spiffe-id", STABLE], [], "https://elsewhere.example.org");
    expect(decodeProtectedHeader(token).alg).toBe("ES256");
    const refusal = await cloud.ask<{ error: string }>({ do: "verify", role: "shop", token });
    expect(refusal.error).toMatch(/audience/i);
  });

  it("refuses a token with a bit of it flipped", async () => {
    const token = await tokenOf(["--spiffe-id", STABLE]);
    const [header, payload, signature = ""] = token.split(".");
    const bytes = Buffer.from(signature, "base64url");
    bytes[9] = (bytes[9] as number) ^ 1;
    const altered = [header, payload, bytes.toString("base64url")].join(".");
    const refusal = await cloud.ask<{ error: string }>({ do: "verify", role: "shop", token: altered });
    expect(refusal.error).toMatch(/signature/i);
  });

  let nextRun: readonly string[] = [];

  /** Names the run beforehand, so that its ID can be asked for by flag. */
  async function idOfNextRun(): Promise<readonly string[]> {
    nextRun = ["--claim=run_id=4711"];
    const { repository_id: repository } = decodeJwt((await world.run()).token(world.issuer));
    return [`spiffe://example.org/ci/github/${String(repository)}/run/4711/1`];
  }
});

interface Role {
  readonly role: string;
  readonly url: string;
  readonly clients: readonly string[];
}

interface Assumed {
  readonly alg: string;
  readonly arn: string;
  readonly claims: { readonly task: Readonly<Record<string, unknown>> };
}

/** A JWT-SVID as a job has it in a file: written down for tools that know a file with a token and nothing else. */
async function tokenOf(
  flags: readonly string[],
  claims: readonly string[] = [],
  audience = AWS,
): Promise<string> {
  const run = ["task", "run", ...flags, `--jwt-file=aws=${audience}`, "--"];
  const show = ["sh", "-c", 'printf "token %s\\n" "$(cat "$ASSAY_TASK_FILES/aws")"'];
  const self = [process.execPath, "--disable-warning=ExperimentalWarning", MAIN];
  const imitation = ["ci-mock", "github", `--dev=${world.folder}`, ...claims, "--"];
  await using job = startAssay("job", [...imitation, ...self, ...run, ...show]);
  const line = await job.line((text) => text.startsWith("token "));
  expect(await job.ended).toEqual({ code: 0, signal: null });
  return line.replace("token ", "");
}

const MAIN = `${import.meta.dirname}/../../src/main.ts`;
