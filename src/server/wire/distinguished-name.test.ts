import { expect, it } from "vitest";
import { distinguishedNameText } from "./distinguished-name.ts";

it.each([
  [
    [
      ["2.5.4.6", "US"],
      ["2.5.4.10", "SPIRE"],
    ],
    "C=US, O=SPIRE",
  ],
  [[["2.5.4.3", 'a, b+c "d" \\ <e>;']], String.raw`CN=a\, b\+c \"d\" \\ \<e\>\;`],
  [[["2.5.4.3", " #x "]], String.raw`CN=\ #x\ `],
  [[["2.5.4.3", "#x"]], String.raw`CN=\#x`],
  [[["2.5.4.3", "a\u001b[2J\n\u0085"]], String.raw`CN=a\1B[2J\0A\C2\85`],
  [[["1.2.3.4", "x"]], "1.2.3.4=x"],
  [[], ""],
])("writes %j as %s", (name, text) => {
  expect(distinguishedNameText(name.map(([oid = "", value = ""]) => ({ oid, value })))).toBe(text);
});
