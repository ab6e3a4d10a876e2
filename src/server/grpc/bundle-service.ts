import { AssayError, toAssayError } from "../../errors/assay-error.ts";
import { CODES } from "../../errors/codes.ts";
import { FIELD } from "../../observe/fields.ts";
import type { Log } from "../../observe/log.ts";
import {
  Bundle,
  type BatchDeleteFederatedBundleRequest_Mode,
  BatchDeleteFederatedBundleRequest_Mode as DeleteMode,
} from "../../proto/gen/spire/api/server/bundle/v1/bundle_pb.ts";
import type { Bundle as BundleMessage, BundleMask } from "../../proto/gen/spire/api/types/bundle_pb.ts";
import type { ServiceHandlers } from "../../rpc/handlers.ts";
import type { SpiffeBundle } from "../../spiffe/bundle.ts";
import { parseTrustDomainOrId } from "../../spiffe/trust-domain.ts";
import type { BundleStore } from "../../store/store.ts";
import type { ServerCall } from "../call.ts";
import type { BundleDeleteMode, BundleWriteMode } from "../operations/bundle-operations.ts";
import { type ServerLimits, takeFrom } from "../limits.ts";
import type { Operations } from "../operations/operations.ts";
import {
  bundleFromWire,
  bundleToWire,
  jwtAuthoritiesFromWire,
  witAuthoritiesFromWire,
  x509AuthoritiesFromWire,
} from "../wire/bundle.ts";
import { operatorCall } from "./operator-call.ts";
import { pageOf } from "./page.ts";
import { OK, statusOf } from "../wire/status.ts";

/** What `spire.api.server.bundle.v1.Bundle` is served with. */
export interface BundleServiceOptions {
  readonly ownBundle: () => SpiffeBundle;
  readonly bundles: Pick<BundleStore, "get" | "list">;
  readonly operations: Operations;
  readonly limits: ServerLimits;
  readonly log: Log;
  /** Whether WIT-SVIDs are issued, and so WIT authorities taken into the own bundle. */
  readonly wit: boolean;
}

/** Handlers of `spire.api.server.bundle.v1.Bundle`. */
export function bundleService(options: BundleServiceOptions): ServiceHandlers<typeof Bundle, ServerCall> {
  const { ownBundle, bundles, operations, limits, log, wit } = options;

  // An item's failure is part of an answer that succeeds, so nobody else would tell the operator.
  function failed(thrown: unknown) {
    const error = toAssayError(thrown);
    if (CODES[error.code].audience === "operator") log.error("bundle not written", { [FIELD.error]: error });
    return statusOf(error);
  }

  async function federated(): Promise<readonly SpiffeBundle[]> {
    const own = ownBundle().trustDomain;
    const all = await bundles.list();
    return all
      .filter(({ trustDomain }) => trustDomain !== own)
      .toSorted((a, b) => (a.trustDomain < b.trustDomain ? -1 : 1));
  }

  async function write(
    mode: BundleWriteMode,
    wire: readonly BundleMessage[],
    outputMask: BundleMask | undefined,
    context: ServerCall,
    merge: (bundle: SpiffeBundle) => Promise<SpiffeBundle> = async (bundle) => bundle,
  ) {
    const results = [];
    for (const message of wire) {
      try {
        const bundle = await merge(bundleFromWire(message));
        const stored = await operations.setFederatedBundle(operatorCall(context), bundle, mode);
        results.push({ status: OK, bundle: bundleToWire(stored, outputMask) });
      } catch (error) {
        results.push({ status: failed(error) });
      }
    }
    return { results };
  }

  return {
    getBundle({ outputMask }, { caller }) {
      takeFrom(limits.bundle, caller.who);
      return bundleToWire(ownBundle(), outputMask);
    },

    async countBundles() {
      return { count: (await federated()).length + 1 };
    },

    async appendBundle({ x509Authorities, jwtAuthorities, witAuthorities, outputMask }, context) {
      if (witAuthorities.length > 0 && !wit) {
        throw new AssayError(
          "INVALID_REQUEST",
          "wit_authorities: WIT-SVIDs are switched off, expected none (or switch the feature wit-svid on)",
        );
      }
      if (x509Authorities.length + jwtAuthorities.length + witAuthorities.length === 0) {
        throw new AssayError("INVALID_REQUEST", "no authorities to append");
      }
      const bundle = await operations.appendBundle(operatorCall(context), {
        x509Authorities: x509AuthoritiesFromWire(x509Authorities).map(({ certificate }) => certificate),
        jwtAuthorities: jwtAuthoritiesFromWire(jwtAuthorities),
        witAuthorities: witAuthoritiesFromWire(witAuthorities),
      });
      return bundleToWire(bundle, outputMask);
    },

    async listFederatedBundles({ outputMask, pageSize, pageToken }) {
      const page = pageOf(await federated(), ({ trustDomain }) => trustDomain, pageSize, pageToken);
      return {
        bundles: page.items.map((bundle) => bundleToWire(bundle, outputMask)),
        nextPageToken: page.nextPageToken,
      };
    },

    async getFederatedBundle({ trustDomain, outputMask }) {
      const name = parseTrustDomainOrId(trustDomain);
      if (name === ownBundle().trustDomain) {
        throw new AssayError(
          "INVALID_REQUEST",
          "getting a federated bundle for the server's own trust domain is not allowed",
        );
      }
      const bundle = await bundles.get(name);
      if (bundle === undefined) throw new AssayError("BUNDLE_NOT_FOUND", "bundle not found");
      return bundleToWire(bundle, outputMask);
    },

    batchCreateFederatedBundle: ({ bundle, outputMask }, context) =>
      write("create", bundle, outputMask, context),

    batchSetFederatedBundle: ({ bundle, outputMask }, context) => write("set", bundle, outputMask, context),

    batchUpdateFederatedBundle: ({ bundle, inputMask, outputMask }, context) =>
      write("update", bundle, outputMask, context, async (change) => {
        if (inputMask === undefined) return change;
        const stored = await bundles.get(change.trustDomain);
        if (stored === undefined) throw new AssayError("BUNDLE_NOT_FOUND", "bundle not found");
        return {
          trustDomain: stored.trustDomain,
          sequence: inputMask.sequenceNumber ? change.sequence : stored.sequence,
          refreshHint: inputMask.refreshHint ? change.refreshHint : stored.refreshHint,
          x509Authorities: inputMask.x509Authorities ? change.x509Authorities : stored.x509Authorities,
          jwtAuthorities: inputMask.jwtAuthorities ? change.jwtAuthorities : stored.jwtAuthorities,
          witAuthorities: inputMask.witAuthorities ? change.witAuthorities : stored.witAuthorities,
        };
      }),

    async batchDeleteFederatedBundle({ trustDomains, mode }, context) {
      const how = deleteMode(mode);
      const results = [];
      for (const trustDomain of trustDomains) {
        try {
          await operations.deleteFederatedBundle(
            operatorCall(context),
            parseTrustDomainOrId(trustDomain),
            how,
          );
          results.push({ status: OK, trustDomain });
        } catch (error) {
          results.push({ status: failed(error), trustDomain });
        }
      }
      return { results };
    },
  };
}

function deleteMode(mode: BatchDeleteFederatedBundleRequest_Mode): BundleDeleteMode {
  switch (mode) {
    case DeleteMode.RESTRICT:
      return "restrict";
    case DeleteMode.DELETE:
      return "delete";
    case DeleteMode.DISSOCIATE:
      return "dissociate";
    default:
      throw new AssayError("INVALID_REQUEST", "mode: expected RESTRICT, DELETE or DISSOCIATE");
  }
}
