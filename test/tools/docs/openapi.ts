import { readFileSync } from "node:fs";
import { buildAgentOpenApi } from "../../../src/agent/workload-api/json-workload-api.ts";
import { buildServerOpenApi } from "../../../src/server/web/server-openapi.ts";

/** An OpenAPI document that is kept in the repository. */
export interface OpenApiDocument {
  /** Path from the top of the repository. */
  readonly path: string;
  /** Makes the document without opening a listener. */
  readonly document: () => Promise<object>;
}

/** Every HTTP API that Assay serves. An API is added here by one line with the function that makes its document. */
export const openApiDocuments: readonly OpenApiDocument[] = [
  { path: "docs/openapi.json", document: buildServerOpenApi },
  { path: "docs/openapi-workload.json", document: () => buildAgentOpenApi(packageVersion()) },
];

function packageVersion(): string {
  const text = readFileSync(new URL("../../../package.json", import.meta.url), "utf8");
  return (JSON.parse(text) as { readonly version: string }).version;
}
