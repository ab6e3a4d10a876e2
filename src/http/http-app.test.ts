import { afterEach, describe, expect, it } from "vitest";
import { z } from "zod";
import { FakeClock } from "../../test/fakes/clock.ts";
import { AssayError } from "../errors/assay-error.ts";
import { createHttpApp, type HttpApp, type HttpAppOptions } from "./http-app.ts";
import { problemResponses } from "./problem.ts";

const REQUEST_ID = "6f6bc4a5-0c0e-4d62-9f0a-3f8b0a1c2d3e";
const apps: HttpApp[] = [];
const logged: { level: string; message: string; fields: Readonly<Record<string, unknown>> | undefined }[] =
  [];

afterEach(async () => {
  logged.length = 0;
  for (const app of apps.splice(0)) await app[Symbol.asyncDispose]();
});

describe("HTTP application", () => {
  it("answers what the schema says, with headers against guessing, framing and storing", async () => {
    const { routes } = await appWithRoutes();
    const answer = await routes.inject({ method: "POST", url: "/entries", payload: { name: "a", size: 3 } });
    expect(answer.statusCode).toBe(200);
    expect(answer.json()).toEqual({ name: "a" });
    expect(answer.headers).toMatchObject({
      "x-content-type-options": "nosniff",
      "cache-control": "no-store",
      "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
      "referrer-policy": "no-referrer",
    });
  });

  it("names every single thing that is wrong in a body by its JSON Pointer", async () => {
    const { routes } = await appWithRoutes();
    const answer = await routes.inject({
      method: "POST",
      url: "/entries",
      payload: { name: 1, size: 99, more: 1 },
    });
    expect(answer.headers["content-type"]).toBe("application/problem+json");
    expect(answer.json()).toEqual({
      type: "urn:assay:error:INVALID_REQUEST",
      title: "The request is malformed",
      status: 400,
      detail: "/name: invalid input: expected string, received number",
      instance: `urn:uuid:${REQUEST_ID}`,
      code: "INVALID_REQUEST",
      errors: [
        { in: "body", pointer: "/name", detail: "invalid input: expected string, received number" },
        { in: "body", pointer: "/size", detail: "too big: expected number to be <=9" },
        { in: "body", pointer: "", detail: 'unrecognized key: "more"' },
      ],
    });
  });

  it.each([
    ["/entries?limit=many", "query", "/limit"],
    ["/entries/no_number", "path", "/number"],
  ])("says which part of the request %s is wrong in", async (url, part, pointer) => {
    const { routes } = await appWithRoutes();
    const answer = await routes.inject(url);
    expect(answer.json()).toMatchObject({ status: 400, errors: [{ in: part, pointer }] });
  });

  it.each<[string, string, string | undefined, string | undefined, number, string]>([
    ["a body that is no JSON", "POST", '{"name":', "application/json", 400, "INVALID_REQUEST"],
    ["an empty body", "POST", "", "application/json", 400, "INVALID_REQUEST"],
    [
      "a body that tries the prototype",
      "POST",
      '{"__proto__":{}}',
      "application/json",
      400,
      "INVALID_REQUEST",
    ],
    [
      "a body of another type",
      "POST",
      "name=a",
      "application/x-www-form-urlencoded",
      415,
      "UNSUPPORTED_MEDIA_TYPE",
    ],
    ["a body of no type", "POST", "{}", undefined, 415, "UNSUPPORTED_MEDIA_TYPE"],
    [
      "a body that is too large",
      "POST",
      JSON.stringify({ name: "x".repeat(2000) }),
      "application/json",
      413,
      "MESSAGE_TOO_LARGE",
    ],
  ])("refuses %s", async (_, method, payload, type, status, code) => {
    const { routes } = await appWithRoutes();
    const answer = await routes.inject({
      method: method as "POST",
      url: "/entries",
      ...(payload === undefined ? {} : { payload: Buffer.from(payload) }),
      headers: type === undefined ? {} : { "content-type": type },
    });
    expect(answer.json()).toMatchObject({ status, code, type: `urn:assay:error:${code}` });
    expect(answer.statusCode).toBe(status);
  });

  it("tells a wrong method from a wrong path", async () => {
    const { routes } = await appWithRoutes();
    const wrongMethod = await routes.inject({ method: "DELETE", url: "/entries/7?x=/" });
    expect(wrongMethod.json()).toMatchObject({ status: 405, code: "METHOD_NOT_ALLOWED" });
    expect(wrongMethod.headers["allow"]).toBe("GET, HEAD");
    const wrongPath = await routes.inject("/nowhere");
    expect(wrongPath.json()).toMatchObject({ status: 404, code: "NOT_FOUND" });
    expect((await routes.inject("/%ff")).json()).toMatchObject({ status: 400, code: "INVALID_REQUEST" });
  });

  it("shows the detail of an error to the caller only where the code's audience is the caller", async () => {
    const { routes } = await appWithRoutes();
    routes.get("/denied", () => {
      throw new AssayError("ENTRY_NOT_FOUND", "entry e-1 is not there");
    });
    routes.get("/store", () => {
      throw new AssayError("STORE_UNAVAILABLE", "disk /dev/sda1 is full");
    });
    expect((await routes.inject("/denied")).json()).toMatchObject({
      status: 404,
      detail: "entry e-1 is not there",
    });
    const store = await routes.inject("/store");
    expect(store.json()).toEqual({
      type: "urn:assay:error:STORE_UNAVAILABLE",
      title: "The store cannot be written or read",
      status: 503,
      instance: `urn:uuid:${REQUEST_ID}`,
      code: "STORE_UNAVAILABLE",
    });
    expect(store.headers["retry-after"]).toBe("1");
  });

  it("answers INTERNAL for what nobody foresaw, and logs it with its cause under the route's pattern", async () => {
    const { routes } = await appWithRoutes();
    routes.get("/bug/:name", () => {
      throw new TypeError("cannot read properties of undefined");
    });
    const answer = await routes.inject("/bug/secret-name");
    expect(answer.json()).toMatchObject({
      status: 500,
      code: "INTERNAL",
      title: "An internal error happened",
    });
    expect(answer.body).not.toContain("undefined");
    expect(logged).toMatchObject([
      {
        level: "error",
        message: "request failed",
        fields: { method: "GET /bug/:name", request_id: REQUEST_ID },
      },
    ]);
    const error = logged[0]?.fields?.["error"];
    expect(error).toMatchObject({ code: "INTERNAL", cause: expect.any(TypeError) as unknown });
  });

  it("answers INTERNAL where a handler's answer does not fit its schema", async () => {
    const { routes } = await appWithRoutes();
    routes.get(
      "/bad",
      { schema: { response: { 200: z.object({ a: z.string() }) } } },
      () => ({ a: 1 }) as never,
    );
    expect((await routes.inject("/bad")).json()).toMatchObject({ status: 500, code: "INTERNAL" });
  });

  it("describes its routes and their problems in an OpenAPI document", async () => {
    const app = await appWithRoutes();
    const document = (await app.openapi()) as {
      openapi: string;
      paths: Record<
        string,
        Record<string, { responses: Record<string, { content: object; description: string }> }>
      >;
      components: { schemas: object };
    };
    expect(document.openapi).toBe("3.1.0");
    const responses = document.paths["/entries/{number}"]?.["get"]?.responses;
    expect(responses?.["404"]?.description).toContain("ENTRY_NOT_FOUND");
    expect(responses?.["404"]?.content).toEqual({
      "application/problem+json": { schema: { $ref: "#/components/schemas/Problem" } },
    });
    expect(document.components.schemas).toHaveProperty("Problem");
  });

  it("serves a problem document also where the route describes it", async () => {
    const { routes } = await appWithRoutes();
    expect((await routes.inject("/entries/404")).json()).toMatchObject({
      status: 404,
      code: "ENTRY_NOT_FOUND",
    });
  });
});

