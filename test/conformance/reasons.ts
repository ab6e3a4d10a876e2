/** Why lines have no test. */
export interface Reason {
  /**
   * `not ours`: binds only parties that Assay is not. `documented`: it is for the operator to keep, and a page says how.
   * `not used`: something that MAY be done and that Assay does not do. `not kept`: a recommendation that is not followed.
   */
  readonly kind: "not ours" | "documented" | "not used" | "not kept";
  readonly lines: readonly string[];
  /** One sentence, in Markdown as it stands in `docs/`. */
  readonly why: string;
}

/** Every line without a test, with the reason. A line that obliges us without exception cannot be here. */
export const reasons: readonly Reason[] = [
  {
    kind: "not ours",
    lines: ["TB-16", "TB-17"],
    why: "for whoever writes a standard of a further kind of SVID",
  },
];
