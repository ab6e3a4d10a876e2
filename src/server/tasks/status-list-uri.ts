/** Where a status list of this issuer is fetched, and the `sub` that it must have (Token Status List §5.1). */
export function statusListUri(issuer: string, list: number): string {
  return `${issuer.replace(/\/$/, "")}/oauth2/status-lists/${list}`;
}
