import type { MessageInitShape } from "@bufbuild/protobuf";
import type { JWTSVIDSchema } from "../../proto/gen/spire/api/types/jwtsvid_pb.ts";
import type { WITSVIDSchema } from "../../proto/gen/spire/api/types/witsvid_pb.ts";
import type { X509SVIDSchema } from "../../proto/gen/spire/api/types/x509svid_pb.ts";
import type { IssuedJwtSvid, IssuedWitSvid, IssuedX509Svid } from "../../signing/signing.ts";
import { spiffeIdToWire } from "../../wire/spiffe-id.ts";

/** Writes an X509-SVID for the wire; `hint` is the entry's. */
export function x509SvidToWire(svid: IssuedX509Svid, hint = ""): MessageInitShape<typeof X509SVIDSchema> {
  return {
    certChain: svid.chain as Uint8Array[],
    id: spiffeIdToWire(svid.spiffeId),
    expiresAt: BigInt(svid.notAfter),
    hint,
  };
}

/** Writes a JWT-SVID for the wire; `hint` is the entry's. */
export function jwtSvidToWire(svid: IssuedJwtSvid, hint = ""): MessageInitShape<typeof JWTSVIDSchema> {
  return tokenToWire(svid, hint);
}

/** Writes a WIT-SVID for the wire; `hint` is the entry's. */
export function witSvidToWire(svid: IssuedWitSvid, hint = ""): MessageInitShape<typeof WITSVIDSchema> {
  return tokenToWire(svid, hint);
}

function tokenToWire(svid: IssuedJwtSvid | IssuedWitSvid, hint: string) {
  return {
    token: svid.token,
    id: spiffeIdToWire(svid.spiffeId),
    expiresAt: BigInt(svid.expiresAt),
    issuedAt: BigInt(svid.issuedAt),
    hint,
  };
}
