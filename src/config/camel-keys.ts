/** A key of the file, `snake_case`, as the programs spell it, `camelCase`. */
type Camel<Key extends string> = Key extends `${infer First}_${infer Rest}`
  ? `${First}${Capitalize<Camel<Rest>>}`
  : Key;

/** A configuration with the programs' keys. What a plugin keeps under `config` stays as it is. */
export type CamelKeys<Value> = Value extends string | number | boolean | null | undefined
  ? Value
  : Value extends readonly (infer Item)[]
    ? readonly CamelKeys<Item>[]
    : Value extends object
      ? {
          readonly [Key in keyof Value as Key extends string ? Camel<Key> : Key]: Key extends "config"
            ? Value[Key]
            : CamelKeys<Value[Key]>;
        }
      : Value;

/** A frozen copy of plain data whose keys are spelled as the programs do. */
export function camelKeys<Value>(value: Value): CamelKeys<Value> {
  return convert(value) as CamelKeys<Value>;
}

function convert(value: unknown): unknown {
  if (Array.isArray(value)) return Object.freeze(value.map(convert));
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).map(([key, item]: [string, unknown]) => {
    return [
      key.replaceAll(/_(.)/g, (_, letter: string) => letter.toUpperCase()),
      key === "config" ? item : convert(item),
    ];
  });
  return Object.freeze(Object.fromEntries(entries));
}
