import { createHmac } from "node:crypto";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { AssayError } from "../../../../errors/assay-error.ts";
import { judgeClaims } from "../judge-claims.ts";
import type { OidcPreset, PresetWebhook, WebhookMessage } from "../preset.ts";
import { PRESETS } from "../presets/all.ts";
import { taskKeyOf } from "../task-key.ts";
import { buildkiteWebhook } from "./buildkite.ts";
import { circleciWebhook } from "./circleci.ts";
import { githubWebhook } from "./github.ts";
import { gitlabWebhook } from "./gitlab.ts";
import { hmacOf, isSame, WEBHOOK_WINDOW } from "./signed-body.ts";
import { readWebhookSecret } from "./webhook-secret.ts";

const NOW = 1_800_000_000;
const SECRET = "0123456789abcdef";

/** A message of one platform about the job of its preset's sample. */
interface Platform {
  readonly preset: string;
  readonly body: Readonly<Record<string, unknown>>;
  /** The headers by which the platform says that it wrote this body. */
  readonly sign: (body: string, secret: string, now: number) => Record<string, string>;
  /** Members that make the message say something else than that the job has ended. */
  readonly others: readonly Readonly<Record<string, unknown>>[];
  /** Members that make it name no job. */
  readonly nameless: readonly Readonly<Record<string, unknown>>[];
}

const GITHUB_JOB = {
  id: 44906873141,
  run_id: 15923841502,
  run_attempt: 2,
  status: "completed",
  conclusion: "cancelled",
  check_run_url: "https://api.github.com/repos/octo-org/octo-repo/check-runs/44906873141",
};
const SIGNING_TOKEN = `whsec_${Buffer.alloc(32, 7).toString("base64")}`;

const PLATFORMS: readonly (readonly [string, Platform])[] = [
  [
    "GitHub",
    {
      preset: "github-actions",
      body: { action: "completed", workflow_job: GITHUB_JOB, repository: { id: 2000 } },
      sign: (body, secret) => ({ "x-hub-signature-256": `sha256=${hex(secret, body)}` }),
      others: [
        { action: "in_progress" },
        { workflow_job: { ...GITHUB_JOB, status: "in_progress" } },
        { workflow_job: undefined, zen: "Design for failure." },
        { workflow_job: undefined, workflow_run: { id: 1, run_attempt: 1, status: "queued" } },
      ],
      nameless: [
        { repository: undefined },
        { workflow_job: { ...GITHUB_JOB, run_id: undefined } },
        { workflow_job: { ...GITHUB_JOB, run_attempt: -1 } },
        { workflow_job: { ...GITHUB_JOB, check_run_url: "https://api.github.com/check-runs/" } },
        { workflow_job: { ...GITHUB_JOB, check_run_url: ["/check-runs/1"] } },
      ],
    },
  ],
  [
    "GitLab with a secret token",
    {
      preset: "gitlab",
      body: { object_kind: "build", build_id: 302, build_status: "failed", project_id: 20 },
      sign: (_body, secret) => ({ "x-gitlab-token": secret }),
      others: [
        { object_kind: "push" },
        { build_status: "running" },
        { build_status: "skipped" },
        { build_status: "canceling" },
      ],
      nameless: [{ build_id: undefined }, { project_id: {} }],
    },
  ],
  [
    "Buildkite",
    {
      preset: "buildkite",
      body: { event: "job.finished", job: { id: "0184990a-477b-4fa8-9968-496074483cee", state: "failed" } },
      sign: (body, secret, now) => ({
        "x-buildkite-signature": `timestamp=${now},signature=${hex(secret, `${now}.${body}`)}`,
      }),
      others: [{ event: "job.started" }, { event: "build.finished" }, { event: "ping" }],
      nameless: [{ job: undefined }, { job: { id: "" } }],
    },
  ],
  [
    "CircleCI",
    {
      preset: "circleci",
      body: {
        type: "job-completed",
        id: "3888f21b-eaa7-38e3-8f3d-75a63bba8895",
        organization: { id: "6C4F8A3E-70FC-4F4C-9FE0-1D5A5C0C0001", name: "acme" },
        job: { id: "6c4f8a3e-70fc-4f4c-9fe0-1d5a5c0c0005", status: "success" },
      },
      sign: (body, secret) => ({ "circleci-signature": `v1=${hex(secret, body)},v2=00` }),
      others: [{ type: "workflow-completed" }, { type: "ping" }],
      nameless: [{ organization: { id: "acme" } }, { job: undefined }],
    },
  ],
];

