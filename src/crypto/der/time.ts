/**
 * Unix seconds of a UTCTime or GeneralizedTime as RFC 5280 §4.1.2.5 writes them: seconds present, `Z` at the end, no
 * fraction, UTCTime through 2049 and GeneralizedTime from 2050. Undefined for anything else, 30 February included.
 */
export function readTime(content: Uint8Array, generalized: boolean): number | undefined {
  const digits = generalized ? 14 : 12;
  if (content.length !== digits + 1 || content[digits] !== 0x5a) return undefined;
  for (let index = 0; index < digits; index++) {
    const octet = content[index] as number;
    if (octet < 0x30 || octet > 0x39) return undefined;
  }
  const two = (at: number) => ((content[at] as number) - 0x30) * 10 + (content[at + 1] as number) - 0x30;
  const short = two(0);
  const year = generalized ? short * 100 + two(2) : short + (short >= 50 ? 1900 : 2000);
  if (generalized && year < 2050) return undefined;
  const at = generalized ? 4 : 2;
  const month = two(at);
  const day = two(at + 2);
  const hour = two(at + 4);
  const minute = two(at + 6);
  const second = two(at + 8);
  if (hour > 23 || minute > 59 || second > 59 || month < 1 || month > 12) return undefined;
  if (day < 1 || day > daysIn(year, month)) return undefined;
  return Date.UTC(year, month - 1, day, hour, minute, second) / 1000;
}

function daysIn(year: number, month: number): number {
  if (month === 2) return (year % 4 === 0 && year % 100 !== 0) || year % 400 === 0 ? 29 : 28;
  return month === 4 || month === 6 || month === 9 || month === 11 ? 30 : 31;
}
