import { writeFile } from "node:fs/promises";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type AssayServer, placeServer, startServer } from "../e2e/harness.ts";
import { makeScratch, type Scratch } from "../e2e/scratch.ts";
import { makeCa, makeCredential, RemoteServer } from "../fakes/remote-server.ts";
import { BUILD_PATIENCE, buildPeer, describeWith } from "./peers.ts";
import { spireCli, type SpireCli } from "./spire.ts";

const PARTNER = "partner.example";

describeWith(["go"], "spire-server federation, on our admin socket", () => {
  let scratch: Scratch;
  let server: AssayServer;
  let endpoint: RemoteServer;
  let cli: SpireCli;

  beforeAll(async () => {
    const programs = await buildPeer("spire");
    scratch = await makeScratch();
    const ca = makeCa("web CA");
    endpoint = await RemoteServer.start(makeCredential(ca, { dnsNames: ["localhost"] }), '{"keys":[]}');
    await writeFile(scratch.at("ca.pem"), ca.pem);
    const federation = { trusted_ca_file: scratch.at("ca.pem"), allowed_addresses: ["127.0.0.0/8", "::1"] };
    // JSON is YAML.
    await writeFile(scratch.at("server.yaml"), JSON.stringify({ federation }));
    server = await startServer(await placeServer(scratch), [`--config=${scratch.at("server.yaml")}`]);
    cli = spireCli(programs, server.place.adminSocket);
  }, BUILD_PATIENCE);

  afterAll(async () => {
    await server?.[Symbol.asyncDispose]();
    await endpoint?.[Symbol.asyncDispose]();
    await scratch?.[Symbol.asyncDispose]();
  });

  it("creates, lists and shows a relationship", async () => {
    const created = await cli.text("federation", "create", ...web(`https://localhost:${endpoint.port}/`));
    expect(created).toContain(`Trust domain              : ${PARTNER}`);
    expect(await cli.text("federation", "list")).toContain("Found 1 federation relationship");
    const shown = await cli.text("federation", "show", "-trustDomain", PARTNER);
    expect(shown).toContain("Bundle endpoint profile   : https_web");
  });

  it("says what is wrong in the words that its users know", async () => {
    const again = await cli.try("federation", "create", ...web(`https://localhost:${endpoint.port}/`));
    expect(again.code).toBe(1);
    expect(again.stdout + again.stderr).toMatch(/AlreadyExists.*failed to create federation relationship/s);
    const wrong = await cli.try("federation", "update", ...web("http://localhost/"));
    expect(wrong.stdout + wrong.stderr).toMatch(/bundle endpoint URL must use the https scheme/);
    const none = await cli.try("federation", "refresh", "-id", "none.example");
    expect(none.stdout + none.stderr).toContain(
      'there is no federation relationship with trust domain "none.example"',
    );
  });

  it("updates, refreshes and deletes it", async () => {
    const url = `https://localhost:${endpoint.port}/moved`;
    expect(await cli.text("federation", "update", ...web(url))).toContain(url);
    expect(await cli.text("federation", "refresh", "-id", PARTNER)).toContain("Bundle refreshed");
    expect(endpoint.requests.at(-1)).toBe("GET /moved");
    expect(await cli.text("bundle", "list", "-id", `spiffe://${PARTNER}`, "-format", "spiffe")).toContain(
      "keys",
    );
    expect(await cli.text("federation", "delete", "-id", PARTNER)).toContain("deleted");
    expect(await cli.text("federation", "list")).toContain("Found 0 federation relationships");
  });
});

function web(url: string): readonly string[] {
  return ["-trustDomain", PARTNER, "-bundleEndpointURL", url, "-bundleEndpointProfile", "https_web"];
}
