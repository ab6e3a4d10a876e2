import type { Certificate } from "../../src/crypto/certificate-reader.ts";
import * as der from "../../src/crypto/der/writer.ts";
import { subjectKeyIdentifier } from "../../src/crypto/keys.ts";
import { assembleSigned, signatureAlgorithmIdentifier } from "../../src/crypto/signed-der.ts";
import { makeExtension, TEST_NOW, type TestKey } from "./certificates.ts";

/** What a CRL of a test says; everything left out is as a good list has it. */
export interface TestCrl {
  readonly issuer: {
    readonly certificate: Pick<Certificate, "subject" | "subjectKeyId">;
    readonly key: Pick<TestKey, "spki" | "sign">;
  };
  /** Serial numbers, big-endian. */
  readonly revoked?: readonly Uint8Array[];
  /** `null` leaves the extension out. */
  readonly number?: number | null;
  readonly version?: number;
  readonly thisUpdate?: number;
  /** `null` leaves the field out. */
  readonly nextUpdate?: number | null;
  /** Further extensions, whole. */
  readonly extensions?: readonly der.Der[];
  /** Extensions of each revoked certificate, whole. */
  readonly entryExtensions?: readonly der.Der[];
  readonly keyIdentifier?: boolean;
}

/** A CRL in DER, good or bad as asked. */
export function makeCrl(wanted: TestCrl): Uint8Array {
  const { issuer, number = 1, nextUpdate = TEST_NOW + 3600, keyIdentifier = true } = wanted;
  const thisUpdate = wanted.thisUpdate ?? TEST_NOW - 60;
  const entries = wanted.revoked?.map((serial) =>
    der.sequence(
      der.unsignedInteger(serial),
      der.time(thisUpdate),
      ...(wanted.entryExtensions === undefined ? [] : [der.sequence(...wanted.entryExtensions)]),
    ),
  );
  const keyId = der.primitive(0x80, issuer.certificate.subjectKeyId ?? subjectKeyIdentifier(issuer.key.spki));
  const extensions = [
    ...(keyIdentifier ? [makeExtension("2.5.29.35", false, der.sequence(keyId))] : []),
    ...(number === null ? [] : [makeExtension("2.5.29.20", false, der.tinyInteger(number))]),
    ...(wanted.extensions ?? []),
  ];
  const tbs = der.encode(
    der.sequence(
      der.tinyInteger(wanted.version ?? 1),
      signatureAlgorithmIdentifier("ecdsa-sha256"),
      issuer.certificate.subject,
      der.time(thisUpdate),
      ...(nextUpdate === null ? [] : [der.time(nextUpdate)]),
      ...(entries === undefined ? [] : [der.sequence(...entries)]),
      der.explicit(0, der.sequence(...extensions)),
    ),
  );
  return assembleSigned(tbs, "ecdsa-sha256", issuer.key.sign(tbs));
}
