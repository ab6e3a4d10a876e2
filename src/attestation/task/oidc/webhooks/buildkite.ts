import type { PresetWebhook } from "../preset.ts";
import { runValue } from "./run-value.ts";
import {
  checkSignedTime,
  hmacOf,
  isSame,
  memberObject,
  membersOf,
  refuseWebhook,
  requiredHeader,
} from "./signed-body.ts";

/**
 * Buildkite's `job.finished`, signed by `X-Buildkite-Signature` over its time and the body. The form that sends the token as
 * it is (`X-Buildkite-Token`) is not taken.
 */
export const buildkiteWebhook: PresetWebhook = {
  read({ headers, body, secret, now }) {
    const header = requiredHeader(headers, "x-buildkite-signature");
    const [, time, hex] = /^timestamp=(\d{1,12}),signature=([0-9a-f]{64})$/.exec(header) ?? [];
    if (time === undefined || hex === undefined) {
      return refuseWebhook("x-buildkite-signature has no timestamp and signature");
    }
    if (!isSame(Buffer.from(hex, "hex"), hmacOf(secret, `${time}.`, body))) {
      return refuseWebhook("x-buildkite-signature does not fit the message");
    }
    checkSignedTime(time, now);
    const members = membersOf(body);
    if (members["event"] !== "job.finished") return undefined;
    const deliveryId = headers["x-buildkite-request"];
    return {
      run: [runValue("id", memberObject(members, "job")?.["id"], "job.id")],
      ...(deliveryId !== undefined && { deliveryId }),
    };
  },
};
