import { createHash } from "node:crypto";
import type { FastifyReply } from "fastify";
import { z } from "zod";
import { readCrl } from "../../crypto/crl.ts";
import { STATUS_LIST_MEDIA_TYPE } from "../../crypto/jose/status-list-token.ts";
import { AssayError } from "../../errors/assay-error.ts";
import type { HttpRoutes } from "../../http/http-routes.ts";
import { problemResponses } from "../../http/problem.ts";
import { STATUS_LIST_TTL, type StatusLists } from "./status-lists.ts";

/** What the public lists are served from. */
export interface RevocationListOptions {
  readonly lists: {
    /** DER of the CRLs of the own trust domain, whoever signed them; the same arrays as long as they are unchanged. */
    readonly crls: () => readonly Uint8Array[];
    readonly status: StatusLists;
    /** Path of the issuer's URL, without a slash at its end: the lists are below it too. */
    readonly path: string;
  };
}

/**
 * Adds what is public of revocation: CRLs by authority (RFC 5280; RFC 2585 §3), status lists (Token Status List §8), and
 * the addresses of all status lists (§9.3).
 */
export function revocationListRoutes(routes: HttpRoutes, { lists }: RevocationListOptions): void {
  const { crls, status, path } = lists;
  const idOf = new WeakMap<Uint8Array, string>();
  const authorityOf = (crl: Uint8Array): string => {
    let id = idOf.get(crl);
    if (id === undefined) {
      id = Buffer.from(readCrl(crl, "INTERNAL").authorityKeyId).toString("hex");
      idOf.set(crl, id);
    }
    return id;
  };

  routes.get(
    "/crl/:file",
    {
      schema: {
        ...about("The CRL of an X.509 authority"),
        description:
          "DER. An authority has one from the moment when anything of the trust domain was revoked; before that there is none.",
        params: crlParams,
        response: {
          200: z.string().describe("CertificateList (RFC 5280 §5)"),
          ...notModified,
          ...problemResponses("INVALID_REQUEST", "CRL_NOT_FOUND"),
        },
      },
    },
    async ({ params: { file }, headers }, reply) => {
      const id = file.slice(0, -CRL_SUFFIX.length);
      const crl = crls().find((der) => authorityOf(der) === id);
      if (crl === undefined) throw new AssayError("CRL_NOT_FOUND", `there is no list of authority ${id}`);
      return answer(reply, headers["if-none-match"], CRL_MEDIA_TYPE, Buffer.from(crl));
    },
  );

  for (const root of new Set(["", path])) {
    // The places below an issuer's path depend on the configuration, so the description of the API leaves them out.
    const hide = root !== "";
    routes.get(
      `${root}/oauth2/status-lists/:list`,
      {
        schema: {
          ...about("A status list"),
          hide,
          params: listParams,
          response: {
            200: z.string().describe("Status list token (Token Status List §5.1)"),
            ...notModified,
            ...problemResponses("INVALID_REQUEST", "NOT_FOUND", "STORE_UNAVAILABLE"),
          },
        },
      },
      async ({ params: { list }, headers }, reply) => {
        const token = await status.token(Number(list));
        if (token === undefined) throw new AssayError("NOT_FOUND", `there is no status list ${list}`);
        return answer(reply, headers["if-none-match"], STATUS_LIST_MEDIA_TYPE, Buffer.from(token));
      },
    );
    routes.get(
      `${root}/oauth2/status-lists`,
      {
        schema: {
          ...about("The addresses of all status lists"),
          hide,
          response: { 200: aggregation, ...problemResponses("STORE_UNAVAILABLE") },
        },
      },
      async (_request, reply) => {
        publicFor(reply, STATUS_LIST_TTL);
        return { status_lists: [...(await status.addresses())] };
      },
    );
  }
}

function answer(reply: FastifyReply, held: string | undefined, mediaType: string, bytes: Buffer) {
  const etag = `"${createHash("sha256").update(bytes).digest("base64url")}"`;
  publicFor(reply, STATUS_LIST_TTL).header("etag", etag);
  if (held !== undefined && held.split(",").some((one) => one.trim().replace(/^W\//, "") === etag)) {
    return reply.code(304).send(null);
  }
  return reply.type(mediaType).send(bytes);
}

// They say nothing about the reader, so pages of any origin may read them.
function publicFor(reply: FastifyReply, seconds: number): FastifyReply {
  return reply.headers({
    "access-control-allow-origin": "*",
    "cross-origin-resource-policy": "cross-origin",
    "cache-control": `public, max-age=${seconds}`,
  });
}

function about(summary: string) {
  return { tags: ["revocation"], summary };
}

const CRL_MEDIA_TYPE = "application/pkix-crl";
const CRL_SUFFIX = ".crl";

const crlParams = z.object({
  file: z
    .string()
    .regex(/^[0-9a-f]{2,128}\.crl$/, "expected the authority's key identifier in lower-case hex and .crl")
    .describe("Subject key identifier of the authority in lower-case hex, with `.crl`"),
});

const listParams = z.object({
  list: z
    .string()
    .regex(/^(0|[1-9][0-9]{0,8})$/, "expected the number of a list")
    .describe("Number of the list, as `status_list.uri` of tokens has it"),
});

const notModified = { 304: z.null().describe("What `If-None-Match` names is up to date") };

const aggregation = z
  .object({ status_lists: z.array(z.string()).describe("URIs of status list tokens") })
  .meta({ id: "StatusListAggregation", description: "Token Status List §9.3" });
