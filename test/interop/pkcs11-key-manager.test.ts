import { afterAll, beforeAll } from "vitest";
import { systemClock } from "../../src/clock.ts";
import { openPkcs11KeyManager } from "../../src/keys/pkcs11/pkcs11.ts";
import type { PluginHost } from "../../src/plugin/host.ts";
import { parseTrustDomain } from "../../src/spiffe/trust-domain.ts";
import { keyManagerSuite } from "../contract/key-manager-suite.ts";
import { makeScratch, type Scratch } from "../e2e/scratch.ts";
import { BUILD_PATIENCE, describeWith } from "./peers.ts";
import { makeSoftHsm, type SoftHsm } from "./softhsm.ts";

describeWith(["softhsm"], "SoftHSM 2", () => {
  let scratch: Scratch;
  let hsm: SoftHsm;
  beforeAll(async () => {
    scratch = await makeScratch();
    hsm = await makeSoftHsm(scratch);
    process.env["SOFTHSM2_CONF"] = hsm.env.SOFTHSM2_CONF;
  }, BUILD_PATIENCE);
  afterAll(async () => {
    delete process.env["SOFTHSM2_CONF"];
    await scratch?.[Symbol.asyncDispose]();
  });

  const open = (place: string) => openPkcs11KeyManager({ ...hsm.config, key_label_prefix: place }, host);

  keyManagerSuite("pkcs11 on SoftHSM 2", open, { durable: true, patience: 60_000 });
});

const host: PluginHost = {
  trustDomain: parseTrustDomain("example.org"),
  clock: systemClock,
  log: { debug() {}, info() {}, warn() {}, error() {} },
};
