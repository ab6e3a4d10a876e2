import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { createHash } from "node:crypto";
import { toPem } from "../../crypto/pem.ts";
import type { DataSourceSchema } from "../../proto/gen/envoy/config/core/v3/base_pb.ts";
import {
  type CertificateValidationContextSchema,
  SecretSchema,
  SPIFFECertValidatorConfigSchema,
} from "../../proto/gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.ts";
import type { SpiffeBundle } from "../../spiffe/bundle.ts";
import type { TrustDomain } from "../../spiffe/trust-domain.ts";
import type { X509Identity } from "../workload-api/x509-state.ts";
import type { Validation } from "./envoy-node.ts";

/** One secret as it can be delivered. */
export interface Secret {
  readonly name: string;
  /** Changes exactly when the content does, on every stream and over restarts; nothing secret goes into it. */
  readonly version: string;
  /** The identity whose private key it holds. */
  readonly identity?: X509Identity;
  /** Trust domains whose authorities it holds. */
  readonly trustDomains: readonly TrustDomain[];
  /** A `Secret` message. */
  encode(): Uint8Array;
}

/** A trust domain's CRLs in DER; each the same array as long as it is the same list. */
export type CrlSource = (trustDomain: TrustDomain) => readonly Uint8Array[];

/** Type of the resources that are delivered. */
export const SECRET_TYPE_URL = `type.googleapis.com/${SecretSchema.typeName}`;

/** Writes secrets; what the streams have in common is computed once. */
export class SecretWriter {
  readonly #crlOf: CrlSource;
  readonly #digests = new WeakMap<object, string>();
  readonly #pem = new WeakMap<SpiffeBundle, Buffer>();

  /** `crlOf` is the one way by which CRLs come into validation contexts. */
  constructor(crlOf: CrlSource) {
    this.#crlOf = crlOf;
  }

  /** An X509-SVID with its private key: PEM, leaf first, key PKCS#8. */
  svid(name: string, identity: X509Identity): Secret {
    const { chain, privateKey } = identity.svid;
    return {
      name,
      // The leaf names its key, so the key itself need not be hashed.
      version: this.#digest(identity.svid, () => chain),
      identity,
      trustDomains: [],
      encode: () =>
        toBinary(
          SecretSchema,
          create(SecretSchema, {
            name,
            type: {
              case: "tlsCertificate",
              value: {
                certificateChain: inline(pemOf(chain)),
                privateKey: inline(Buffer.from(toPem("PRIVATE KEY", privateKey))),
              },
            },
          }),
        ),
    };
  }

  /** Whom to trust: bundles with at least one X.509 authority each, no trust domain twice. */
  roots(name: string, bundles: readonly SpiffeBundle[], validation: Validation): Secret {
    return {
      name,
      version: digestOf([
        Buffer.from(
          JSON.stringify([
            validation,
            bundles.map((bundle) => [
              bundle.trustDomain,
              this.#digest(bundle, () => authoritiesOf(bundle)),
              this.#crlOf(bundle.trustDomain).map((crl) => this.#digest(crl, () => [crl])),
            ]),
          ]),
        ),
      ]),
      trustDomains: bundles.map(({ trustDomain }) => trustDomain),
      encode: () =>
        toBinary(
          SecretSchema,
          create(SecretSchema, {
            name,
            type: { case: "validationContext", value: this.#context(bundles, validation) },
          }),
        ),
    };
  }

  #context(
    bundles: readonly SpiffeBundle[],
    validation: Validation,
  ): MessageInitShape<typeof CertificateValidationContextSchema> {
    if (validation === "plain") {
      const crl = Buffer.concat(bundles.map((bundle) => this.#crlPem(bundle)));
      return {
        trustedCa: inline(Buffer.concat(bundles.map((bundle) => this.#pemOf(bundle)))),
        ...(crl.length === 0 ? {} : { crl: inline(crl) }),
      };
    }
    const config = create(SPIFFECertValidatorConfigSchema, {
      trustDomains: bundles.map((bundle) => ({
        name: bundle.trustDomain,
        // The validator takes CRLs from here alone, and asks for one of each authority only where it finds any.
        trustBundle: inline(Buffer.concat([this.#pemOf(bundle), this.#crlPem(bundle)])),
      })),
    });
    return {
      customValidatorConfig: {
        name: "envoy.tls.cert_validator.spiffe",
        typedConfig: {
          typeUrl: `type.googleapis.com/${SPIFFECertValidatorConfigSchema.typeName}`,
          value: toBinary(SPIFFECertValidatorConfigSchema, config),
        },
      },
    };
  }

  #pemOf(bundle: SpiffeBundle): Buffer {
    let pem = this.#pem.get(bundle);
    if (pem === undefined) this.#pem.set(bundle, (pem = pemOf(authoritiesOf(bundle))));
    return pem;
  }

  #crlPem({ trustDomain }: SpiffeBundle): Buffer {
    return Buffer.from(
      this.#crlOf(trustDomain)
        .map((crl) => toPem("X509 CRL", crl))
        .join(""),
    );
  }

  #digest(key: object, parts: () => readonly Uint8Array[]): string {
    let digest = this.#digests.get(key);
    if (digest === undefined) this.#digests.set(key, (digest = digestOf(parts())));
    return digest;
  }
}

/** The version of several secrets together. */
export function versionOf(secrets: readonly Secret[]): string {
  return digestOf([Buffer.from(JSON.stringify(secrets.map(({ name, version }) => [name, version])))]);
}

function authoritiesOf(bundle: SpiffeBundle): readonly Uint8Array[] {
  return bundle.x509Authorities.map(({ certificate }) => certificate);
}

function pemOf(certificates: readonly Uint8Array[]): Buffer {
  return Buffer.from(certificates.map((der) => toPem("CERTIFICATE", der)).join(""));
}

function inline(bytes: Buffer): MessageInitShape<typeof DataSourceSchema> {
  return { specifier: { case: "inlineBytes", value: bytes } };
}

function digestOf(parts: readonly Uint8Array[]): string {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part);
  return hash.digest("hex").slice(0, VERSION_LENGTH);
}

const VERSION_LENGTH = 32;
