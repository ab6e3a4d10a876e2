import type { FuzzTarget } from "../fuzzer.ts";
import { certificateTargets } from "./certificates.ts";
import { connectionTargets } from "./connections.ts";
import { documentTargets } from "./documents.ts";
import { evidenceTargets } from "./evidence.ts";
import { tokenTargets } from "./tokens.ts";

/** Everything that reads what strangers send. */
export const TARGETS: readonly FuzzTarget[] = [
  ...certificateTargets,
  ...documentTargets,
  ...tokenTargets,
  ...evidenceTargets,
  ...connectionTargets,
];
