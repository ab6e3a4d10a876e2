/** An OpenAPI document that is kept in the repository. */
export interface OpenApiDocument {
  /** Path from the top of the repository. */
  readonly path: string;
  /** Makes the document without opening a listener. */
  readonly document: () => Promise<object>;
}

/** Every HTTP API that Assay serves. An API is added here by one line with the function that makes its document. */
export const openApiDocuments: readonly OpenApiDocument[] = [];
