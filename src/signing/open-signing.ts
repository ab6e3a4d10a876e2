import type { Clock } from "../clock.ts";
import type { Random } from "../crypto/random.ts";
import type { DistinguishedName } from "../crypto/x501-name.ts";
import type { KeyManager, KeyType } from "../plugin/key-manager.ts";
import type { JwtAuthorityKey, SpiffeBundle } from "../spiffe/bundle.ts";
import type { UpstreamAuthority } from "../plugin/upstream-authority.ts";
import type { TrustDomain } from "../spiffe/trust-domain.ts";
import type { AuthorityRecord } from "../store/records.ts";
import type { AuthorityStore, BundleStore, ChangeLog } from "../store/store.ts";
import type { AuthorityEvent } from "./authority.ts";
import { AuthorityLines } from "./authority-lines.ts";
import { checkAdditions, withAuthorities } from "./bundle-edit.ts";
import { createAccessTokenMinter } from "./access-token.ts";
import { createCrlSigner } from "./crl.ts";
import { createDownstreamCaSigner } from "./downstream-ca.ts";
import { forgetOthers } from "./forget-others.ts";
import { createKeysBelow } from "./keys-below.ts";
import { createJwtSvidSigner } from "./jwt-svid.ts";
import { OwnBundle } from "./own-bundle.ts";
import { longestRefreshHint, upkeepSeconds } from "./rotation-schedule.ts";
import type { Signing } from "./signing.ts";
import { createStatusListSigner } from "./status-list.ts";
import { toldBundle } from "./told-bundle.ts";
import { isUpstreamFault } from "./upstream/upstream-fault.ts";
import { upstreamIdOf } from "./upstream/trust-plan.ts";
import { type UpstreamEvent, UpstreamTrust } from "./upstream/upstream-trust.ts";
import { createWitSvidSigner } from "./wit-svid.ts";
import { createX509SvidSigner } from "./x509-svid.ts";

/** The operator's settings for authorities. */
export interface SigningOptions {
  /** Which server's authorities these are, in a store that several servers share. */
  readonly serverId: string;
  /** Lifetime of authorities in seconds, 86,400 unless given. */
  readonly caTtlSeconds?: number;
  /** Key type of new X.509 authorities, `ec-p256` unless given. */
  readonly caKeyType?: KeyType;
  /** Key type of new JWT and WIT authorities, `ec-p256` unless given. */
  readonly jwtKeyType?: KeyType;
  /** Subject of new X.509 authorities, `C=US, O=SPIFFE` unless given. */
  readonly caSubject?: { readonly country?: string; readonly organization?: string };
  /** Subject of X509-SVIDs that name none, `C=US, O=SPIRE` unless given. */
  readonly svidSubject?: DistinguishedName;
  /** The `iss` of JWT-SVIDs and access tokens; none unless given, and no access tokens then. */
  readonly jwtIssuer?: string;
  /** Whether there is a JWT authority with RS256 beside an EC one; none unless asked for. */
  readonly rs256?: boolean;
  /** Whether WIT-SVIDs are issued; they are not unless asked for. */
  readonly wit?: boolean;
  /** How many levels of CAs may follow below the X.509 authority of a server below this one; any number unless given. */
  readonly caPathLength?: number;
  /** Seconds that others are told elsewhere to wait between two looks at the bundle, where that is longer than the bundle says. */
  readonly refreshHintSeconds?: number;
  /** Whether X.509 authorities of servers below are bound to the trust domain by name constraints; not unless asked for. */
  readonly caNameConstraints?: boolean;
}

/** What signing is built on. */
export interface SigningDependencies {
  readonly trustDomain: TrustDomain;
  readonly store: {
    readonly authorities: AuthorityStore;
    readonly bundles: Pick<BundleStore, "get">;
    readonly changes: Pick<ChangeLog, "latest" | "since" | "subscribe">;
  };
  /** Holds the private keys. Outlives signing, which does not dispose it. */
  readonly keyManager: KeyManager;
  /** Signs our X.509 authorities; they sign themselves where absent. Outlives signing, which does not dispose it. */
  readonly upstream?: UpstreamAuthority | undefined;
  readonly clock: Clock;
  readonly random: Random;
  readonly options: SigningOptions;
  /** Told what happens to authorities and what fails in the background, for the operator's log. */
  readonly report?: (event: SigningEvent) => void;
}

