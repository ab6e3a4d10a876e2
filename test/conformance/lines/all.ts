import { brokerApi } from "./broker-api.ts";
import { brokerEndpoint } from "./broker-endpoint.ts";
import type { Line, StandardDocument } from "./document.ts";
import { federation } from "./federation.ts";
import { jwtSvid } from "./jwt-svid.ts";
import { spiffeId } from "./spiffe-id.ts";
import { trustDomainAndBundle } from "./trust-domain-and-bundle.ts";
import { witSvid } from "./wit-svid.ts";
import { workloadApi } from "./workload-api.ts";
import { workloadEndpoint } from "./workload-endpoint.ts";
import { x509Svid } from "./x509-svid.ts";

/** The commit of github.com/spiffe/spiffe that the lines were read from. */
export const STANDARDS_REVISION = "665a28f";

/** The ten documents that have requirements, in the order of the page. */
export const documents: readonly StandardDocument[] = [
  spiffeId,
  x509Svid,
  jwtSvid,
  witSvid,
  trustDomainAndBundle,
  federation,
  workloadEndpoint,
  workloadApi,
  brokerEndpoint,
  brokerApi,
];

/** Every line by its id. */
export const linesById: ReadonlyMap<string, Line> = new Map(
  documents.flatMap(({ lines }) => lines.map((line) => [line.id, line] as const)),
);
