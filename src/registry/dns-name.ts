import { isIP } from "node:net";
import { domainToUnicode } from "node:url";

/**
 * What is wrong with a DNS name for an SVID, or `undefined` if nothing is: ASCII labels of letters, digits and inner
 * hyphens, each 1 to 63 octets, 253 in all (RFC 1123 §2.1), the first possibly `*` with at least one more after it;
 * internationalised labels in their `xn--` form (RFC 5890 §2.3.2.1).
 */
export function dnsNameFault(name: string): string | undefined {
  if (name === "") return "DNS name is empty";
  if (name.length > MAX_NAME) return `DNS name is longer than ${MAX_NAME} characters`;
  if (isIP(name) !== 0) return "an IP address is no DNS name";
  const labels = (name.startsWith("*.") ? name.slice(2) : name).split(".");
  for (const label of labels) {
    const fault = labelFault(label);
    if (fault !== undefined) return fault;
  }
  return undefined;
}

function labelFault(label: string): string | undefined {
  if (label === "") return "DNS name has an empty label";
  if (label.length > MAX_LABEL) return `DNS label is longer than ${MAX_LABEL} characters`;
  if (!LABEL.test(label)) {
    return "DNS labels are limited to letters, numbers and inner hyphens, and * only as the first label";
  }
  if (label.slice(2, 4) !== "--") return undefined;
  const lower = label.toLowerCase();
  // Gives back the empty string for punycode that decodes to nothing legal, and the label itself for what is no IDN.
  const decoded = lower.startsWith("xn--") ? domainToUnicode(lower) : "";
  return decoded === "" || decoded === lower ? "DNS label is no valid internationalised label" : undefined;
}

const LABEL = /^[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?$/;
const MAX_NAME = 253;
const MAX_LABEL = 63;
