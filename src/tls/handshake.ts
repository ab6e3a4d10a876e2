/**
 * tls/ — what every TLS handshake of ours has in common: the suites and groups, and how a peer's certificates are read.
 *
 * Must never know whom to believe: each caller judges the chain by its own rules.
 * Called by whoever opens or accepts a TLS connection.
 */

/** OpenSSL's names of the suites of Mozilla's "intermediate" profile, finite-field Diffie-Hellman left out. */
export const INTERMEDIATE_CIPHERS = [
  "TLS_AES_128_GCM_SHA256",
  "TLS_AES_256_GCM_SHA384",
  "TLS_CHACHA20_POLY1305_SHA256",
  "ECDHE-ECDSA-AES128-GCM-SHA256",
  "ECDHE-RSA-AES128-GCM-SHA256",
  "ECDHE-ECDSA-AES256-GCM-SHA384",
  "ECDHE-RSA-AES256-GCM-SHA384",
  "ECDHE-ECDSA-CHACHA20-POLY1305",
  "ECDHE-RSA-CHACHA20-POLY1305",
].join(":");

/** The groups of the same profile. */
export const INTERMEDIATE_GROUPS = "X25519:prime256v1:secp384r1";
