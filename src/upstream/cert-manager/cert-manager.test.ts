import { chmodSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { beforeEach, describe, expect, it } from "vitest";
import { type Clock, systemClock } from "../../clock.ts";
import { createCaRequest } from "../../crypto/ca-request.ts";
import type { Certificate } from "../../crypto/certificate-reader.ts";
import { toPem } from "../../crypto/pem.ts";
import { parseTrustDomain } from "../../spiffe/trust-domain.ts";
import type { UpstreamAuthority } from "../../plugin/upstream-authority.ts";
import { FakeCertManager } from "../../../test/fakes/cert-manager.ts";
import { makeCertificate, makeKey } from "../../../test/fakes/certificates.ts";
import { FakeClock } from "../../../test/fakes/clock.ts";
import { FakeKubernetesApi } from "../../../test/fakes/kubernetes-api.ts";
import { certManagerUpstream } from "./cert-manager.ts";
import { trustDomainLabel } from "./certificate-request.ts";

const rootKey = makeKey();
const root = makeCertificate({ subject: "root", key: rootKey, ca: true });
const middleKey = makeKey();
const issuer = { certificate: root, key: rootKey };
const middle = makeCertificate({ subject: "middle", key: middleKey, ca: true, issuer });
const own = makeCertificate({
  subject: "own",
  key: makeKey(),
  ca: true,
  issuer: { certificate: middle, key: middleKey },
});
const base64 = (...all: Certificate[]) =>
  Buffer.from(all.map(({ der }) => toPem("CERTIFICATE", der)).join("")).toString("base64");
const SIGNED = {
  conditions: [
    { type: "Approved", status: "True" },
    { type: "Ready", status: "True", reason: "Issued" },
  ],
  certificate: base64(own, middle),
  ca: base64(root),
};
const LABEL = "cert-manager.spiffe.io/trust-domain";

let api: FakeKubernetesApi;
let manager: FakeCertManager;
let warnings: unknown[];
beforeEach(async () => {
  api = await FakeKubernetesApi.start();
  manager = new FakeCertManager(api);
  warnings = [];
  return () => api[Symbol.asyncDispose]();
});

/** A kubeconfig that reaches the fake, with changes to its cluster and user. */
function kubeconfig(cluster: object = {}, user: object = {}): string {
  const path = api.path("kubeconfig");
  const config = {
    apiVersion: "v1",
    kind: "Config",
    "current-context": "here",
    contexts: [{ name: "here", context: { cluster: "c", user: "u" } }],
    clusters: [{ name: "c", cluster: { server: api.url, "certificate-authority": "ca.pem", ...cluster } }],
    users: [{ name: "u", user: { tokenFile: "token", ...user } }],
  };
  writeFileSync(path, JSON.stringify(config));
  return path;
}

/** The machine's clock, ten times as fast for whoever looks again and again; deadlines are as they are. */
const hasty: Clock = {
  now: () => systemClock.now(),
  schedule: (milliseconds, callback) =>
    systemClock.schedule(milliseconds < 1000 ? milliseconds / 10 : milliseconds, callback),
};

async function open(settings: object = {}, clock: Clock = hasty): Promise<UpstreamAuthority> {
  const all = { namespace: "shop", issuer_name: "company", ...settings };
  const file = "kube_config_file" in all ? {} : { kube_config_file: kubeconfig() };
  const read = await certManagerUpstream.config["~standard"].validate({ ...file, ...all });
  if (read.issues !== undefined) throw new Error(JSON.stringify(read.issues));
  const log = { debug() {}, info() {}, warn: (...told: unknown[]) => void warnings.push(told), error() {} };
  return certManagerUpstream.create(read.value, { trustDomain: parseTrustDomain("example.org"), clock, log });
}

/** The lists that were asked for. */
function lists(): URL[] {
  return api.seen.map(({ path }) => new URL(path, api.url)).filter(({ search }) => search !== "");
}

async function order(signal = new AbortController().signal) {
  const key = makeKey();
  const csr = await createCaRequest(
    { trustDomain: "example.org", spki: key.spki, subject: [] },
    "ecdsa-sha256",
    key.sign,
  );
  return { csr, ttl: 86_400, signal };
}

describe("an authority from cert-manager", () => {
  it("is asked for by a CertificateRequest as SPIRE's, and read with chain and root", async () => {
    manager.answer = () => SIGNED;
    const wanted = await order();
    {
      await using upstream = await open({ issuer_kind: "ClusterIssuer" });
      expect(await upstream.mintX509Ca(wanted)).toEqual({
        chain: [own.der, middle.der],
        roots: [{ certificate: root.der, tainted: false }],
      });
    }
    expect(api.seen[0]?.body).toEqual({
      apiVersion: "cert-manager.io/v1",
      kind: "CertificateRequest",
      metadata: { generateName: "spiffe-ca-", namespace: "shop", labels: { [LABEL]: "example.org" } },
      spec: {
        duration: "86400s",
        issuerRef: { name: "company", kind: "ClusterIssuer", group: "cert-manager.io" },
        request: Buffer.from(toPem("CERTIFICATE REQUEST", wanted.csr)).toString("base64"),
        isCA: true,
        usages: ["cert sign", "crl sign"],
      },
    });
  });

  it("leaves no request of its own behind, and none that servers left ten minutes ago", async () => {
    manager.answer = () => SIGNED;
    const ago = (minutes: number) => Date.now() - minutes * 60_000;
    const put = (name: string, minutes: number, trustDomain = "example.org", namespace = "shop") =>
      manager.put({ name, namespace, labels: { [LABEL]: trustDomain } }, {}, ago(minutes));
    put("young", 9).status = SIGNED;
    put("young-and-waiting", 0);
    put("old", 11).status = SIGNED;
    put("old-and-waiting", 11);
    put("old-of-another", 11, "other.org").status = SIGNED;
    put("old-elsewhere", 11, "example.org", "else").status = SIGNED;
    {
      await using upstream = await open();
      await upstream.mintX509Ca(await order());
      await expect
        .poll(() => [...manager.requests.keys()])
        .toEqual(["young", "young-and-waiting", "old-of-another", "old-elsewhere"]);
    }
    expect(warnings).toEqual([]);
  });

  it("takes the time from the cluster when it judges what is old", async () => {
    manager.answer = () => SIGNED;
    manager.put({ name: "young", namespace: "shop", labels: { [LABEL]: "example.org" } });
    const ahead: Clock = { ...hasty, now: () => systemClock.now() + 3_600_000 };
    await using upstream = await open({}, ahead);
    await upstream.mintX509Ca(await order());
    await expect.poll(() => lists().length).toBe(1);
    await upstream[Symbol.asyncDispose]();
    expect([...manager.requests.keys()]).toEqual(["young"]);
  });

  it("looks through what servers left by fifty at once", async () => {
    manager.answer = () => SIGNED;
    const labels = { [LABEL]: "example.org" };
    for (let n = 0; n < 120; n++) manager.put({ name: `young-${n}`, namespace: "shop", labels });
    manager.put({ name: "z-old", namespace: "shop", labels }, {}, 0);
    await using upstream = await open();
    await upstream.mintX509Ca(await order());
    await expect.poll(() => manager.requests.has("z-old"), { timeout: 5000 }).toBe(false);
    expect(manager.requests.size).toBe(120);
    const asked = lists().map(({ searchParams }) => [
      searchParams.get("limit"),
      searchParams.has("continue"),
    ]);
    expect(asked).toEqual([
      ["50", false],
      ["50", true],
      ["50", true],
    ]);
  });

  it("is given also where requests cannot be deleted", async () => {
    manager.put({ name: "old", namespace: "shop", labels: { [LABEL]: "example.org" } }, {}, 0);
    manager.answer = () => {
      // The request itself, the list, and what is in it.
      manager.failures.push(403, 0, 500);
      return SIGNED;
    };
    await using upstream = await open();
    expect((await upstream.mintX509Ca(await order())).chain).toHaveLength(2);
    await expect.poll(() => warnings.length).toBe(2);
    expect(JSON.stringify(warnings[0])).toMatch(/a CertificateRequest could .*told to fail with 403/);
    expect(JSON.stringify(warnings[1])).toMatch(/old CertificateRequests .*told to fail with 500/);
  });

  it.each([
    [
      "is denied",
      { type: "Denied", status: "True", reason: "policy", message: "not\nallowed" },
      /Denied, policy: not allowed/,
    ],
    ["is invalid", { type: "InvalidRequest", status: "True", reason: "x", message: "bad" }, /InvalidRequest/],
    [
      "fails",
      { type: "Ready", status: "False", reason: "Failed", message: "no such key" },
      /Failed: no such key/,
    ],
  ])("is refused where the request %s", async (_title, condition, detail) => {
    manager.answer = () => ({ conditions: [condition] });
    await using upstream = await open();
    await expect(upstream.mintX509Ca(await order())).rejects.toThrowCode("UPSTREAM_REFUSED", detail);
    await expect.poll(() => manager.requests.size).toBe(0);
  });

  it.each([
    ["no CA", { ...SIGNED, ca: undefined }, /root is not known/],
    ["an empty CA", { ...SIGNED, ca: "" }, /root is not known/],
    ["no PEM", { ...SIGNED, certificate: "AAAA" }, /status.certificate/],
    [
      "a key as CA",
      { ...SIGNED, ca: Buffer.from("-----BEGIN PRIVATE KEY-----").toString("base64") },
      /status.ca/,
    ],
    ["the root as certificate", { ...SIGNED, certificate: base64(root) }, /in place of a certificate/],
    [
      "17 certificates",
      { ...SIGNED, certificate: base64(...Array.from({ length: 17 }, () => own)) },
      /at most 16/,
    ],
    ["conditions of another form", { conditions: [1] }, /another form/],
  ])("is refused where the request holds %s", async (_title, status, detail) => {
    manager.answer = () => status;
    await using upstream = await open();
    await expect(upstream.mintX509Ca(await order())).rejects.toThrowCode("UPSTREAM_REFUSED", detail);
  });

  it("leaves a root out that the issuer put into the chain", async () => {
    manager.answer = () => ({ ...SIGNED, certificate: base64(own, middle, root) });
    await using upstream = await open();
    expect((await upstream.mintX509Ca(await order())).chain).toEqual([own.der, middle.der]);
  });

  it("is waited for while the cluster is away for a moment", async () => {
    manager.answer = () => SIGNED;
    manager.failures.push(0, 503, 429, 500);
    await using upstream = await open();
    expect((await upstream.mintX509Ca(await order())).chain).toHaveLength(2);
  });

  it.each([
    [403, "UPSTREAM_REFUSED"],
    [404, "UPSTREAM_REFUSED"],
    [422, "UPSTREAM_REFUSED"],
    [503, "UPSTREAM_UNAVAILABLE"],
  ] as const)("is not to be had where the cluster answers %i: %s", async (status, code) => {
    manager.failures.push(status);
    await using upstream = await open();
    await expect(upstream.mintX509Ca(await order())).rejects.toThrowCode(code, /told to fail/);
  });

  it("is refused where somebody deletes the request", async () => {
    manager.answer = ({ metadata }) => {
      manager.requests.delete(metadata.name);
      return undefined;
    };
    await using upstream = await open();
    await expect(upstream.mintX509Ca(await order())).rejects.toThrowCode(
      "UPSTREAM_REFUSED",
      /404: not found/,
    );
  });

  it("is given up after a minute and a half, and at once with the signal or the upstream", async () => {
    const clock = new FakeClock();
    const upstream = await open({}, clock);
    const abort = new AbortController();
    const late = upstream.mintX509Ca(await order());
    const stopped = upstream.mintX509Ca(await order(abort.signal));
    for (const one of [late, stopped]) one.catch(() => undefined);
    await expect.poll(() => manager.requests.size).toBe(2);
    abort.abort(new Error("the server stops"));
    await expect(stopped).rejects.toThrowCode("UPSTREAM_UNAVAILABLE", /the server stops/);
    await expect.poll(() => manager.requests.size).toBe(1);
    // Nothing is left to tidy after it: what is waited for is the other one.
    await expect.poll(() => clock.pending).toBe(2);
    await clock.advance(90_000);
    await expect(late).rejects.toThrowCode("UPSTREAM_UNAVAILABLE", /no answer within 90000 ms/);
    await expect.poll(() => manager.requests.size).toBe(0);
    const closed = upstream.mintX509Ca(await order());
    closed.catch(() => undefined);
    await expect.poll(() => manager.requests.size).toBe(1);
    await upstream[Symbol.asyncDispose]();
    await expect(closed).rejects.toThrowCode("UPSTREAM_UNAVAILABLE", /closed/);
    expect(manager.requests.size).toBe(0);
    expect(warnings).toEqual([]);
  });
});

describe("the label of a trust domain", () => {
  it.each(["example.org", "a", "x".repeat(63)])("is its name %s", (name) => {
    expect(trustDomainLabel(parseTrustDomain(name))).toBe(name);
  });

  it.each(["x".repeat(64), "_a", "a-"])("is a hash of %s, which cannot be a label", (name) => {
    expect(trustDomainLabel(parseTrustDomain(name))).toMatch(/^sha256-[0-9a-f]{56}$/);
  });
});

describe("a kubeconfig", () => {
  it("may hold token and authority themselves", async () => {
    manager.answer = () => SIGNED;
    const data = readFileSync(api.caFile).toString("base64");
    const file = kubeconfig(
      { "certificate-authority": undefined, "certificate-authority-data": data },
      { tokenFile: undefined, token: api.token },
    );
    chmodSync(file, 0o600);
    await using upstream = await open({ kube_config_file: file });
    expect((await upstream.mintX509Ca(await order())).chain).toHaveLength(2);
  });

  it.each([
    ["any server to be believed", { "insecure-skip-tls-verify": true }, {}, /believe any server/],
    ["http", { server: "http://127.0.0.1" }, {}, /https URL/],
    ["a program for the login", {}, { exec: { command: "aws" } }, /no program/],
    ["a plugin for the login", {}, { "auth-provider": { name: "gcp" } }, /no program/],
    ["a token of two lines", {}, { token: "a\nb" }, /no kubeconfig/],
  ])("is refused that asks for %s", async (_title, cluster, user, detail) => {
    await expect(open({ kube_config_file: kubeconfig(cluster, user) })).rejects.toThrowCode(
      "CONFIG_INVALID",
      detail,
    );
  });

  it.each([
    "",
    "- a\n",
    "a: &x 1\nb: *x\n",
    "{",
    "current-context: x\ncontexts: []\nclusters: []\nusers: []\n",
  ])("is refused that holds %j, and its text is in no error", async (text) => {
    const file = api.path("bad");
    writeFileSync(file, text);
    await expect(open({ kube_config_file: file })).rejects.toThrowCode("CONFIG_INVALID");
  });

  it.each([
    ["a token", { tokenFile: undefined, token: "t" }],
    ["a client key", { tokenFile: undefined, "client-certificate-data": "YQ==", "client-key-data": "YQ==" }],
  ])("with %s in it is refused where others can read it", async (_title, user) => {
    const file = kubeconfig({}, user);
    chmodSync(file, 0o644);
    await expect(open({ kube_config_file: file })).rejects.toThrowCode(
      "CONFIG_INVALID",
      /^kube_config_file \S+ has mode 0644, so others could have read it; replace the credential/,
    );
    chmodSync(file, 0o640);
    await using _ = await open({ kube_config_file: file });
  });

  it("that names a client key which others can read has nothing ordered", async () => {
    const key = api.path("client.key");
    writeFileSync(key, "secret");
    chmodSync(key, 0o644);
    const user = { tokenFile: undefined, "client-certificate": "ca.pem", "client-key": "client.key" };
    await using upstream = await open({ kube_config_file: kubeconfig({}, user) });
    await expect(upstream.mintX509Ca(await order())).rejects.toThrowCode(
      "UPSTREAM_UNAVAILABLE",
      /client-key of kube_config_file \S+client\.key has mode 0644/,
    );
    expect(api.seen).toEqual([]);
  });

  it("whose token is replaced while a request waits is read again", async () => {
    const token = readFileSync(api.path("token"));
    const answer = () => SIGNED;
    manager.answer = () => {
      manager.answer = answer;
      rmSync(api.path("token"));
      systemClock.schedule(200, () => writeFileSync(api.path("token"), token));
      return {};
    };
    await using upstream = await open();
    expect((await upstream.mintX509Ca(await order())).chain).toHaveLength(2);
  });

  it("sends its token to no server that its authorities do not vouch for", async () => {
    await using other = await FakeKubernetesApi.start();
    await using upstream = await open({ kube_config_file: kubeconfig({ server: other.url }) });
    await expect(upstream.mintX509Ca(await order())).rejects.toThrowCode("UPSTREAM_UNAVAILABLE");
    expect(other.seen).toEqual([]);
  });
});
