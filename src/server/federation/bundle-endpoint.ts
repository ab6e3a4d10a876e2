import { randomUUID } from "node:crypto";
import { join } from "node:path";
import type { Clock } from "../../clock.ts";
import { formatBundleDocument } from "../../crypto/bundle-document.ts";
import { AssayError } from "../../errors/assay-error.ts";
import { createHttpApp } from "../../http/http-app.ts";
import { FIELD } from "../../observe/fields.ts";
import type { Log } from "../../observe/log.ts";
import type { Metrics } from "../../observe/metrics.ts";
import type { SpiffeBundle } from "../../spiffe/bundle.ts";
import type { ServerCredential } from "../../endpoint/tls-listener.ts";
import type { ListenAddress } from "../options.ts";
import { bundleDocumentSchema } from "../web/bundle-schema.ts";
import { AcmeCertificate } from "./acme-certificate.ts";
import { CertificateFiles } from "./certificate-files.ts";
import { EndpointListener } from "./endpoint-listener.ts";
import type { BundleEndpointOptions } from "./federation-options.ts";

/** What the endpoint is made of. */
export interface BundleEndpointParts {
  readonly options: BundleEndpointOptions;
  /** Folder of the server's data, where certificates had by ACME are kept. */
  readonly dataDir: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly random: () => number;
  /** The own bundle as it is now. */
  readonly bundle: () => SpiffeBundle;
  /** How long others may be told to wait at most, in seconds. */
  readonly longestRefreshHint: () => number;
  /** The server's own X509-SVID, for the profile `https_spiffe`. */
  readonly svid: {
    readonly credential: ServerCredential;
    onRotated(listener: (credential: ServerCredential) => void): void;
  };
}

/** The endpoint at work. */
export interface BundleEndpoint extends AsyncDisposable {
  readonly address: ListenAddress;
}

/**
 * Serves the own bundle to whoever asks, on a port of its own (SPIFFE Federation §5): `GET /` gives the newest bundle
 * with its sequence number and the refresh hint, any other path or method is an error.
 * @throws AssayError `LISTEN_FAILED`, `CONFIG_INVALID` for certificate files that cannot be used, `FILE_UNAVAILABLE`.
 */
export async function openBundleEndpoint(parts: BundleEndpointParts): Promise<BundleEndpoint> {
  const { options, clock, log, metrics, svid } = parts;
  await using stack = new AsyncDisposableStack();
  const app = stack.use(await endpointApp(parts));
  const { certificateFile, keyFile } = options;
  const files =
    options.profile === "https_web" && certificateFile !== undefined && keyFile !== undefined
      ? stack.use(
          await CertificateFiles.open({
            certificateFile,
            keyFile,
            clock,
            log,
            onChanged: (credential) => listener.setCredential(credential),
          }),
        )
      : undefined;
  const overLimit = metrics.counter({
    name: "bundle_endpoint_over_limit_total",
    help: "Connections to the bundle endpoint that were closed at once as their address had too many",
  });
  const listener = stack.use(
    await EndpointListener.open({
      listen: options.listen,
      clock,
      credential: options.profile === "https_spiffe" ? svid.credential : files?.credential,
      onConnection: (socket) => app.serve(socket),
      onRefused: (address, reason) =>
        log.debug("connection to the bundle endpoint refused", {
          [FIELD.address]: address,
          [FIELD.detail]: reason,
        }),
      onOverLimit(address, first) {
        overLimit.add({});
        if (first) {
          log.warn("connection to the bundle endpoint closed, its address has too many", {
            [FIELD.address]: address,
          });
        }
      },
    }),
  );
  if (options.profile === "https_spiffe") svid.onRotated((credential) => listener.setCredential(credential));
  else if (files === undefined) {
    if (options.acme === undefined) {
      throw new AssayError(
        "CONFIG_INVALID",
        "the bundle endpoint of https_web needs certificate files or acme",
      );
    }
    stack.use(
      await AcmeCertificate.open({
        options: options.acme,
        folder: join(parts.dataDir, "acme"),
        clock,
        log,
        metrics,
        random: parts.random,
        challenges: listener,
        onCredential: (credential) => listener.setCredential(credential),
      }),
    );
  }
  stack.defer(() => listener.stopAccepting());
  log.info("bundle endpoint open", {
    [FIELD.address]: `${listener.address.host}:${listener.address.port}`,
    profile: options.profile,
  });
  const kept = stack.move();
  return { address: listener.address, [Symbol.asyncDispose]: () => kept.disposeAsync() };
}

async function endpointApp(parts: BundleEndpointParts) {
  const { options, clock, log, metrics, bundle } = parts;
  const requests = metrics.counter({
    name: "bundle_endpoint_requests_total",
    help: "Requests to the bundle endpoint, by status",
    labels: { status: ["200", "304", "404", "405"] },
  });
  const app = await createHttpApp({
    clock,
    log,
    requestId: randomUUID,
    closeGrace: GRACE,
    limits: { bodyBytes: 1024, keepAliveTimeout: 5_000 },
    transport: { kind: "handed-over" },
    openapi: { title: "SPIFFE bundle endpoint", version: "1" },
  });
  const { routes } = app;
  routes.addHook("onResponse", async ({ socket }, { statusCode }) => {
    requests.add({ status: String(statusCode) as "200" });
    if (log.isEnabled("debug")) {
      log.debug("bundle endpoint asked", {
        [FIELD.address]: socket.remoteAddress ?? "",
        [FIELD.status]: statusCode,
      });
    }
  });
  const documentOf = latestDocument(() => Math.min(options.refreshHint, parts.longestRefreshHint()));
  routes.get(
    "/",
    { schema: { summary: "The bundle of this trust domain", response: { 200: bundleDocumentSchema } } },
    async (_request, reply) =>
      // A text that is written already: a sequence above 2^53 does not survive JSON.stringify.
      reply.type("application/json").send(documentOf(bundle()) as never),
  );
  return app;
}

/** The document of the newest bundle, written once for each and for each hint. */
function latestDocument(hint: () => number): (bundle: SpiffeBundle) => string {
  let last:
    | { readonly bundle: SpiffeBundle; readonly refreshHint: number; readonly text: string }
    | undefined;
  return (bundle) => {
    const refreshHint = hint();
    if (last?.bundle !== bundle || last.refreshHint !== refreshHint) {
      last = { bundle, refreshHint, text: formatBundleDocument({ ...bundle, refreshHint }) };
    }
    return last.text;
  };
}

const GRACE = 2_000;