async function appWithRoutes(options: Partial<HttpAppOptions> = {}): Promise<HttpApp> {
  const app = await createHttpApp({
    clock: new FakeClock(),
    log: {
      debug: (message, fields) => void logged.push({ level: "debug", message, fields }),
      error: (message, fields) => void logged.push({ level: "error", message, fields }),
    },
    transport: { kind: "plain" },
    openapi: { title: "Test", version: "1" },
    requestId: () => REQUEST_ID,
    limits: { bodyBytes: 1000 },
    ...options,
  });
  apps.push(app);
  const { routes } = app;
  routes.post(
    "/entries",
    {
      schema: {
        body: z.strictObject({ name: z.string(), size: z.number().max(9) }),
        response: { 200: z.object({ name: z.string() }) },
      },
    },
    ({ body }) => body,
  );
  routes.get("/entries", { schema: { querystring: z.object({ limit: z.coerce.number().int() }) } }, () => []);
  routes.get(
    "/entries/:number",
    {
      schema: {
        params: z.object({ number: z.coerce.number().int() }),
        response: { 200: z.object({ number: z.number() }), ...problemResponses("ENTRY_NOT_FOUND") },
      },
    },
    ({ params: { number } }) => {
      if (number === 404) throw new AssayError("ENTRY_NOT_FOUND", "not there");
      return { number };
    },
  );
  return app;
}
