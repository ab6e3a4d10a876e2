import { z } from "zod";

/** A SPIFFE bundle document (Trust Domain and Bundle §4), for documentation: its own strict reader does the reading. */
export const bundleDocumentSchema = z
  .looseObject({
    spiffe_sequence: z
      .int()
      .min(0)
      .optional()
      .describe("Grows with every change; an integer of any size, beyond 2^53 too"),
    spiffe_refresh_hint: z.int().min(0).optional().describe("Seconds to wait between refreshes"),
    keys: z
      .array(
        z.looseObject({
          kty: z.string().describe("`EC` or `RSA`; others are left out"),
          use: z.string().describe("`x509-svid` or `jwt-svid`; others are left out"),
          kid: z.string().optional().describe("Key ID; required for `jwt-svid`"),
          x5c: z
            .array(z.string())
            .optional()
            .describe("One base64 DER certificate; required for `x509-svid`"),
        }),
      )
      .describe("All authorities as JWKs"),
  })
  .meta({ id: "SpiffeBundle", description: "A SPIFFE bundle (Trust Domain and Bundle §4)" });
