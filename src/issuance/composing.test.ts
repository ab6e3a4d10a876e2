import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { FakeClock } from "../../test/fakes/clock.ts";
import { agentCaller, IssuanceBench } from "../../test/fakes/issuance-bench.ts";
import { makeCsr } from "../../test/fakes/issuance-csr.ts";
import { readCertificate } from "../crypto/certificate-reader.ts";
import { nameAttribute, readName, spireName } from "../crypto/x501-name.ts";
import type { CredentialComposer, X509SvidContent } from "../plugin/credential-composer.ts";
import { createComposing } from "./composing.ts";
import { parseAudiences } from "../spiffe/audience.ts";
import { parseSpiffeId } from "../spiffe/id.ts";
import { issueJwtSvid, jwtSvidFor } from "./jwt-svids.ts";
import { issueX509Svids } from "./x509-svids.ts";

let bench: IssuanceBench;
let clock: FakeClock;
beforeEach(async () => {
  bench = await IssuanceBench.open();
  clock = new FakeClock();
});
afterEach(() => bench[Symbol.asyncDispose]());

const UNIT = "2.5.4.11";

function composing(...composers: readonly Partial<CredentialComposer>[]) {
  const disposable = { async [Symbol.asyncDispose]() {} };
  return createComposing({
    composers: new Map(composers.map((composer, n) => [`c${n}`, { ...composer, ...disposable }])),
    subject: spireName("SPIRE"),
    clock,
  });
}

const issue = async (...composers: readonly Partial<CredentialComposer>[]) => {
  const options = { ...bench.options(), composing: composing(...composers) };
  const [decided] = await issueX509Svids(options, agentCaller(), [{ entryId: "web", csr: makeCsr() }]);
  return decided;
};