/** Something an operator should know. */
export type SigningEvent =
  | AuthorityEvent
  | UpstreamEvent
  /** Looking after the authorities failed and will be tried again. */
  | { readonly event: "upkeep-failed"; readonly error: unknown }
  /** Reading the own bundle from the store failed and will be tried again. */
  | { readonly event: "bundle-unread"; readonly error: unknown };

/**
 * Opens signing: reads the bundle and the journal, goes on with this server's authorities, or makes and publishes new
 * ones where none can go on. When it resolves, every kind of SVID that is configured can be made.
 * @throws AssayError `KEY_UNAVAILABLE`, `STORE_UNAVAILABLE`, `CERTIFICATE_LINT_FAILED`, `INVALID_CERTIFICATE` for a
 * damaged journal; `UPSTREAM_UNAVAILABLE` and `UPSTREAM_REFUSED` where there is no authority that could go on without.
 */
export async function openSigning(dependencies: SigningDependencies): Promise<Signing> {
  const { trustDomain, store, keyManager, clock, random, options, report = () => undefined } = dependencies;
  const { serverId, caTtlSeconds: ttlSeconds = DAY, caSubject, svidSubject, jwtIssuer } = options;
  await using opening = new AsyncDisposableStack();
  const own = opening.use(
    await OwnBundle.open({
      trustDomain,
      bundles: store.bundles,
      changes: store.changes,
      clock,
      reportFailure: (error) => report({ event: "bundle-unread", error }),
    }),
  );
  const trust = opening.use(
    await UpstreamTrust.open({
      trustDomain,
      upstream: dependencies.upstream,
      authorities: store.authorities,
      clock,
      bundle: () => own.current,
      // Nobody asks before there is news, and nobody listens for news before the lines are open.
      ownJwtKeys: () => jwtKeysOf(living(lines.records)),
      adopt: (bundle) => own.adopt(bundle),
      report,
    }),
  );
  const token = {
    serverId,
    ttlSeconds,
    random,
    keyType: options.jwtKeyType ?? "ec-p256",
  };
  const failed = (error: unknown) => {
    // What an upstream authority did not do was reported where it was asked.
    if (!isUpstreamFault(error)) report({ event: "upkeep-failed", error });
  };
  const refreshHint = () =>
    Math.max(own.current.refreshHint || UNTOLD_SECONDS, options.refreshHintSeconds ?? 0);
  const lines = await AuthorityLines.open(
    {
      x509: {
        trustDomain,
        serverId,
        ttlSeconds,
        random,
        trust,
        refreshHint,
        keyType: options.caKeyType ?? "ec-p256",
        ...(caSubject === undefined ? {} : { subject: caSubject }),
        ...(svidSubject === undefined ? {} : { svidSubject }),
      },
      token,
      publish: (key) => trust.publishJwtKey(key, true),
      rs256: options.rs256 ?? false,
      wit: options.wit ?? false,
    },
    {
      authorities: store.authorities,
      keyManager,
      clock,
      serverId,
      refreshHint,
      report: (event) => {
        report(event);
        // What chains to a tainted root is to be replaced from the moment when another authority signs.
        if (event.kind === "x509" && event.event === "activated") void trust.settle().catch(failed);
      },
      adopt: (bundle: SpiffeBundle) => own.adopt(bundle),
    },
  );
  const forget = forgetOthers({
    authorities: store.authorities,
    clock,
    serverId,
    bundle: () => own.current,
    adopt: (bundle) => own.adopt(bundle),
  });
  const keepUp = async () => {
    await lines.keepUp();
    await trust.tidy();
    await forget();
  };
  const pause = () => 1000 * upkeepSeconds(living(lines.records));
  for (const part of [...lines.upkeep, () => trust.tidy(), forget])
    opening.use(every(clock, pause, part, failed));
  // First of all when this ends: upkeep may be waiting for an answer.
  opening.defer(() => trust.stop());
  // A root that was tainted or revoked upstream is no root to wait ten seconds with.
  trust.onChange(() => void lines.x509.keepUp().catch(failed));
  trust.follow();

  /** The roots upstream that authorities which sign, or will, chain to. */
  const inUse = () => new Set(living(lines.records).flatMap((record) => upstreamIdOf(record) ?? []));
  let hint = { of: lines.records, seconds: longestRefreshHint(living(lines.records)) };
  const longestHint = () => {
    const of = lines.records;
    if (hint.of !== of) hint = { of, seconds: longestRefreshHint(living(of)) };
    return hint.seconds;
  };
  const told = toldBundle(longestHint);
  const makes = { trustDomain, clock, random };
  const tokens = {
    ...makes,
    authority: (algorithm?: "RS256") => lines.jwt(algorithm).active(),
    ...(jwtIssuer === undefined ? {} : { issuer: jwtIssuer }),
  };
  const edit = async (how: (bundle: SpiffeBundle) => SpiffeBundle) => {
    const bundle = await store.authorities.commit({}, how);
    own.adopt(bundle);
    return bundle;
  };
  const open = opening.move();
  return {
    x509AuthorityNotAfter: () => lines.x509.active().record.notAfter,
    jwtAuthorityNotAfter: (algorithm) => lines.jwt(algorithm).active().record.notAfter,
    witAuthorityNotAfter: () => lines.wit.active().record.notAfter,
    ...createX509SvidSigner({ ...makes, authority: () => lines.x509.active() }),
    ...createDownstreamCaSigner({
      ...makes,
      authority: () => lines.x509.active(),
      bundle: () => own.current,
      ...(options.caPathLength !== undefined && { pathLength: options.caPathLength }),
      nameConstraints: options.caNameConstraints ?? false,
    }),
    ...createKeysBelow({
      bundle: () => own.current,
      records: () => store.authorities.list(),
      publishUpstream: (key) => trust.publishJwtKey(key, false),
      commit: edit,
    }),
    ...createWitSvidSigner({ ...makes, authority: () => lines.wit.active() }),
    ...createJwtSvidSigner(tokens),
    mintAccessToken: createAccessTokenMinter(tokens),
    signStatusList: createStatusListSigner(tokens),
    signCrl: createCrlSigner((id) => lines.x509.held(id)),
    bundle: () => told(own.current),
    longestRefreshHint: longestHint,
    onBundleChange: (listener) => own.onChange((bundle) => listener(told(bundle))),
    async appendToBundle(additions) {
      checkAdditions(own.current, additions);
      return told(await edit((stored) => withAuthorities(stored, additions)));
    },
    authorities: () => lines.records,
    authorityStates: (kind) => lines.states(kind),
    prepareAuthority: (kind) => lines.prepare(kind),
    activateAuthority: (kind, id) => lines.activate(kind, id),
    taintAuthority: async (kind, id) => lines.taint(kind, id),
    revokeAuthority: async (kind, id) => lines.revoke(kind, id),
    upstreamIdOf,
    upstream: () => {
      const { isConfigured, hasRoots, failing } = trust;
      return { isConfigured, hasRoots, failing };
    },
    async taintUpstreamAuthority(id) {
      const { notAfter } = await trust.taint(id, inUse());
      return { id, notAfter };
    },
    async revokeUpstreamAuthority(id) {
      const { notAfter } = await trust.revoke(id, inUse());
      return { id, notAfter };
    },
    keepUp,
    [Symbol.asyncDispose]: () => open.disposeAsync(),
  };
}

