import { createPublicKey, generateKeyPairSync, X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import { output } from "../e2e/program.ts";
import type { Scratch } from "../e2e/scratch.ts";

/** The bundle of a trust domain that exists nowhere but in a test. */
export interface ForeignBundle {
  readonly trustDomain: string;
  /** Its SPIFFE bundle document: one X.509 authority, one JWT authority. */
  readonly document: string;
  /** The X.509 authority: base64 of its DER. */
  readonly x509Authority: string;
  /** The key ID of the JWT authority. */
  readonly keyId: string;
}

/** Makes a bundle with new keys; `sequence` is written into it and into the key ID. */
export async function makeForeignBundle(
  scratch: Scratch,
  trustDomain: string,
  sequence: number,
): Promise<ForeignBundle> {
  const file = scratch.at(`authority-of-${trustDomain}-${sequence}.pem`);
  await output("openssl", [
    ..."req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -keyout /dev/null".split(" "),
    ...`-out ${file} -subj /CN=${trustDomain} -addext keyUsage=critical,keyCertSign`.split(" "),
    ...`-addext subjectAltName=URI:spiffe://${trustDomain}`.split(" "),
  ]);
  const authority = new X509Certificate(await readFile(file));
  const x509Authority = authority.raw.toString("base64");
  const keyId = `${trustDomain}-${sequence}`;
  const { publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const document = JSON.stringify({
    keys: [
      {
        ...createPublicKey(authority.toString()).export({ format: "jwk" }),
        use: "x509-svid",
        x5c: [x509Authority],
      },
      { ...publicKey.export({ format: "jwk" }), use: "jwt-svid", kid: keyId },
    ],
    spiffe_sequence: sequence,
    spiffe_refresh_hint: 300,
  });
  return { trustDomain, document, x509Authority, keyId };
}
