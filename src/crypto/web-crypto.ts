/**
 * Names of the Web Crypto API that the types of @peculiar/x509 take from a browser's library. Node has the same types
 * under `node:crypto`; this gives them their global names without the rest of a browser.
 */
import type { webcrypto } from "node:crypto";

declare global {
  type BufferSource = ArrayBufferView<ArrayBuffer> | ArrayBuffer;
  type Algorithm = webcrypto.Algorithm;
  type AlgorithmIdentifier = webcrypto.AlgorithmIdentifier;
  type CryptoKeyPair = webcrypto.CryptoKeyPair;
  type EcKeyGenParams = webcrypto.EcKeyGenParams;
  type EcKeyImportParams = webcrypto.EcKeyImportParams;
  type EcdsaParams = webcrypto.EcdsaParams;
  type KeyUsage = webcrypto.KeyUsage;
  type RsaHashedImportParams = webcrypto.RsaHashedImportParams;
}
