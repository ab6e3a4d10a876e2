/**
 * composers/ — credential composers: plugins that have a say in what SVIDs hold besides an identity, one folder each.
 *
 * Must never know who asked for an SVID or what earned it, nor see a key that signs.
 * Called by issuance, between policy and signing.
 */
import { createHash } from "node:crypto";
import { z } from "zod";
import { defineCredentialComposer } from "../../plugin/credential-composer.ts";

/**
 * Adds an attribute to the subject of workloads' X509-SVIDs that tells workloads apart (X.520 §6.2.7 `uniqueIdentifier`), for
 * relying parties that know a client by its subject alone: the SHA-256 of the SPIFFE ID, its first 32 hex digits.
 */
export const uniqueId = defineCredentialComposer({
  kind: "credentialComposer",
  apiVersion: 1,
  name: "uniqueid",
  config: z.strictObject({}),
  create: () => ({
    composeX509Svid({ subject, dnsNames }, { purpose, spiffeId }) {
      if (purpose !== "workload") return { subject, dnsNames };
      const value = createHash("sha256").update(spiffeId).digest("hex").slice(0, 32);
      return {
        subject: [
          ...subject.filter(({ oid }) => oid !== UNIQUE_IDENTIFIER),
          { oid: UNIQUE_IDENTIFIER, value },
        ],
        dnsNames,
      };
    },
    async [Symbol.asyncDispose]() {},
  }),
});

const UNIQUE_IDENTIFIER = "2.5.4.45";
