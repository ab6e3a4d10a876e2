import type { AssayError } from "../errors/assay-error.ts";

/** Whether the person at the keyboard has to mend a command line or a configuration: exit code 2, not 1. */
export function isWrongUsage({ code }: AssayError): boolean {
  return code === "USAGE" || code === "CONFIG_INVALID";
}

/** Whether a command line asks for the place in the program where something broke. */
export function wantsStacks(args: readonly string[]): boolean {
  return args.some((arg, index) => {
    if (arg.startsWith("--log-level=")) return TALKATIVE.has(arg.slice("--log-level=".length));
    return arg === "--log-level" && TALKATIVE.has(args[index + 1] ?? "");
  });
}

const TALKATIVE: ReadonlySet<string> = new Set(["debug", "trace"]);
