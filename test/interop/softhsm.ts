import { mkdir, rename, writeFile } from "node:fs/promises";
import { output } from "../e2e/program.ts";
import type { Scratch } from "../e2e/scratch.ts";
import { buildPeer, softHsmLibrary } from "./peers.ts";

/** A SoftHSM 2 of its own in a folder of its own, with one token. */
export interface SoftHsm {
  /** Environment of every process that uses it. */
  readonly env: { readonly SOFTHSM2_CONF: string };
  /** Settings of the key manager `pkcs11` that uses its token. */
  readonly config: {
    readonly module_path: string;
    readonly token_label: string;
    readonly pin_file: string;
    readonly packages_folder: string;
  };
  readonly pin: string;
  /** Takes the token away, or puts it back, under whoever uses it. */
  setPresent(present: boolean): Promise<void>;
  /** Makes another token. */
  addToken(label: string): Promise<void>;
}

/** Makes one. The token's label is `assay`. */
export async function makeSoftHsm(scratch: Scratch, name = "softhsm"): Promise<SoftHsm> {
  const packages = await buildPeer("pkcs11js");
  const tokens = scratch.at(name, "tokens");
  const env = { SOFTHSM2_CONF: scratch.at(name, "softhsm2.conf") };
  const pin = "7391-test-pin";
  const pinFile = scratch.at(name, "pin");
  await mkdir(tokens, { recursive: true, mode: 0o700 });
  await writeFile(
    env.SOFTHSM2_CONF,
    `directories.tokendir = ${tokens}\nobjectstore.backend = file\nlog.level = ERROR\n`,
  );
  await writeFile(pinFile, `${pin}\n`, { mode: 0o600 });
  const addToken = async (label: string) => {
    await output(
      "softhsm2-util",
      ["--init-token", "--free", `--label=${label}`, `--pin=${pin}`, "--so-pin=12345678"],
      { env },
    );
  };
  await addToken("assay");
  return {
    env,
    pin,
    config: {
      module_path: softHsmLibrary() ?? "",
      token_label: "assay",
      pin_file: pinFile,
      packages_folder: packages,
    },
    addToken,
    setPresent: (present) => (present ? rename(`${tokens}.away`, tokens) : rename(tokens, `${tokens}.away`)),
  };
}
