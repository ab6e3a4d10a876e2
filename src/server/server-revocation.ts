import type { Clock } from "../clock.ts";
import { FIELD } from "../observe/fields.ts";
import type { Log } from "../observe/log.ts";
import type { Registry } from "../registry/registry.ts";
import { openRevocation, type Revocation } from "../revocation/revocation.ts";
import type { Signing } from "../signing/signing.ts";
import type { SpiffeBundle } from "../spiffe/bundle.ts";
import type { TrustDomain } from "../spiffe/trust-domain.ts";
import type { AuthorityRecord, RestoreRecord } from "../store/records.ts";
import type { Store } from "../store/store.ts";
import { openPublisher, type Publisher, type PublisherEvent } from "./revocation/publisher.ts";
import type { RevocationListOptions } from "./revocation/revocation-list-routes.ts";
import { createStatusLists } from "./revocation/status-lists.ts";
import { statusListUri } from "./tasks/status-list-uri.ts";

/** What a server's revocation is made of. */
export interface ServerRevocationParts {
  readonly trustDomain: TrustDomain;
  readonly clock: Clock;
  readonly log: Log;
  readonly store: Store;
  readonly registry: Registry;
  readonly signing: Signing;
  /** The last restore of the store, where there was one. */
  readonly restored: RestoreRecord | undefined;
  /** Base of the status lists' addresses, where there is an issuer. */
  readonly issuer: string | undefined;
}

/** What is revoked, and how others come to know. */
export interface ServerRevocation extends AsyncDisposable {
  readonly revocation: Revocation;
  readonly publisher: Publisher;
  /** What is served to the public. */
  readonly lists: RevocationListOptions["lists"];
}

/**
 * Opens what a server knows to be revoked and begins to publish it.
 * @throws AssayError `STORE_UNAVAILABLE`.
 */
export async function openServerRevocation(parts: ServerRevocationParts): Promise<ServerRevocation> {
  const { trustDomain, clock, log, store, registry, signing, restored, issuer = "" } = parts;
  await using stack = new AsyncDisposableStack();
  const revocation = stack.use(
    await openRevocation({
      store,
      clock,
      revokedLists: restored?.statusLists,
      onFault: (error) =>
        log.error("what is revoked cannot be read, will be tried again", { [FIELD.error]: error }),
    }),
  );
  const publisher = stack.use(
    await openPublisher({
      trustDomain,
      revocation,
      crls: store.crls,
      registry,
      signing,
      clock,
      // Milliseconds: a list is signed ten times a second at most.
      numbersAbove: restored && BigInt(restored.at) * 1000n,
      report: (event) => logPublisherEvent(log, event),
    }),
  );
  const status = createStatusLists({
    revocation,
    credentials: store.credentials,
    signing,
    uriOf: (list) => statusListUri(issuer, list),
    clock,
  });
  const path = issuer === "" ? "" : new URL(issuer).pathname.replace(/\/$/, "");
  const kept = stack.move();
  return {
    revocation,
    publisher,
    lists: { crls: () => registry.crls(trustDomain), status, path },
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

/** The ids of X.509 authorities among others: those that servers have or had keys of. */
export function x509AuthorityIds(authorities: readonly AuthorityRecord[]): ReadonlySet<string> {
  return new Set(authorities.filter(({ kind }) => kind === "x509").map(({ id }) => id));
}

/**
 * How long an SVID lives at most, in seconds: as long as the authority that signed it, which upstream may have given more than
 * the configured life, as may have a configuration before this one.
 */
export function longestLife(signing: Pick<Signing, "authorities">, caTtl: number): number {
  return Math.max(caTtl, ...signing.authorities().map(({ notBefore, notAfter }) => notAfter - notBefore));
}

/**
 * Whoever may have signed an X509-SVID of ours: the roots of the bundle, and this server's own authorities, which are not in it
 * where they were signed upstream.
 */
export function signersOf(signing: Pick<Signing, "bundle" | "authorities">): SpiffeBundle {
  const bundle = signing.bundle();
  const isThere = (der: Uint8Array) =>
    bundle.x509Authorities.some(({ certificate }) => Buffer.compare(certificate, der) === 0);
  const others = signing
    .authorities()
    .filter(({ kind, state }) => kind === "x509" && state !== "revoked")
    .flatMap(({ chain }) => chain.slice(0, 1))
    .filter((der) => !isThere(der))
    .map((certificate) => ({ certificate, tainted: false }));
  return { ...bundle, x509Authorities: [...bundle.x509Authorities, ...others] };
}

function logPublisherEvent(log: Log, event: PublisherEvent): void {
  switch (event.event) {
    case "published":
      log.debug("revocation list signed", {
        [FIELD.authorityId]: event.authorityId,
        [FIELD.count]: event.revoked,
      });
      return;
    case "full":
      log.warn("a revocation list has no room for all that is revoked", {
        [FIELD.authorityId]: event.authorityId,
        [FIELD.count]: event.left,
      });
      return;
    case "no-key":
      log.warn("nobody can sign a revocation list of an authority whose key is gone", {
        [FIELD.authorityId]: event.authorityId,
      });
      return;
    case "failed":
      log.error("revocations could not be published, will be tried again", { [FIELD.error]: event.error });
  }
}
