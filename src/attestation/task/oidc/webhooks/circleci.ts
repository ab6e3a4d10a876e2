import type { PresetWebhook } from "../preset.ts";
import { runValue } from "./run-value.ts";
import { hmacOf, isSame, memberObject, membersOf, refuseWebhook, requiredHeader } from "./signed-body.ts";

/**
 * CircleCI's `job-completed`, signed by `circleci-signature` over the body. There is no signed time, and messages come
 * repeatedly at times: each says of one job that it has ended, which can happen only once.
 */
export const circleciWebhook: PresetWebhook = {
  read({ headers, body, secret }) {
    const versions = requiredHeader(headers, "circleci-signature").split(",").slice(0, MAX_VERSIONS);
    const wanted = `v1=${hmacOf(secret, body).toString("hex")}`;
    if (!versions.some((one) => isSame(one.trim(), wanted))) {
      return refuseWebhook("circleci-signature does not fit the body");
    }
    const members = membersOf(body);
    if (members["type"] !== "job-completed") return undefined;
    const id = members["id"];
    return {
      run: [
        runValue("uuid", memberObject(members, "organization")?.["id"], "organization.id"),
        runValue("uuid", memberObject(members, "job")?.["id"], "job.id"),
      ],
      ...(typeof id === "string" && { deliveryId: id }),
    };
  },
};

const MAX_VERSIONS = 8;
