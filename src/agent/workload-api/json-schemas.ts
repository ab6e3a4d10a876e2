import { z } from "zod";

const time = z.iso.datetime().describe("RFC 3339, UTC");
const base64 = z.string().describe("DER in base64");

const crls = z.array(base64).describe("Revocation lists of these authorities, where there are any");

/** X.509 authorities of one trust domain. */
export const x509BundleSchema = z
  .object({
    certificates_pem: z.string().describe("The authorities' certificates, PEM"),
    certificates_der: z.array(base64).describe("The same, one DER certificate each, base64"),
  })
  .meta({ id: "X509Bundle", description: "X.509 authorities of one trust domain" });

const bundleMap = <Schema extends z.ZodType>(schema: Schema) =>
  z.record(z.string().describe("The trust domain's SPIFFE ID"), schema);

/** One X509-SVID with its key. */
export const x509SvidSchema = z
  .object({
    spiffe_id: z.string().describe("The identity"),
    hint: z.string().describe("What the operator says this identity is for; empty for nothing"),
    certificate_chain_pem: z.string().describe("Leaf first, then intermediates, PEM"),
    certificate_chain_der: z.array(base64).describe("The same, one DER certificate each, base64"),
    private_key_pem: z.string().describe("The leaf's key, PKCS#8 PEM. Secret"),
    private_key_der: z.string().describe("The same, DER in base64. Secret"),
    serial_number: z.string().describe("Lower-case hex"),
    not_before: time,
    expires_at: time,
    bundle: x509BundleSchema,
  })
  .meta({
    id: "X509Svid",
    description: "An X509-SVID with its private key and its trust domain's authorities",
  });

/** The answer about X509-SVIDs: complete, like every message of the Workload API. */
export const x509SvidsSchema = z
  .object({
    svids: z.array(x509SvidSchema).min(1).describe("The first is the default identity"),
    federated_bundles: bundleMap(x509BundleSchema).describe("Authorities of foreign trust domains"),
    crls_der: crls,
  })
  .meta({ id: "X509Svids", description: "All X509-SVIDs of the caller; what is left out is withdrawn" });

/** The answer about X.509 bundles. */
export const x509BundlesSchema = z
  .object({ bundles: bundleMap(x509BundleSchema), crls_der: crls })
  .meta({ id: "X509Bundles", description: "X.509 authorities by trust domain" });

/** The question for JWT-SVIDs. */
export const jwtSvidRequestSchema = z
  .strictObject({
    audience: z.array(z.string()).describe("Who the JWT-SVIDs are for, 1 to 32, kept in this order"),
    spiffe_id: z.string().optional().describe("Asks for this identity alone"),
  })
  .meta({ id: "JwtSvidRequest", description: "Asks for JWT-SVIDs" });

/** The answer about JWT-SVIDs. */
export const jwtSvidsSchema = z
  .object({
    svids: z
      .array(
        z.object({
          spiffe_id: z.string().describe("The identity"),
          hint: z.string().describe("What the operator says this identity is for; empty for nothing"),
          svid: z.string().describe("The JWT-SVID in JWS compact form. Secret"),
          issued_at: time,
          expires_at: time,
        }),
      )
      .min(1)
      .describe("The first is the default identity"),
  })
  .meta({ id: "JwtSvids", description: "JWT-SVIDs of the caller" });

/** The answer about JWT bundles. */
export const jwtBundlesSchema = z
  .object({
    bundles: bundleMap(z.looseObject({ keys: z.array(z.looseObject({})) }).describe("A JWK Set (RFC 7517)")),
  })
  .meta({ id: "JwtBundles", description: "JWT keys by trust domain" });

/** The question whether a JWT-SVID is valid. */
export const validateRequestSchema = z
  .strictObject({
    audience: z.string().describe("The audience that the validating party answers to"),
    svid: z.string().describe("The JWT-SVID in JWS compact form"),
  })
  .meta({ id: "ValidateJwtSvidRequest", description: "Asks whether a JWT-SVID is valid" });

/** The answer about a valid JWT-SVID. */
export const validatedSchema = z
  .object({
    spiffe_id: z.string().describe("The identity that was proven"),
    claims: z.looseObject({}).describe("The claims; `aud` is a list"),
  })
  .meta({ id: "ValidatedJwtSvid", description: "What a valid JWT-SVID says" });

/** The answer of the health paths. */
export const healthSchema = z.object({ status: z.enum(["ok", "not_ready"]) }).meta({ id: "Health" });
