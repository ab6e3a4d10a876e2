/** The types of key that a registration entry can demand of its SVIDs. */
export const SVID_KEY_TYPES = ["ec-p256", "ec-p384", "rsa-2048", "rsa-4096"] as const;

/** One of them. */
export type SvidKeyType = (typeof SVID_KEY_TYPES)[number];

/** The type that a text names, or `undefined`. */
export function svidKeyTypeOf(text: string): SvidKeyType | undefined {
  return SVID_KEY_TYPES.find((type) => type === text);
}