describe.each(PLATFORMS)("a webhook of %s", (_name, { preset: name, body, sign, others, nameless }) => {
  const preset = presetOf(name);
  const webhook = webhookOf(preset);
  const read = (
    members: Readonly<Record<string, unknown>> = {},
    change: Partial<WebhookMessage> = {},
  ): ReturnType<PresetWebhook["read"]> => {
    const text = JSON.stringify({ ...body, ...members });
    return webhook.read({
      body: Buffer.from(text),
      headers: sign(text, SECRET, NOW),
      secret: SECRET,
      now: NOW,
      ...change,
    });
  };

  it("names the run by the key that the attestor made of the job's token", () => {
    const { issuer, claims } = preset.sample;
    const { taskKey } = judgeClaims({ preset, issuer, allow: new Map() }, claims);
    expect(taskKeyOf(issuer, read()?.run ?? [])).toBe(taskKey);
  });

  it("says the same each time it comes", () => {
    expect(read()).toEqual(read());
  });

  it.each(others)("says nothing where it has %j", (members) => {
    expect(read(members)).toBeUndefined();
  });

  it.each(nameless)("is refused where it names no run: %j", (members) => {
    expect(() => read(members)).toThrowCode("ATTESTATION_FAILED");
  });

  it("names a run, says nothing or is refused, whatever is signed", () => {
    const members = fc.dictionary(
      fc.constantFrom(...Object.keys(body), ...Object.keys(GITHUB_JOB), "__proto__", "workflow_run"),
      fc.oneof(fc.jsonValue(), fc.constantFrom(...Object.values(body))),
    );
    fc.assert(
      fc.property(members, (given) => {
        const outcome = outcomeOf(() => read(given));
        const isRun = outcome?.run.every((value) => value !== "") === true && outcome.run.length > 0;
        expect(outcome === undefined || isRun).toBe(true);
      }),
      { numRuns: 300 },
    );
  });

  it("is refused by another secret, and without any header", () => {
    expect(() => read({}, { secret: `${SECRET}0` })).toThrowCode("ATTESTATION_FAILED");
    expect(() => read({}, { headers: {} })).toThrowCode("ATTESTATION_FAILED", /header .* is missing/);
  });

  it("is refused where the body is no JSON object, though it is signed", () => {
    for (const text of ["", "[]", "null", '"x"', "{", "\u0000"]) {
      const change = { body: Buffer.from(text), headers: sign(text, SECRET, NOW) };
      expect(() => read({}, change)).toThrowCode("ATTESTATION_FAILED", /the body is no JSON/);
    }
    const broken = Buffer.from([0x7b, 0xff, 0x7d]);
    expect(() => read({}, { body: broken })).toThrowCode("ATTESTATION_FAILED");
  });

  if (name !== "gitlab") {
    it("is refused where one byte of the body is another", () => {
      const text = JSON.stringify(body);
      const other = text.replace("5", "6").replace("4", "9");
      const change = { headers: sign(text, SECRET, NOW), body: Buffer.from(other) };
      expect(() => read({}, change)).toThrowCode("ATTESTATION_FAILED", /does not fit/);
    });

    it("is refused where the signature is cut off, in capitals or of no hex", () => {
      const headers = sign(JSON.stringify(body), SECRET, NOW);
      for (const spoil of [
        (text: string) => text.slice(0, 60),
        (text: string) =>
          text.replaceAll(/[0-9a-f]{64}/g, (digits) => digits.toUpperCase().replaceAll("0", "A")),
        (text: string) => text.replaceAll(/[0-9a-f]{64}/g, "z".repeat(64)),
        () => "",
      ]) {
        const spoilt = Object.fromEntries(Object.entries(headers).map(([key, text]) => [key, spoil(text)]));
        expect(() => read({}, { headers: spoilt })).toThrowCode("ATTESTATION_FAILED");
      }
    });
  }
});

