import { describe, expect, it } from "vitest";
import { z } from "zod";
import { webBench } from "../../../test/fakes/web-app.ts";
import { buildServerOpenApi } from "./server-openapi.ts";

describe("the server's OpenAPI document", () => {
  it("is the same at every call and the same as the one served", async () => {
    const document = await buildServerOpenApi();
    expect(await buildServerOpenApi()).toEqual(document);
    await using bench = await webBench();
    expect((await bench.send("GET", "/v1/openapi.json")).body).toEqual(JSON.parse(JSON.stringify(document)));
  });

  it("names no host or port, and only schemas that its operations use", async () => {
    z.object({ foreign: z.string() }).meta({ id: "SchemaOfAnotherApi" });
    const document = (await buildServerOpenApi()) as {
      openapi: string;
      servers?: unknown;
      components: { schemas: object };
    };
    const text = JSON.stringify(document);
    expect(document.openapi).toBe("3.1.0");
    expect(document.servers).toBeUndefined();
    expect(text).not.toMatch(/localhost|127\.0\.0\.1|SchemaOfAnotherApi/);
    const references = new Set(
      [...text.matchAll(/#\/components\/schemas\/([A-Za-z0-9]+)/g)].map(([, name]) => name),
    );
    expect(new Set(Object.keys(document.components.schemas))).toEqual(references);
  });

  it("describes every operation, every parameter and every member of every schema", async () => {
    const { paths } = (await buildServerOpenApi()) as {
      paths: Record<
        string,
        Record<
          string,
          { summary?: string; tags?: string[]; parameters?: { name: string; description?: string }[] }
        >
      >;
    };
    for (const [path, operations] of Object.entries(paths)) {
      for (const [method, { summary, tags, parameters = [] }] of Object.entries(operations)) {
        expect(summary, `${method} ${path}`).toBeTruthy();
        expect(tags, `${method} ${path}`).toHaveLength(1);
        for (const { name, description } of parameters) {
          expect(description, `${method} ${path} ${name}`).toBeTruthy();
        }
      }
    }
  });
});
