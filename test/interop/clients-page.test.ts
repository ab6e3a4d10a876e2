import { mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { output, run } from "../e2e/program.ts";
import type { Scratch } from "../e2e/scratch.ts";
import { type Issuer, NODE_ID, startIssuer } from "./issuers.ts";
import { BUILD_PATIENCE, buildPeer, describeWith, type Need, type Peer, placeForAll } from "./peers.ts";

const READER = { uid: 61701, id: "spiffe://example.org/reader-of-the-page" };

/** How a program of the page is run, with the libraries of the peer in the same language. */
const PROGRAMS: readonly {
  readonly name: string;
  readonly needs: readonly Need[];
  readonly peer: Peer;
  readonly words: (
    program: string,
    peer: string,
    scratch: Scratch,
  ) => Promise<readonly [string, ...string[]]>;
}[] = [
  {
    name: "go",
    needs: ["go"],
    peer: "go-client",
    async words(program, _peer, scratch) {
      const folder = await folderOf(scratch, "go-client", ["go.mod", "go.sum"], { "main.go": program });
      await output("go", ["build", "-C", folder, "-mod=mod", "-o", "snippet", "."], {
        patience: BUILD_PATIENCE,
      });
      return [join(folder, "snippet")];
    },
  },
  {
    name: "python",
    needs: ["python"],
    peer: "py-client",
    async words(program, peer, scratch) {
      const folder = await folderOf(scratch, "py-client", [], { "snippet.py": program });
      const libraries = `PYTHONPATH=${join(await placeForAll(peer, scratch), "lib")}`;
      return ["/usr/bin/env", libraries, "/usr/bin/python3", join(folder, "snippet.py")];
    },
  },
  {
    name: "java",
    needs: ["java"],
    peer: "java-client",
    async words(program, peer, scratch) {
      const folder = await folderOf(scratch, "java-client", [], { "Snippet.java": program });
      const jars = join(await placeForAll(peer, scratch), "jars", "*");
      return ["java", "-cp", jars, join(folder, "Snippet.java")];
    },
  },
  {
    name: "rust",
    needs: ["rust"],
    peer: "rust-client",
    async words(program, peer, scratch) {
      const folder = await folderOf(scratch, "rust-client", ["Cargo.toml", "Cargo.lock"], {
        "src/main.rs": program,
      });
      // Where the peer's libraries are compiled already.
      const target = join(dirname(peer), ".rust-target");
      const manifest = ["--manifest-path", join(folder, "Cargo.toml"), "--target-dir", target];
      await output("cargo", ["build", "-q", "--release", ...manifest], { patience: BUILD_PATIENCE });
      return [await placeForAll(join(target, "release", "snippet"), scratch)];
    },
  },
];

describeWith(["go", "root"], "the programs of docs/clients.md", () => {
  let issuer: Issuer;
  let page: string;

  beforeAll(async () => {
    page = await readFile(join(import.meta.dirname, "..", "..", "docs", "clients.md"), "utf8");
    const selectors = [`unix:uid:${READER.uid}`];
    issuer = await startIssuer("assay", await buildPeer("spire"), [
      { parentId: NODE_ID, spiffeId: READER.id, selectors },
    ]);
  }, BUILD_PATIENCE);

  afterAll(async () => {
    await issuer?.[Symbol.asyncDispose]();
  });

  for (const { name, needs, peer, words } of PROGRAMS) {
    describeWith(needs, name, () => {
      it("prints the reader's SPIFFE ID", async () => {
        const [, program] = new RegExp(`\`\`\`${name} name=${name}\\n([^]*?)\`\`\``).exec(page) ?? [];
        if (program === undefined) throw new Error(`docs/clients.md has no program ${name}`);
        const [command, ...args] = await words(program, await buildPeer(peer), issuer.scratch);
        const { code, stdout, stderr } = await run(command, args, {
          uid: READER.uid,
          gid: READER.uid,
          cwd: "/",
          env: { SPIFFE_ENDPOINT_SOCKET: issuer.endpoint },
        });
        expect(code, stderr).toBe(0);
        expect(stdout.trim()).toBe(READER.id);
      });
    });
  }
});

/** A folder with files of a peer, under the name of the snippet, and with files of its own. */
async function folderOf(
  scratch: Scratch,
  peer: Peer,
  shared: readonly string[],
  own: Readonly<Record<string, string>>,
): Promise<string> {
  const folder = scratch.at(`page-${peer}`);
  for (const [name, text] of Object.entries(own)) {
    await mkdir(dirname(join(folder, name)), { recursive: true });
    await writeFile(join(folder, name), text);
  }
  for (const name of shared) {
    const text = await readFile(join(import.meta.dirname, "peers", peer, name), "utf8");
    await writeFile(join(folder, name), text.replaceAll("spiffe-probe", "snippet"));
  }
  return folder;
}
