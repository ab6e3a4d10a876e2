import type { EntryContent } from "../../src/store/records.ts";

/** What an entry has in every field that its author left out. */
export const ENTRY_DEFAULTS = {
  x509SvidTtl: 0,
  jwtSvidTtl: 0,
  federatesWith: [],
  admin: false,
  downstream: false,
  storeSvid: false,
  expiresAt: 0,
  dnsNames: [],
  hint: "",
  disableX509SvidPrefetch: false,
  jwtSvidIncludeJti: false,
  idTemplate: "",
  maxTaskDuration: 0,
  exchangeAudiences: [],
  svidKeyType: "",
} as const satisfies Omit<EntryContent, "spiffeId" | "parentId" | "selectors">;