function jwtKeysOf(records: readonly AuthorityRecord[]): readonly JwtAuthorityKey[] {
  return records
    .filter(({ kind }) => kind === "jwt")
    .map(({ id, publicKey, notAfter }) => ({ keyId: id, publicKey, expiresAt: notAfter, tainted: false }));
}

/** The authorities that sign or will; what has become old waits for no step. */
function living(records: readonly AuthorityRecord[]): readonly AuthorityRecord[] {
  return records.filter(({ state }) => state === "active" || state === "prepared");
}

/** Runs a task again and again, the next wait beginning when it has ended; stops when disposed, after a running one. */
function every(
  clock: Clock,
  milliseconds: () => number,
  task: () => Promise<void>,
  failed: (error: unknown) => void,
): AsyncDisposable {
  let stopped = false;
  let running: Promise<void> | undefined;
  let wait: Disposable;
  const again = () => {
    wait = clock.schedule(milliseconds(), () => {
      running = task()
        .catch(failed)
        .then(() => {
          if (!stopped) again();
        });
    });
  };
  again();
  return {
    async [Symbol.asyncDispose]() {
      stopped = true;
      wait[Symbol.dispose]();
      await running;
    },
  };
}

const DAY = 86_400;
// What a consumer waits that is told nothing (Trust Domain and Bundle §6.1).
const UNTOLD_SECONDS = 300;
