import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Job, JOB_ISSUER, openForm } from "../../../test/fakes/job.ts";
import { TaskServer } from "../../../test/fakes/task-server.ts";

const PATH = "/assay";
const ISSUER = `${JOB_ISSUER}${PATH}`;

let server: TaskServer;
let job: Job;

beforeAll(async () => {
  server = await TaskServer.start({ server: { jwtIssuer: ISSUER } });
  await server.taskEntry("/ci/app");
  job = server.job();
  const opened = await ask("POST", `${PATH}/oauth2/token`, openForm(server.token({ aud: ISSUER })));
  expect(opened.status).toBe(200);
  job.accessToken = String(opened.json["access_token"]);
});
afterAll(() => server[Symbol.asyncDispose]());

/** Asks the resource that the world knows by `known`, at the path by which it got here. */
async function ask(method: string, known: string, form?: Record<string, string>, path = known) {
  const accessToken = job.accessToken;
  const { headers } = await job.send(method, path, form === undefined ? {} : { headers: FORM });
  return job.send(method, path, {
    headers: {
      ...(form && FORM),
      ...(accessToken !== undefined && { authorization: `DPoP ${accessToken}` }),
      dpop: job.proof(method, known, {
        nonce: String(headers["dpop-nonce"]),
        ...(accessToken !== undefined && { accessToken }),
      }),
    },
    ...(form && { body: new URLSearchParams(form).toString() }),
  });
}

describe("a server whose issuer has a path", () => {
  it("has the task API where its metadata says, and where a proxy that takes the path off asks", async () => {
    const { json } = await job.send("GET", `/.well-known/oauth-protected-resource${PATH}/v1/task`);
    expect(json["resource"]).toBe(`${ISSUER}/v1/task`);
    expect(await ask("GET", `${PATH}/v1/task`)).toMatchObject({ status: 200 });
    expect(await ask("GET", `${PATH}/v1/task`, undefined, "/v1/task")).toMatchObject({ status: 200 });
    expect(await ask("POST", `${PATH}/v1/task/heartbeat`)).toMatchObject({ status: 200 });
  });

  it("describes it once", async () => {
    const { json } = await job.send("GET", "/v1/openapi.json");
    const paths = Object.keys(json["paths"] as object);
    expect(paths).toContain("/v1/task");
    expect(paths.filter((path) => path.startsWith(PATH))).toEqual([]);
  });
});

describe("the task API", () => {
  it("takes no request with two Authorization headers, of which a proxy may have read the other", async () => {
    const { headers } = await job.send("GET", "/v1/task");
    const accessToken = job.accessToken ?? "";
    const sent = (authorization: readonly string[]) =>
      job.send("GET", "/v1/task", {
        headers: {
          authorization,
          dpop: job.proof("GET", `${PATH}/v1/task`, { nonce: String(headers["dpop-nonce"]), accessToken }),
        },
      });
    const own = `DPoP ${accessToken}`;
    expect(await sent([own])).toMatchObject({ status: 200 });
    for (const both of [
      [own, "Bearer x"],
      [own, own],
    ]) {
      const answer = await sent(both);
      expect(answer).toMatchObject({ status: 401, json: { code: "INVALID_ACCESS_TOKEN" } });
    }
  });
});

const FORM = { "content-type": "application/x-www-form-urlencoded" };
