import type { ServerCall } from "../call.ts";
import type { OperatorCall } from "../operations/operator-call.ts";

/** Who asks for a change and by which method, for the audit record. */
export function operatorCall(context: ServerCall): OperatorCall {
  return { caller: context.caller.who, method: context.method.slice(1) };
}
