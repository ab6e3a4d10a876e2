import { AssayError } from "../errors/assay-error.ts";
import { type EndpointAddress, parseEndpointAddress } from "../spiffe/endpoint-address.ts";

/** The variable that says where the Workload Endpoint is (Workload Endpoint §4). */
export const ENDPOINT_VARIABLE = "SPIFFE_ENDPOINT_SOCKET";

/**
 * Where the Workload Endpoint is: the address given, otherwise the one in `SPIFFE_ENDPOINT_SOCKET`. This is the only
 * place of the client that reads the environment.
 * @throws AssayError `CONFIG_INVALID` where there is neither, or the address is none of Workload Endpoint §4.
 */
export function locateEndpoint(
  address: string | undefined,
  environment: Readonly<Record<string, string | undefined>> = process.env,
): EndpointAddress {
  const text = address ?? environment[ENDPOINT_VARIABLE];
  if (text === undefined) {
    throw new AssayError(
      "CONFIG_INVALID",
      `workload endpoint address: neither the option address nor ${ENDPOINT_VARIABLE} is set`,
    );
  }
  return parseEndpointAddress(text);
}
