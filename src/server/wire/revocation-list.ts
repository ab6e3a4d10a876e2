import type { MessageInitShape } from "@bufbuild/protobuf";
import { readCrl } from "../../crypto/crl.ts";
import type { RevocationListSchema } from "../../proto/gen/assay/api/types/v1/revocation_list_pb.ts";
import type { CrlRecord } from "../../store/records.ts";

/** A stored revocation list with what it says, for operators. */
export function revocationListToWire(list: CrlRecord): MessageInitShape<typeof RevocationListSchema> {
  const { number, thisUpdate, nextUpdate, revoked } = readCrl(list.crl, "INTERNAL");
  return {
    trustDomain: list.trustDomain,
    crl: list.crl,
    authorityKeyId: list.authorityKeyId,
    number: number.toString(),
    thisUpdate: BigInt(thisUpdate),
    nextUpdate: BigInt(nextUpdate),
    revoked: revoked.size,
  };
}
