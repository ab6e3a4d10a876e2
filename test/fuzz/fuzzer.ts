import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { AssayError } from "../../src/errors/assay-error.ts";
import type { ErrorCode } from "../../src/errors/codes.ts";
import { mutated } from "./mutate.ts";
import { Random } from "./random.ts";

/** Something that reads what strangers send. */
export interface FuzzTarget {
  /** Also the name of its folder in `corpus/`. */
  readonly name: string;
  /** Pieces that inputs of this kind are made of. */
  readonly dictionary: readonly (string | Buffer)[];
  /** Reads one input. Whatever it throws is a finding; an orderly refusal is not thrown. */
  run(input: Buffer): void | Promise<void>;
}

/** What a run came to. */
export interface FuzzReport {
  readonly target: string;
  readonly inputs: number;
  /** Milliseconds that the slowest input took, the least of three tries. */
  readonly slowest: number;
  /** Milliseconds altogether. */
  readonly took: number;
  /** Growth of the heap in octets over the run. */
  readonly heapGrowth: number;
}

/** An input that was not refused in an orderly way, or not in time. */
export class FuzzFinding extends Error {
  readonly input: Buffer;

  constructor(target: string, input: Buffer, cause: unknown) {
    const what = cause instanceof Error ? `${cause.name}: ${cause.message}` : String(cause);
    super(`${target}: ${what}\ninput (base64): ${input.toString("base64")}`, { cause });
    this.name = "FuzzFinding";
    this.input = input;
  }
}

/** Runs every input of the corpus, then mutations of them, the same for the same seed. @throws FuzzFinding. */
export async function fuzz(target: FuzzTarget, inputs: number, seed: number): Promise<FuzzReport> {
  const corpus = corpusOf(target.name);
  const dictionary = target.dictionary.map((piece) => Buffer.from(piece));
  const random = new Random(seed);
  globalThis.gc?.();
  const heapBefore = process.memoryUsage().heapUsed;
  const began = performance.now();
  let slowest = 0;
  for (let n = 0; n < inputs; n++) {
    const input = corpus[n] ?? mutated(corpus, dictionary, random);
    let took = await timed(target, input);
    // A pause of the machine or of the collector is not the parser's doing.
    for (let again = 0; again < 2 && took > slowest; again++)
      took = Math.min(took, await timed(target, input));
    if (took > MAX_MILLISECONDS) throw new FuzzFinding(target.name, input, new Error(`took ${took} ms`));
    slowest = Math.max(slowest, took);
    // A program has turns, and what libraries put off to the next one is no growth of theirs.
    if (n % INPUTS_A_TURN === 0) await new Promise(setImmediate);
  }
  const took = performance.now() - began;
  globalThis.gc?.();
  const heapGrowth = process.memoryUsage().heapUsed - heapBefore;
  return { target: target.name, inputs, slowest, took, heapGrowth };
}

/** Runs a reader; a refusal with one of these codes is what is expected of it, anything else is thrown on. */
export function refuses<Result>(codes: readonly ErrorCode[], read: () => Result): Result | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof AssayError && codes.includes(error.code)) return undefined;
    throw error;
  }
}

/** As {@link refuses}, for readers that take a while. */
export async function refusesLater<Result>(
  codes: readonly ErrorCode[],
  read: () => Promise<Result>,
): Promise<Result | undefined> {
  try {
    return await read();
  } catch (error) {
    if (error instanceof AssayError && codes.includes(error.code)) return undefined;
    throw error;
  }
}

/** The inputs in a target's folder, in the order of their names. */
function corpusOf(name: string): readonly Buffer[] {
  const folder = join(import.meta.dirname, "corpus", name);
  return readdirSync(folder)
    .toSorted()
    .map((file) => readFileSync(join(folder, file)));
}

async function timed(target: FuzzTarget, input: Buffer): Promise<number> {
  const began = performance.now();
  try {
    const running = target.run(input);
    if (running !== undefined) await running;
  } catch (error) {
    throw new FuzzFinding(target.name, input, error);
  }
  return performance.now() - began;
}

const INPUTS_A_TURN = 1000;
// What a caller that nobody has authenticated may cost; far above what any input takes on a slow machine.
const MAX_MILLISECONDS = 2000;
