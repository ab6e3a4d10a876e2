import { AssayError } from "../errors/assay-error.ts";
import type { KeyType } from "../plugin/key-manager.ts";
import type { AuthorityKind, AuthorityRecord } from "../store/records.ts";
import { AuthorityJournal } from "./authority-journal.ts";
import { AuthorityLine, type AuthorityLineDependencies } from "./authority-line.ts";
import type { AuthorityStates } from "./signing.ts";
import { type TokenAuthority, tokenAuthorityKind, type TokenAuthorityOptions } from "./token-authority.ts";
import { type X509Authority, x509AuthorityKind, type X509AuthorityOptions } from "./x509-authority.ts";

/** What the lines of one server are made of. */
export interface AuthorityLinesOptions {
  readonly x509: X509AuthorityOptions;
  readonly token: Omit<TokenAuthorityOptions, "kind" | "slots" | "publish">;
  /** Publishes a JWT authority upstream before it signs. */
  readonly publish: NonNullable<TokenAuthorityOptions["publish"]>;
  /** Whether there is an RS256 key beside the JWT authority, for those who verify by nothing else. */
  readonly rs256: boolean;
  /** Whether WIT-SVIDs are issued. */
  readonly wit: boolean;
}

/**
 * Every line of authorities of one server: X.509, JWT, and where they are configured a second JWT line with RS256 and
 * WIT. What a line that is configured no longer has signed stays good until it ends, but for WIT, whose keys leave the
 * bundle with the profile.
 */
