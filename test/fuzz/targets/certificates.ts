import { isDeepStrictEqual } from "node:util";
import { readCertificate } from "../../../src/crypto/certificate-reader.ts";
import { readCrl } from "../../../src/crypto/crl.ts";
import { parseCertificates } from "../../../src/crypto/pem.ts";
import { readCertificationRequest } from "../../../src/crypto/pkcs10.ts";
import { parseX509Svid } from "../../../src/crypto/x509-svid.ts";
import { type FuzzTarget, refuses } from "../fuzzer.ts";

const DER = [
  "\x30\x82",
  "\x30\x80",
  "\x30\x84\xff\xff\xff\xff",
  "\x02\x01\x00",
  "\x05\x00",
  "\x01\x01\xff",
  "\x06\x03\x55\x1d\x11",
  "\x06\x03\x55\x1d\x0f",
  "\x06\x03\x55\x1d\x13",
  "\x04\x00",
  "\x86\x10spiffe://a/b/c.d",
  "\x17\x0d260101000000Z",
  "\x18\x0f20500101000000Z",
].map((text) => Buffer.from(text, "latin1"));

/** PKCS#10 (RFC 2986), as agents and administrators send it. */
const pkcs10: FuzzTarget = {
  name: "pkcs10",
  dictionary: DER,
  run: (input) => void refuses(["INVALID_CSR"], () => readCertificationRequest(input)),
};

/** X.509 (RFC 5280), as peers of mTLS and attestations send it; what is read reads the same twice. */
const x509: FuzzTarget = {
  name: "x509",
  dictionary: DER,
  run(input) {
    const certificate = refuses(["INVALID_CERTIFICATE"], () => readCertificate(input));
    if (certificate === undefined) return;
    if (!isDeepStrictEqual(readCertificate(certificate.der), certificate))
      throw new Error("reads differently");
    refuses(["INVALID_CERTIFICATE"], () => parseX509Svid(certificate));
  },
};

/** Revocation lists (RFC 5280 §5), as administrators send them. */
const crl: FuzzTarget = {
  name: "crl",
  dictionary: DER,
  run: (input) => void refuses(["INVALID_CRL"], () => readCrl(input, "INVALID_CRL")),
};

/** Back-to-back DER, as a Workload API that is not ours may send it. */
const certificateList: FuzzTarget = {
  name: "certificate-list",
  dictionary: DER,
  run: (input) => void refuses(["INVALID_CERTIFICATE", "INVALID_BUNDLE"], () => parseCertificates(input)),
};

export const certificateTargets: readonly FuzzTarget[] = [pkcs10, x509, crl, certificateList];
