import { open } from "node:fs/promises";
import { type Clock, systemClock } from "../clock.ts";
import { AssayError, toAssayError } from "../errors/assay-error.ts";
import type { TrustDomain } from "../spiffe/trust-domain.ts";
import type { JwtBundle, WitBundle, X509Bundle } from "./bundles.ts";
import {
  type BundleMaps,
  bundleMaps,
  type BundleSource,
  parsePemBundle,
  parseSpiffeBundle,
  parseSpiffeBundleMap,
} from "./trust-bundle.ts";

/** A file with the bundle of one trust domain, or with a SPIFFE bundle map of several. */
export type BundleFile =
  | {
      /** `example.org` or `spiffe://example.org`. */
      readonly trustDomain: string;
      readonly path: string;
      /** SPIFFE bundle JSON, or X.509 authorities in PEM. */
      readonly format: "spiffe" | "pem";
    }
  | { readonly path: string; readonly format: "map" };

/** How bundle files are read. */
export interface BundleFilesOptions {
  readonly files: readonly BundleFile[];
  /** Milliseconds between looks at the files, 60 s unless told. */
  readonly interval?: number;
  /** Told where a file cannot be read again; what it said before stands until it can. */
  readonly onProblem?: (problem: AssayError) => void;
  /** The machine's clock unless given. */
  readonly clock?: Clock;
}

/** Bundles from files, read again and again; whoever replaces a file does so by renaming. */
export class BundleFiles implements BundleSource, Disposable {
  readonly #options: BundleFilesOptions;
  readonly #clock: Clock;
  readonly #listeners = new Set<() => void>();
  #texts: readonly string[];
  #maps: BundleMaps;
  #timer: Disposable | undefined;
  #isClosed = false;

  constructor(options: BundleFilesOptions, texts: readonly string[], maps: BundleMaps) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#texts = texts;
    this.#maps = maps;
    this.#schedule();
  }

  x509Bundles(): ReadonlyMap<TrustDomain, X509Bundle> {
    return this.#maps.x509;
  }

  jwtBundles(): ReadonlyMap<TrustDomain, JwtBundle> {
    return this.#maps.jwt;
  }

  witBundles(): ReadonlyMap<TrustDomain, WitBundle> {
    return this.#maps.wit;
  }

  onUpdate(listener: () => void): Disposable {
    const entry = (): void => listener();
    this.#listeners.add(entry);
    return { [Symbol.dispose]: () => void this.#listeners.delete(entry) };
  }

  /** Reads the files now. @throws AssayError `FILE_UNAVAILABLE`, `INVALID_BUNDLE`, `INVALID_CERTIFICATE`; the old state stands. */
  async reload(): Promise<void> {
    const texts = await readAll(this.#options.files);
    if (this.#isClosed || texts.every((text, at) => text === this.#texts[at])) return;
    this.#maps = parseAll(this.#options.files, texts);
    this.#texts = texts;
    for (const listener of this.#listeners) listener();
  }

  /** Reads no more; the last state stands. */
  [Symbol.dispose](): void {
    this.#isClosed = true;
    this.#timer?.[Symbol.dispose]();
  }

  #schedule(): void {
    this.#timer = this.#clock.schedule(
      this.#options.interval ?? DEFAULT_INTERVAL_MS,
      () => void this.#look(),
    );
  }

  async #look(): Promise<void> {
    try {
      await this.reload();
    } catch (error) {
      this.#options.onProblem?.(toAssayError(error));
    }
    if (!this.#isClosed) this.#schedule();
  }
}

/**
 * Reads bundle files, and goes on reading them.
 * @throws AssayError `FILE_UNAVAILABLE`, `INVALID_TRUST_DOMAIN`, `INVALID_BUNDLE`, `INVALID_CERTIFICATE`.
 */
export async function openBundleFiles(options: BundleFilesOptions): Promise<BundleFiles> {
  const texts = await readAll(options.files);
  return new BundleFiles(options, texts, parseAll(options.files, texts));
}

function parseAll(files: readonly BundleFile[], texts: readonly string[]): BundleMaps {
  return bundleMaps(
    files.flatMap((file, at) => {
      const text = texts[at] ?? "";
      switch (file.format) {
        case "spiffe":
          return parseSpiffeBundle(file.trustDomain, text);
        case "pem":
          return parsePemBundle(file.trustDomain, text);
        case "map":
          return parseSpiffeBundleMap(text);
        default:
          throw new AssayError("CONFIG_INVALID", "format of a bundle file must be spiffe, pem or map");
      }
    }),
  );
}

function readAll(files: readonly BundleFile[]): Promise<readonly string[]> {
  return Promise.all(files.map(({ path }) => read(path)));
}

async function read(path: string): Promise<string> {
  try {
    await using file = await open(path, "r");
    const { buffer, bytesRead } = await file.read(Buffer.alloc(MAX_BYTES + 1), 0, MAX_BYTES + 1, 0);
    if (bytesRead <= MAX_BYTES) return buffer.toString("utf8", 0, bytesRead);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new AssayError("FILE_UNAVAILABLE", `bundle file ${path}: ${reason}`, { cause });
  }
  throw new AssayError("INVALID_BUNDLE", `bundle file ${path} is larger than ${MAX_BYTES} bytes`);
}

const DEFAULT_INTERVAL_MS = 60_000;
const MAX_BYTES = 4 * 1024 * 1024;
