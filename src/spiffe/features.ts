/** Profiles of SPIFFE that its community calls incubating: each off unless the operator switches it on by this name. */
export const FEATURES = ["wit-svid", "broker"] as const;

/** `wit-svid`: the WIT-SVID profile (WIT-SVID, Workload API §7). `broker`: the Broker endpoint and API. */
export type Feature = (typeof FEATURES)[number];
