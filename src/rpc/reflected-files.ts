import {
  type DescEnum,
  type DescExtension,
  type DescFile,
  type DescMessage,
  type DescService,
  toBinary,
} from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";

/** What reflection tells of a service. */
export type ReflectedService = Pick<DescService, "typeName" | "file">;

/**
 * The files in which a server's services are described, with all that they import: by name, by what they define, and
 * in the form in which they travel (`google.protobuf.FileDescriptorProto`). Read on first use, and again after another
 * service was registered.
 */
export class ReflectedFiles {
  readonly #services: () => readonly ReflectedService[];
  readonly #bytes = new Map<DescFile, Uint8Array>();
  #index: Index | undefined;

  constructor(services: () => readonly ReflectedService[]) {
    this.#services = services;
  }

  /** The full names of the services, sorted. */
  services(): readonly string[] {
    return this.#services()
      .map(({ typeName }) => typeName)
      .toSorted();
  }

  /** The file of a name such as `a/b.proto` and what it imports, directly or not, itself first. */
  byName(name: string): readonly Uint8Array[] | undefined {
    return this.#withImports(this.#current().files.get(name));
  }

  /** The file that defines a service, method, message, field, enum or extension of a full name. */
  bySymbol(symbol: string): readonly Uint8Array[] | undefined {
    return this.#withImports(this.#current().symbols.get(symbol));
  }

  /** The file that defines the extension of a message with a field number. */
  byExtension(containingType: string, number: number): readonly Uint8Array[] | undefined {
    return this.#withImports(this.#current().extensions.get(containingType)?.get(number));
  }

  /** The field numbers of a message's known extensions; undefined if there is no such message. */
  extensionNumbers(containingType: string): readonly number[] | undefined {
    const { extensions, messages } = this.#current();
    if (!messages.has(containingType)) return undefined;
    return [...(extensions.get(containingType)?.keys() ?? [])].toSorted((a, b) => a - b);
  }

  #withImports(file: DescFile | undefined): readonly Uint8Array[] | undefined {
    return file === undefined ? undefined : [...closure([file])].map((one) => this.#encoded(one));
  }

  #encoded(file: DescFile): Uint8Array {
    const known = this.#bytes.get(file);
    if (known !== undefined) return known;
    const bytes = toBinary(FileDescriptorProtoSchema, file.proto);
    this.#bytes.set(file, bytes);
    return bytes;
  }

  #current(): Index {
    const services = this.#services();
    if (this.#index?.services !== services.length) this.#index = indexOf(services);
    return this.#index;
  }
}

interface Index {
  /** Of how many services this was made. */
  readonly services: number;
  readonly files: Map<string, DescFile>;
  readonly symbols: Map<string, DescFile>;
  readonly messages: Set<string>;
  /** By the message that is extended and the field's number. */
  readonly extensions: Map<string, Map<number, DescFile>>;
}

function indexOf(services: readonly ReflectedService[]): Index {
  const index: Index = {
    services: services.length,
    files: new Map(),
    symbols: new Map(),
    messages: new Set(),
    extensions: new Map(),
  };
  for (const file of closure(services.map((service) => service.file))) {
    // The library leaves the ending out.
    index.files.set(file.proto.name, file);
    for (const service of file.services) {
      index.symbols.set(service.typeName, file);
      for (const method of service.methods) index.symbols.set(`${service.typeName}.${method.name}`, file);
    }
    addTypes(index, file, file);
  }
  return index;
}

function addTypes(index: Index, file: DescFile, scope: Scope): void {
  for (const message of "messages" in scope ? scope.messages : scope.nestedMessages) {
    index.symbols.set(message.typeName, file);
    index.messages.add(message.typeName);
    for (const field of message.fields) index.symbols.set(`${message.typeName}.${field.name}`, file);
    addTypes(index, file, message);
  }
  for (const { typeName } of "enums" in scope ? scope.enums : scope.nestedEnums) {
    index.symbols.set(typeName, file);
  }
  for (const extension of "extensions" in scope ? scope.extensions : scope.nestedExtensions) {
    index.symbols.set(extension.typeName, file);
    const known = index.extensions.get(extension.extendee.typeName) ?? new Map<number, DescFile>();
    index.extensions.set(extension.extendee.typeName, known.set(extension.number, file));
  }
}

/** Some files and all that they import, each once, before what it imports. */
function closure(files: readonly DescFile[]): ReadonlySet<DescFile> {
  const all = new Set(files);
  // A set goes on with what is added meanwhile.
  for (const file of all) for (const imported of file.dependencies) all.add(imported);
  return all;
}

/** Where types are defined: a file, or a message within which they are. */
type Scope =
  | {
      readonly messages: readonly DescMessage[];
      readonly enums: readonly DescEnum[];
      readonly extensions: readonly DescExtension[];
    }
  | {
      readonly nestedMessages: readonly DescMessage[];
      readonly nestedEnums: readonly DescEnum[];
      readonly nestedExtensions: readonly DescExtension[];
    };