export class AuthorityLines {
  readonly x509: AuthorityLine<X509Authority>;
  readonly #jwt: AuthorityLine<TokenAuthority>;
  readonly #rs256: AuthorityLine<TokenAuthority> | undefined;
  readonly #wit: AuthorityLine<TokenAuthority> | undefined;
  /** JWT lines that are configured no longer. */
  readonly #retired: readonly AuthorityJournal[];
  #listed: {
    readonly parts: readonly (readonly AuthorityRecord[])[];
    readonly all: readonly AuthorityRecord[];
  } = {
    parts: [],
    all: [],
  };

  private constructor(lines: {
    readonly x509: AuthorityLine<X509Authority>;
    readonly jwt: AuthorityLine<TokenAuthority>;
    readonly rs256: AuthorityLine<TokenAuthority> | undefined;
    readonly wit: AuthorityLine<TokenAuthority> | undefined;
    readonly retired: readonly AuthorityJournal[];
  }) {
    this.x509 = lines.x509;
    this.#jwt = lines.jwt;
    this.#rs256 = lines.rs256;
    this.#wit = lines.wit;
    this.#retired = lines.retired;
  }

  /** Opens the lines that are configured, and puts away what is left of others. @throws as `AuthorityLine.open`. */
  static async open(
    { x509, token, rs256, wit, publish }: AuthorityLinesOptions,
    dependencies: AuthorityLineDependencies,
  ): Promise<AuthorityLines> {
    const jwt = { ...token, kind: "jwt" as const, publish };
    const jwtKind = tokenAuthorityKind({ ...jwt, slots: JWT_SLOTS });
    // A JWT authority with an RSA key signs by RS256 anyway.
    const hasRs256 = rs256 && !isRsa(token.keyType);
    const rs256Kind = tokenAuthorityKind({ ...jwt, slots: RS256_SLOTS, keyType: "rsa-2048" });
    const witKind = tokenAuthorityKind({ ...token, kind: "wit", slots: WIT_SLOTS });
    const retired: AuthorityJournal[] = [];
    if (!hasRs256) {
      const journal = await AuthorityJournal.open(rs256Kind, dependencies);
      await journal.retireAll();
      retired.push(journal);
    }
    if (!wit) await (await AuthorityJournal.open(witKind, dependencies)).withdrawAll();
    return new AuthorityLines({
      x509: await AuthorityLine.open(x509AuthorityKind(x509), dependencies),
      jwt: await AuthorityLine.open(jwtKind, dependencies),
      rs256: hasRs256 ? await AuthorityLine.open(rs256Kind, dependencies) : undefined,
      wit: wit ? await AuthorityLine.open(witKind, dependencies) : undefined,
      retired,
    });
  }

  /** The line that signs JWT-SVIDs, or those for who knows RS256 alone. */
  jwt(algorithm?: "RS256"): AuthorityLine<TokenAuthority> {
    return algorithm === undefined ? this.#jwt : (this.#rs256 ?? this.#jwt);
  }

  /** The line that signs WIT-SVIDs. @throws AssayError `UNIMPLEMENTED` where they are switched off. */
  get wit(): AuthorityLine<TokenAuthority> {
    if (this.#wit !== undefined) return this.#wit;
    throw new AssayError("UNIMPLEMENTED", "WIT-SVIDs are switched off");
  }

  /** Every authority, of all lines and states. The same list as long as none of them changes: each call of an agent asks. */
  get records(): readonly AuthorityRecord[] {
    const parts = this.#journals().map(({ records }) => records);
    if (
      parts.length !== this.#listed.parts.length ||
      parts.some((part, n) => part !== this.#listed.parts[n])
    ) {
      this.#listed = { parts, all: parts.flat() };
    }
    return this.#listed.all;
  }

  /** The authorities of a kind that an operator moves. @throws AssayError `UNIMPLEMENTED`. */
  states(kind: AuthorityKind): AuthorityStates {
    return this.#line(kind).states();
  }

  /** Makes the next authority, and with a JWT authority the next one of RS256. @throws as `AuthorityLine.prepare`. */
  async prepare(kind: AuthorityKind): Promise<AuthorityRecord> {
    if (kind === "jwt") await this.#rs256?.prepare();
    return this.#line(kind).prepare();
  }

  /** Lets it sign. What is asked again after half of it failed is done. @throws as `AuthorityLine.activate`. */
  async activate(kind: AuthorityKind, id?: string): Promise<AuthorityRecord> {
    const line = this.#line(kind);
    const prepared = line.states().prepared?.id;
    if (kind === "jwt" && prepared !== undefined && (id ?? prepared) === prepared) {
      await this.#rs256?.activateIfPrepared();
    }
    return line.activate(id);
  }

  /** @throws as `AuthorityJournal.taint`. */
  taint(kind: AuthorityKind, id: string): Promise<AuthorityRecord> {
    return this.#journalOf(kind, id).taint(id);
  }

  /** @throws as `AuthorityJournal.revoke`. */
  revoke(kind: AuthorityKind, id: string): Promise<AuthorityRecord> {
    return this.#journalOf(kind, id).revoke(id);
  }

  /** What there is to do again and again, each part by itself: one that waits for a service must not hold up the others. */
  get upkeep(): readonly (() => Promise<void>)[] {
    return [
      ...this.#lines().map((line) => () => line.keepUp()),
      ...this.#retired.map((journal) => () => journal.inOrder(() => journal.forgetEnded())),
    ];
  }

  /** Does what is due in every line. @throws as `AuthorityLine.keepUp`, when all of them have tried. */
  async keepUp(): Promise<void> {
    const done = await Promise.allSettled(this.upkeep.map((part) => part()));
    for (const result of done) if (result.status === "rejected") throw result.reason;
  }

  #line(kind: AuthorityKind): AuthorityLine<X509Authority> | AuthorityLine<TokenAuthority> {
    switch (kind) {
      case "x509":
        return this.x509;
      case "jwt":
        return this.#jwt;
      case "wit":
        return this.wit;
    }
  }

  // An id names its authority among all lines of its kind: the second JWT line has no name of its own outside.
  #journalOf(kind: AuthorityKind, id: string): AuthorityJournal {
    const others = kind === "jwt" ? [this.#rs256?.journal, ...this.#retired] : [];
    return others.find((journal) => journal?.has(id)) ?? this.#line(kind).journal;
  }

  #lines(): readonly (AuthorityLine<X509Authority> | AuthorityLine<TokenAuthority>)[] {
    return [this.x509, this.#jwt, this.#rs256, this.#wit].filter((line) => line !== undefined);
  }

  #journals(): readonly AuthorityJournal[] {
    return [...this.#lines().map(({ journal }) => journal), ...this.#retired];
  }
}

function isRsa(type: KeyType): boolean {
  return type === "rsa-2048" || type === "rsa-4096";
}

// Names of keys in the key manager. They are in journals, and so never change.
const JWT_SLOTS = ["JWT-Signer-A", "JWT-Signer-B", "JWT-Signer-C"] as const;
const RS256_SLOTS = ["JWT-RS256-Signer-A", "JWT-RS256-Signer-B", "JWT-RS256-Signer-C"] as const;
const WIT_SLOTS = ["WIT-Signer-A", "WIT-Signer-B", "WIT-Signer-C"] as const;
