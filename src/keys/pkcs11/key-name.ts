import { isKeyId } from "../key-id.ts";

/**
 * How keys are told apart in a token that others use too. The label is `<prefix>/<key id>`, for people and their tools. CKA_ID
 * is `assay`, 1, a generation and four octets that its server chose: it pairs the two halves of a key, tells our keys from others' of the
 * same label, and of two keys with one label the one with the larger generation is the newer.
 */
export interface KeyName {
  readonly label: string;
  /** CKA_ID. */
  readonly ckaId: Buffer;
}

/** A name for a new key. `generation` is from 0 to 2^53−1, `end` the last four octets of CKA_ID. */
export function newKeyName(prefix: string, id: string, generation: number, end: Uint8Array): KeyName {
  const ckaId = Buffer.alloc(CKA_ID_SIZE);
  MARK.copy(ckaId);
  ckaId.writeBigUInt64BE(BigInt(generation), MARK.length);
  ckaId.set(end.subarray(0, END_SIZE), MARK.length + 8);
  return { label: `${prefix}/${id}`, ckaId };
}

/** What the two attributes of an object say, or `undefined` where the object is not one of ours under this prefix. */
export function readKeyName(
  prefix: string,
  label: string,
  ckaId: Buffer,
): { readonly id: string; readonly generation: number } | undefined {
  if (ckaId.length !== CKA_ID_SIZE || !ckaId.subarray(0, MARK.length).equals(MARK)) return undefined;
  if (!label.startsWith(`${prefix}/`)) return undefined;
  const id = label.slice(prefix.length + 1);
  // A slash in what is left belongs to a longer prefix: another server's key.
  if (!isKeyId(id)) return undefined;
  return { id, generation: Number(ckaId.readBigUInt64BE(MARK.length)) };
}

const MARK = Buffer.from("assay\x01", "latin1");
const END_SIZE = 4;
const CKA_ID_SIZE = MARK.length + 8 + END_SIZE;
