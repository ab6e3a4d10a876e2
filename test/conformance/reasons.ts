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
    kind: "not used",
    lines: ["FE-28", "FE-51"],
    why: "the bundle endpoint redirects nobody",
  },
  {
    kind: "documented",
    lines: ["FE-68"],
    why: "for the operator, who chooses the name and port that partners are told ([federation](operations/federation.md)); the path is always `/`",
  },
  {
    kind: "not ours",
    lines: ["TB-16", "TB-17", "FE-17"],
    why: "for whoever writes a standard",
  },
  {
    kind: "not ours",
    lines: ["FE-02", "JS-13", "JS-29"],
    why: "for the operator, or whoever writes the services that tokens are shown to",
  },
  {
    kind: "not ours",
    lines: ["JS-20", "JS-21"],
    why: "for the program that shows a token; Assay hands tokens out and shows none",
  },
  {
    kind: "documented",
    lines: ["WE-02"],
    why: "for whoever deploys agents: one on each node ([running](operations/running.md)); the endpoint opens no port that another host could reach (WE-06)",
  },
  {
    kind: "documented",
    lines: ["TB-31"],
    why: "a server is the authority of one trust domain and makes its own keys; a second server gets a data folder of its own ([running](operations/running.md))",
  },
  {
    kind: "not used",
    lines: ["WA-02"],
    why: "neither profile can be switched off",
  },
  {
    kind: "not used",
    lines: ["WS-24"],
    why: "a WIT-SVID is valid from when it is made, and has no nbf",
  },
  {
    kind: "not used",
    lines: ["WS-29"],
    why: "a WIT-SVID has no iss, as it must lead to no discovery document (WS-30)",
  },
  {
    kind: "not used",
    lines: ["WS-42"],
    why: "the Node client shows WIT-SVIDs by WIMSE's proof token and in no other way",
  },
  {
    kind: "not ours",
    lines: [
      ...ids("BE", "03 04 07 09 16 19 23"),
      ...ids("BA", "08 09 11 17 20 32 33 34 35 40 43 44 45 49 50 53 54 55 60 62 63 64 65 66"),
      ...ids("BA", "69 70 71 72 74 78 80 81 82 83 87 88 89"),
    ],
    why: "for brokers; Assay serves them and is none",
  },
  {
    kind: "not ours",
    lines: ["BA-73"],
    why: "for what a broker passes on, and whom to",
  },
  {
    kind: "not used",
    lines: ["BA-02"],
    why: "neither profile can be switched off",
  },
  {
    kind: "not used",
    lines: ["BA-04"],
    why: "there are no reference types but the standard's",
  },
  {
    kind: "documented",
    lines: ["BA-28"],
    why: "there are no reference types but the standard's, as the page of the [Broker Endpoint](broker.md) lists them",
  },
];

function ids(prefix: string, numbers: string): readonly string[] {
  return numbers.split(" ").map((number) => `${prefix}-${number}`);
}