describe("signatures that the platforms publish as examples", () => {
  // A body that is no message of the platform: that it is complained of shows that the signature was accepted.
  const accepted = /the body is no JSON/;

  it("GitHub's is accepted", () => {
    const message = {
      headers: {
        "x-hub-signature-256": "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
      },
      body: Buffer.from("Hello, World!"),
      secret: "It's a Secret to Everybody",
      now: NOW,
    };
    expect(() => githubWebhook.read(message)).toThrowCode("ATTESTATION_FAILED", accepted);
    const other = { ...message, body: Buffer.from("Hello, World?") };
    expect(() => githubWebhook.read(other)).toThrowCode("ATTESTATION_FAILED", /does not fit/);
  });

  it.each([
    ["hello world", "secret", "734cc62f32841568f45715aeb9f4d7891324e6d948e4c6c60c0621cdac48623a"],
    ["lalala", "another-secret", "daa220016c8f29a8b214fbfc3671aeec2145cfb1e6790184ffb38b6d0425fa00"],
    [
      "an-important-request-payload",
      "hunter123",
      "9be2242094a9a8c00c64306f382a7f9d691de910b4a266f67bd314ef18ac49fa",
    ],
  ])("CircleCI's for %j is accepted", (text, secret, signature) => {
    const read = (header: string) =>
      circleciWebhook.read({
        headers: { "circleci-signature": header },
        body: Buffer.from(text),
        secret,
        now: NOW,
      });
    expect(() => read(`v1=${signature}`)).toThrowCode("ATTESTATION_FAILED", accepted);
    expect(() => read(`v2=00,v1=${signature}`)).toThrowCode("ATTESTATION_FAILED", accepted);
    expect(() => read(`v2=${signature}`)).toThrowCode("ATTESTATION_FAILED", /does not fit/);
  });

  it("that of Standard Webhooks, which GitLab follows, is accepted within five minutes", () => {
    const read = (now: number, change: Record<string, string> = {}) =>
      gitlabWebhook.read({
        headers: {
          "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
          "webhook-timestamp": "1614265330",
          "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
          ...change,
        },
        body: Buffer.from('{"test": 2432232314}'),
        secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        now,
      });
    expect(read(1_614_265_330)).toBeUndefined();
    expect(read(1_614_265_330 + WEBHOOK_WINDOW)).toBeUndefined();
    expect(() => read(1_614_265_331 + WEBHOOK_WINDOW)).toThrowCode("ATTESTATION_FAILED", /more than 300 s/);
    expect(() => read(1_614_265_329 - WEBHOOK_WINDOW)).toThrowCode("ATTESTATION_FAILED", /more than 300 s/);
    const refused = { "webhook-timestamp": "1614265331" };
    expect(() => read(1_614_265_330, refused)).toThrowCode("ATTESTATION_FAILED", /does not fit/);
  });
});

describe("a webhook of GitLab with a signing token", () => {
  const text = JSON.stringify({
    object_kind: "build",
    build_id: 302,
    build_status: "success",
    project_id: 20,
  });
  const signed = (id = "m1", time = String(NOW)): Record<string, string> => ({
    "webhook-id": id,
    "webhook-timestamp": time,
    "webhook-signature": `v1,${hmacOf(Buffer.alloc(32, 7), `${id}.${time}.${text}`).toString("base64")}`,
  });
  const read = (headers: Record<string, string>, secret = SIGNING_TOKEN) =>
    gitlabWebhook.read({ headers, body: Buffer.from(text), secret, now: NOW });

  it("is taken by any of its signatures", () => {
    expect(read(signed())).toEqual({ run: ["20", "302"], deliveryId: "m1" });
    const two = { ...signed(), "webhook-signature": `v1,AAAA ${signed()["webhook-signature"] ?? ""}` };
    expect(read(two)).toMatchObject({ run: ["20", "302"] });
  });

  it("is refused with the token as it is, however right that may be", () => {
    expect(() => read({ "x-gitlab-token": SIGNING_TOKEN })).toThrowCode("ATTESTATION_FAILED", /webhook-id/);
  });

  it("is refused where id, time or version are not those that were signed", () => {
    for (const change of [
      { "webhook-id": "m2" },
      { "webhook-timestamp": String(NOW + 1) },
      { "webhook-timestamp": "" },
      { "webhook-signature": (signed()["webhook-signature"] ?? "").replace("v1", "v2") },
    ]) {
      expect(() => read({ ...signed(), ...change })).toThrowCode("ATTESTATION_FAILED");
    }
    expect(() => read(signed("m1", "soon"))).toThrowCode("ATTESTATION_FAILED", /no number of seconds/);
  });

  it("is refused by a signing token without enough of a key", () => {
    expect(() => read(signed(), "whsec_AAAAAAAAAAAA")).toThrowCode("ATTESTATION_FAILED", /16 bytes/);
  });
});

