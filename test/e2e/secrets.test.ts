import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Agent } from "../../src/proto/gen/spire/api/server/agent/v1/agent_pb.ts";
import { SpiffeWorkloadAPI } from "../../src/proto/gen/spiffe/workload/workload_pb.ts";
import { makeKey } from "../fakes/certificates.ts";
import { makeCsr } from "../fakes/issuance-csr.ts";
import { attestOnce, joinTokenParams } from "../fakes/server-agent.ts";
import { adminClient, tlsClient } from "./admin-rpc.ts";
import { assay, assayJson, placeAgent, placeServer, startAgent, startServer } from "./harness.ts";
import { run } from "./program.ts";
import { makeScratch, type Scratch } from "./scratch.ts";
import { curl, fetchX509, OWN_SELECTORS, SECURITY_HEADER, workloadClient } from "./workload.ts";

let scratch: Scratch;

beforeAll(async () => {
  scratch = await makeScratch();
});

afterAll(async () => {
  await scratch?.[Symbol.asyncDispose]();
});

describe("what is secret", () => {
  it("is in no line that server and agent write at their most talkative, and in no audit record", async () => {
    const secrets = new Map<string, string>();
    const agentPlace = placeAgent(scratch);
    await using server = await startServer(await placeServer(scratch), ["--log-level=trace"]);
    using admin = adminClient(server.place);
    const usedTokenFile = await server.joinTokenFile("spiffe://example.org/node");
    const usedToken = (await readFile(usedTokenFile, "utf8")).trim();
    await server.createEntry({
      parentId: "spiffe://example.org/node",
      spiffeId: "spiffe://example.org/self",
      selectors: OWN_SELECTORS,
    });
    await using agent = await startAgent(agentPlace, {
      server: server.place.address,
      trustBundleFile: await server.trustBundleFile(),
      joinTokenFile: usedTokenFile,
      flags: ["--log-level=trace"],
    });

    // What succeeds: keys and tokens of every kind.
    const { value: unused } = await admin.service(Agent).createJoinToken({ ttl: 600 });
    secrets.set("unused join token", unused);
    const { body } = await curl(agentPlace.socket, "/v1/x509-svids");
    const { svids } = JSON.parse(body) as { svids: { private_key_pem: string; private_key_der: string }[] };
    secrets.set("X509-SVID key", svids[0]?.private_key_der ?? "");
    await fetchX509(agent.endpoint);
    const jwts = await assayJson<readonly { svid: string }[]>([
      "fetch",
      "jwt",
      "--audience=api",
      `--socket=${agent.endpoint}`,
    ]);
    const jwt = jwts[0]?.svid ?? "";
    secrets.set("JWT-SVID", jwt);
    const minted = await server.ask<{ token?: string; svid?: string }>("token", "generate");
    secrets.set("generated join token", minted.token ?? "");

    // What fails: the same secrets in the wrong places.
    using workload = workloadClient(agentPlace.socket);
    const options = { headers: SECURITY_HEADER };
    const validate = workload.service(SpiffeWorkloadAPI).validateJWTSVID;
    await expect(validate({ audience: "other", svid: jwt }, options)).rejects.toThrow();
    const forged = jwt.replace(
      /(?<=\.)[^.]([^.]*)$/,
      (_, rest: string) => (jwt.includes(`.A${rest}`) ? "B" : "A") + rest,
    );
    await expect(validate({ audience: "api", svid: forged }, options)).rejects.toThrow();
    await expect(
      workload.service(SpiffeWorkloadAPI).fetchJWTSVID({ audience: ["api"], spiffeId: jwt }, options),
    ).rejects.toThrow();
    using anonymous = await tlsClient(server.place);
    const wrongToken = "31f6a9a5-0d4e-4e56-8a3e-f6b8e7a5c111";
    secrets.set("join token that nobody made", wrongToken);
    await expect(
      attestOnce(anonymous, joinTokenParams(wrongToken, makeCsr({}, makeKey()))),
    ).rejects.toThrow();
    await expect(
      attestOnce(anonymous, {
        ...joinTokenParams(unused, new Uint8Array()),
        params: { csr: makeKey().spki },
      }),
    ).rejects.toThrow();
    await expect(
      attestOnce(anonymous, { data: { type: unused, payload: Buffer.from(unused) } }),
    ).rejects.toThrow();
    await curl(agentPlace.socket, `/v1/x509-svids?token=${jwt}`, ["--header=workload.spiffe.io: true"]);
    await curl(agentPlace.socket, "/v1/x509-svids", [`--header=Authorization: Bearer ${jwt}`]);
    await run("curl", [
      "--silent",
      "--insecure",
      "--max-time",
      "10",
      "--header",
      `Authorization: Bearer ${jwt}`,
      `https://${server.place.webAddress}/v1/entries?token=${unused}`,
    ]);
    await assay(["explain", "pid", String(process.pid), `--admin-socket=${agentPlace.adminSocket}`]);

    // The files of keys hold secrets by their nature; nobody else may read them, and no log may repeat them.
    for (const [name, der] of await privateKeysIn(join(server.place.dataDir, "keys"))) secrets.set(name, der);
    await agent.program.stop();
    await server.program.stop();

    const told = [
      ...server.program.lines,
      ...agent.program.lines,
      ...(await readFile(join(server.place.dataDir, "audit.jsonl"), "utf8")).split("\n"),
      ...(await readFile(join(agentPlace.dataDir, "audit.jsonl"), "utf8")).split("\n"),
    ];
    expect(told.length).toBeGreaterThan(20);
    expect([...secrets.values()].filter((secret) => secret.length < 16)).toEqual([]);
    for (const [name, secret] of secrets) {
      const spellings = [secret, secret.slice(0, 40), secret.slice(-40), hexOf(secret)];
      const leaks = told.filter((line) => spellings.some((text) => line.includes(text)));
      expect(leaks, name).toEqual([]);
    }
    expect(told.filter((line) => /PRIVATE KEY|eyJ[\w-]+\.eyJ[\w-]+\.[\w-]+/.test(line))).toEqual([]);

    // A join token that was used is worth nothing and is a part of the agent's ID; it stands nowhere else.
    const idOfAgent = `spire/agent/join_token/${usedToken}`;
    const outside = told
      .map((line) => line.replaceAll(idOfAgent, ""))
      .filter((line) => line.includes(usedToken));
    expect(outside).toEqual([]);
  }, 60_000);

  it("is in files that their owner alone may read", async () => {
    const place = await placeServer(scratch, "modes");
    const server = await startServer(place);
    await server.program.stop();
    const { stdout } = await run("find", [place.dataDir, "-perm", "/077"]);
    expect(stdout).toBe("");
    const files = await readdir(place.dataDir);
    expect(files).toEqual(expect.arrayContaining(["keys", "store.sqlite", "audit.jsonl"]));
  });

  it("tells an unauthenticated caller the same words, whatever is wrong with a join token", async () => {
    await using server = await startServer(await placeServer(scratch, "words"));
    using admin = adminClient(server.place);
    using anonymous = await tlsClient(server.place);
    const { value: used } = await admin.service(Agent).createJoinToken({ ttl: 600 });
    const attest = (token: string) => attestOnce(anonymous, joinTokenParams(token, makeCsr({}, makeKey())));
    await attest(used);
    const { value: expiring } = await admin.service(Agent).createJoinToken({ ttl: 1 });
    // The second that it lives for is over when the clock says so.
    await new Promise((resolve) => setTimeout(resolve, 2100));
    const answers = await Promise.all(
      [used, expiring, "5b1d0a41-4f6e-4f59-9be9-1f7c7e0d7a10"].map((token) =>
        attest(token).then(
          () => "let in",
          (error: unknown) => String(error),
        ),
      ),
    );
    expect(new Set(answers).size).toBe(1);
    expect(answers[0]).toMatch(/join token does not exist or has already been used/);
    await server.program.stop();
  });
});

/** Private keys in the key manager's files, base64 of their middle, by file name. */
async function privateKeysIn(folder: string): Promise<readonly (readonly [string, string])[]> {
  const names = await readdir(folder);
  const keys = await Promise.all(
    names.map(async (name) => {
      const text = await readFile(join(folder, name), "latin1");
      const found = /-----BEGIN PRIVATE KEY-----\s*([A-Za-z0-9+/=\s]+?)-----END|([A-Za-z0-9+/]{100,})/.exec(
        text,
      );
      const base64 = (found?.[1] ?? found?.[2] ?? "").replaceAll(/\s/g, "");
      // The beginning of a PKCS#8 key is the same for all keys of a type; the secret comes after it.
      return [`key of an authority in ${name}`, base64.slice(48, 112)] as const;
    }),
  );
  expect(keys.filter(([, key]) => key !== "").length).toBeGreaterThan(0);
  return keys.filter(([, key]) => key !== "");
}

function hexOf(text: string): string {
  return Buffer.from(text).toString("hex");
}
