import type { SpiffeBundle } from "../spiffe/bundle.ts";
import type { SpiffeId } from "../spiffe/id.ts";
import type { TrustDomain } from "../spiffe/trust-domain.ts";
import type { EntryRecord, NodeRecord } from "../store/records.ts";

/** One thing that changed, as it was and as it is; `undefined` where it was not or is no more. */
export type RegistryChange =
  | {
      readonly kind: "entry";
      readonly id: string;
      readonly before: EntryRecord | undefined;
      readonly after: EntryRecord | undefined;
    }
  | {
      readonly kind: "node";
      readonly id: SpiffeId;
      readonly before: NodeRecord | undefined;
      readonly after: NodeRecord | undefined;
    }
  | {
      readonly kind: "bundle";
      readonly trustDomain: TrustDomain;
      readonly before: SpiffeBundle | undefined;
      readonly after: SpiffeBundle | undefined;
    }
  | { readonly kind: "crl"; readonly trustDomain: TrustDomain }
  | { readonly kind: "authority"; readonly id: string }
  | { readonly kind: "federation_relationship"; readonly trustDomain: TrustDomain };