describe("a webhook of Buildkite", () => {
  it("is refused where it is too old or of the future, and where its token comes as it is", () => {
    const text = '{"event":"ping"}';
    const read = (time: number, headers?: Record<string, string>) =>
      buildkiteWebhook.read({
        headers: headers ?? {
          "x-buildkite-signature": `timestamp=${time},signature=${hex(SECRET, `${time}.${text}`)}`,
        },
        body: Buffer.from(text),
        secret: SECRET,
        now: NOW,
      });
    expect(read(NOW - WEBHOOK_WINDOW)).toBeUndefined();
    expect(() => read(NOW - WEBHOOK_WINDOW - 1)).toThrowCode("ATTESTATION_FAILED", /more than 300 s/);
    expect(() => read(NOW + WEBHOOK_WINDOW + 1)).toThrowCode("ATTESTATION_FAILED", /more than 300 s/);
    expect(() => read(NOW, { "x-buildkite-token": SECRET })).toThrowCode("ATTESTATION_FAILED", /missing/);
  });
});

describe("a webhook of GitHub", () => {
  const read = (text: string, headers: Record<string, string> = {}) =>
    githubWebhook.read({
      headers: { "x-hub-signature-256": `sha256=${hex(SECRET, text)}`, ...headers },
      body: Buffer.from(text),
      secret: SECRET,
      now: NOW,
    });

  it("about a whole attempt of a run names the beginning of all its jobs' keys", () => {
    const run = { id: 15923841502, run_attempt: 2, status: "completed" };
    const found = read(JSON.stringify({ action: "completed", workflow_run: run, repository: { id: 2000 } }));
    const preset = presetOf("github-actions");
    const { issuer, claims } = preset.sample;
    const { taskKey } = judgeClaims({ preset, issuer, allow: new Map() }, claims);
    const beginning = taskKeyOf(issuer, found?.run ?? []);
    expect(taskKey.startsWith(beginning)).toBe(true);
    expect(taskKey).not.toBe(beginning);
  });

  it("is read from a form too, and not believed about what kind of event it is", () => {
    const json = JSON.stringify({ action: "completed", workflow_job: GITHUB_JOB, repository: { id: 2000 } });
    const form = { "content-type": "application/x-www-form-urlencoded; charset=utf-8" };
    const run = ["2000", "15923841502", "2", "44906873141"];
    expect(read(`payload=${encodeURIComponent(json)}`, form)).toEqual({ run });
    expect(() => read(`body=${encodeURIComponent(json)}`, form)).toThrowCode("ATTESTATION_FAILED", /payload/);
    expect(read('{"action":"completed"}', { "x-github-event": "workflow_job" })).toBeUndefined();
    expect(read(json, { "x-github-event": "ping", "x-github-delivery": "d1" })).toEqual({
      run,
      deliveryId: "d1",
    });
  });
});

describe("isSame", () => {
  it("compares texts of any length", () => {
    expect(isSame("a", "a")).toBe(true);
    expect(isSame("a", "ab")).toBe(false);
    expect(isSame("", "a")).toBe(false);
  });
});

describe("readWebhookSecret", () => {
  it("reads a file of its owner, and refuses one that is open to others, too short or missing", async () => {
    const folder = mkdtempSync(join(tmpdir(), "assay-webhook-"));
    try {
      const file = join(folder, "secret");
      writeFileSync(file, `${SECRET}\n`, { mode: 0o600 });
      expect(await readWebhookSecret(file)).toBe(SECRET);
      chmodSync(file, 0o640);
      expect(await readWebhookSecret(file)).toBe(SECRET);
      for (const mode of [0o644, 0o602, 0o660]) {
        chmodSync(file, mode);
        await expect(readWebhookSecret(file)).rejects.toThrowCode("CONFIG_INVALID", /open to others/);
      }
      chmodSync(file, 0o600);
      writeFileSync(file, "   short   ");
      await expect(readWebhookSecret(file)).rejects.toThrowCode("CONFIG_INVALID", /16 characters/);
      await expect(readWebhookSecret(join(folder, "none"))).rejects.toThrowCode("CONFIG_INVALID");
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

/** What a message says; nothing where it is refused as it should be. */
function outcomeOf(read: () => ReturnType<PresetWebhook["read"]>): ReturnType<PresetWebhook["read"]> {
  try {
    return read();
  } catch (error) {
    if (error instanceof AssayError && error.code === "ATTESTATION_FAILED") return undefined;
    throw error;
  }
}

function presetOf(name: string): OidcPreset {
  const preset = PRESETS.get(name);
  if (preset === undefined) throw new Error(`no preset ${name}`);
  return preset;
}

function webhookOf({ name, webhook }: OidcPreset): PresetWebhook {
  if (webhook === undefined) throw new Error(`preset ${name} reads no webhook`);
  return webhook;
}

function hex(secret: string, text: string): string {
  return createHmac("sha256", secret).update(text).digest("hex");
}