describe("credential composers", () => {
  it("are asked in turn, each about what the one before left, and change the subject and the DNS names", async () => {
    bench.entry("web", { dnsNames: ["web.example.org"] });
    const seen: X509SvidContent[] = [];
    const decided = await issue(
      {
        composeX509Svid: (content) => {
          seen.push(content);
          return { ...content, subject: [...content.subject, { oid: UNIT, value: "payments" }] };
        },
      },
      {
        composeX509Svid: async (content) => {
          seen.push(content);
          return { ...content, dnsNames: [...content.dnsNames, "more.example.org"] };
        },
      },
    );
    const leaf = bench.validated(decided?.value?.chain ?? []);
    const subject = readName(leaf.subject, "INTERNAL");
    expect(nameAttribute(subject, UNIT)).toBe("payments");
    expect(nameAttribute(subject, "2.5.4.3")).toBe("web.example.org");
    expect(leaf.subjectAltName?.dnsNames).toEqual(["web.example.org", "more.example.org"]);
    expect(leaf.subjectAltName?.uris).toEqual(["spiffe://example.org/web"]);
    expect(seen[0]?.subject).toHaveLength(3);
    expect(seen[1]?.subject.at(-1)).toEqual({ oid: UNIT, value: "payments" });
  });

  it("change what they were given as little as what it was made of", async () => {
    const entry = bench.entry("web", { dnsNames: ["web.example.org"] });
    const careless: Partial<CredentialComposer> = {
      composeX509Svid(content, { publicKey }) {
        (content.dnsNames as string[]).push("more.example.org");
        (content.subject as { oid: string; value: string }[]).push({ oid: UNIT, value: "payments" });
        publicKey.fill(0);
        return content;
      },
      composeJwtSvid(claims, { audiences }) {
        (audiences as unknown as string[]).push("other");
        return claims;
      },
    };
    const composed = composing(careless, careless);
    const audiences = parseAudiences(["db"]);
    const options = { ...bench.options(), composing: composed };
    const decided = await issue(careless);
    expect(bench.validated(decided?.value?.chain ?? []).subjectAltName?.dnsNames).toEqual([
      "web.example.org",
      "more.example.org",
    ]);
    const { token } = await jwtSvidFor(options, audiences, {
      spiffeId: parseSpiffeId("spiffe://example.org/web"),
      includeJti: false,
    });
    expect(payloadOf(token)).toMatchObject({ aud: ["db"] });
    expect(audiences).toEqual(["db"]);
    expect(entry.dnsNames).toEqual(["web.example.org"]);
    await issue(careless);
    expect(readName(bench.validated((await issue())?.value?.chain ?? []).subject, "INTERNAL")).toHaveLength(
      3,
    );
  });

  it("leave a subject that is not theirs as it is without them", async () => {
    bench.entry("web", { dnsNames: ["web.example.org"] });
    const subjects = [];
    for (const composers of [[], [{ composeX509Svid: (content: X509SvidContent) => content }]]) {
      const decided = await issue(...composers);
      subjects.push(Buffer.from(readCertificate(decided?.value?.certificate ?? new Uint8Array()).subject));
    }
    expect(subjects[0]?.equals(subjects[1] ?? Buffer.alloc(0))).toBe(true);
  });

  it("cannot give a name that policy does not allow", async () => {
    bench.entry("web");
    const decided = await issue({
      composeX509Svid: ({ subject }) => ({ subject, dnsNames: ["not a name"] }),
    });
    expect(decided?.error).toMatchObject({ code: "POLICY_DENIED" });
  });

  it.each<[string, () => unknown, RegExp]>([
    ["throws", () => raise("the directory is away"), /c0: the directory is away/],
    ["gives nothing", () => undefined, /subject must be/],
    ["gives no list of names", () => ({ subject: [], dnsNames: "a" }), /dnsNames must be/],
    [
      "gives an attribute without an oid",
      () => ({ subject: [{ oid: "cn", value: "a" }], dnsNames: [] }),
      /dotted oid/,
    ],
    [
      "gives an attribute without a value",
      () => ({ subject: [{ oid: UNIT, value: "" }], dnsNames: [] }),
      /dotted oid/,
    ],
    [
      "gives an attribute with a control character",
      () => ({ subject: [{ oid: UNIT, value: "a\0b" }], dnsNames: [] }),
      /dotted oid/,
    ],
    [
      "gives more attributes than there may be",
      () => ({ subject: Array.from({ length: 33 }, () => ({ oid: UNIT, value: "a" })), dnsNames: [] }),
      /at most 32/,
    ],
  ])("refuse the SVID where one %s, and the operator learns which", async (_, compose, detail) => {
    bench.entry("web");
    const decided = await issue({ composeX509Svid: compose as CredentialComposer["composeX509Svid"] & {} });
    expect(decided?.error).toMatchObject({
      code: "COMPOSER_FAILED",
      detail: expect.stringMatching(detail) as string,
    });
  });

  it("refuse the SVID where one does not answer in five seconds, and tell it so", async () => {
    bench.entry("web");
    let told: AbortSignal | undefined;
    const { promise: asked, resolve } = Promise.withResolvers<void>();
    const issuing = issue({
      composeX509Svid: (_, __, signal) => {
        told = signal;
        resolve();
        return new Promise(() => {});
      },
    });
    await asked;
    await clock.advance(5000);
    expect((await issuing)?.error).toMatchObject({ code: "COMPOSER_FAILED" });
    expect(told?.aborted).toBe(true);
  });

  it("add claims to JWT-SVIDs and can replace none of the profile's", async () => {
    bench.entry("web");
    const order = { entryId: "web", audience: ["api"] };
    const jwt = (claims: Record<string, unknown>) =>
      issueJwtSvid(
        {
          ...bench.options(),
          composing: composing({ composeJwtSvid: (before) => ({ ...before, ...claims }) }),
        },
        agentCaller(),
        order,
      );
    const { token } = await jwt({ team: "payments" });
    expect(payloadOf(token)).toMatchObject({
      sub: "spiffe://example.org/web",
      aud: ["api"],
      team: "payments",
    });
    await expect(jwt({ sub: "spiffe://example.org/admin" })).rejects.toThrowCode("INTERNAL", /claim sub/);
    await expect(jwt({ exp: 9e9 })).rejects.toThrowCode("INTERNAL", /claim exp/);
  });

  it.each(["task", "status", "cnf", "act", "scope", "client_id"])(
    "cannot give a JWT-SVID a claim %s, which others believe to be ours",
    async (name) => {
      bench.entry("web");
      const options = {
        ...bench.options(),
        composing: composing({ composeJwtSvid: () => ({ [name]: "x" }) }),
      };
      await expect(
        issueJwtSvid(options, agentCaller(), { entryId: "web", audience: ["api"] }),
      ).rejects.toThrowCode("COMPOSER_FAILED", new RegExp(`composer c0: .*claim ${name}`));
    },
  );

  it("cannot give one such a claim by what becomes of their claims as JSON", async () => {
    const claims = { team: "payments", toJSON: () => ({ task: "x" }) };
    await expect(taskSvid(async () => ({}), { composeJwtSvid: () => claims })).rejects.toThrowCode(
      "COMPOSER_FAILED",
      /claim task/,
    );
    const list = { toJSON: () => [] };
    await expect(taskSvid(async () => ({}), { composeJwtSvid: () => list })).rejects.toThrowCode(
      "COMPOSER_FAILED",
      /must be an object/,
    );
  });

  it("neither see nor change what a task's JWT-SVID says of the task", async () => {
    const seen: unknown[] = [];
    const own = { task: { id: "T1" }, status: { status_list: { idx: 1, uri: "https://a.test/1" } } };
    const { token } = await taskSvid(async () => own, {
      composeJwtSvid: (claims) => {
        seen.push(claims);
        return { team: "payments" };
      },
    });
    expect(seen).toEqual([{}]);
    expect(payloadOf(token)).toMatchObject({ ...own, team: "payments" });
  });

  it("cannot make a JWT-SVID outlive its entry by taking their time", async () => {
    const entryExpiresAt = bench.now + 30;
    const slow = {
      composeJwtSvid: async () => {
        bench.clock.step(20_000);
        return {};
      },
    };
    const told: number[] = [];
    const svid = await taskSvid(
      async (expiresAt) => {
        told.push(expiresAt);
        bench.clock.step(5000);
        return {};
      },
      slow,
      { entryExpiresAt },
    );
    expect(svid.expiresAt).toBe(entryExpiresAt);
    expect(told).toEqual([entryExpiresAt]);
    await expect(taskSvid(async () => ({}), slow, { entryExpiresAt })).rejects.toThrowCode("POLICY_DENIED");
  });

  it("have no say in when a JWT-SVID ends, once that has been told", async () => {
    const told: number[] = [];
    const svid = await taskSvid(
      async (expiresAt) => {
        told.push(expiresAt);
        bench.clock.step(5000);
        return {};
      },
      {},
      { requestedTtl: 60 },
    );
    expect([svid.expiresAt]).toEqual(told);
  });

  function taskSvid(
    claims: (expiresAt: number) => Promise<Record<string, unknown>>,
    composer: Partial<CredentialComposer>,
    facts: { readonly entryExpiresAt?: number; readonly requestedTtl?: number } = {},
  ) {
    const options = { ...bench.options(), composing: composing(composer) };
    const spiffeId = parseSpiffeId("spiffe://example.org/w");
    const wanted = { ...facts, spiffeId, includeJti: true, claims };
    return jwtSvidFor(options, parseAudiences(["api"]), wanted);
  }

  it("are nothing where none is configured", () => {
    expect(composing()).toBeUndefined();
  });
});

function payloadOf(token: string): object {
  return JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString()) as object;
}

function raise(message: string): never {
  throw new Error(message);
}
