/**
 * The name of one run among all runs of all issuers, from the values that name it. Each value ends with a slash that no
 * value can have, so that a key made of the first values is the beginning of the keys of exactly those runs.
 */
export function taskKeyOf(issuer: string, values: readonly string[]): string {
  return [issuer, ...values].map((value) => `${encodeURIComponent(value)}/`).join("");
}
