import { describe, expect, it } from "vitest";
import { eventually } from "../world.ts";
import {
  assay,
  B,
  bundle,
  bundleFlags,
  bundles,
  certificatesIn,
  certificatesOf,
  create,
  createAs,
  ENDPOINT,
  here,
  knowEndpoint,
  OLD,
  redirect,
  refresh,
  refusal,
  relationship,
  restart,
  sequence,
  SVID,
  urlOf,
  useClientWorld,
  writeConfig,
} from "./client-world.ts";
import { documentOf } from "./federation-world.ts";

useClientWorld();

describe("how a relationship is configured", () => {
  it.each(["FE-19", "FE-39"])("%s by an https URL", async () => {
    for (const url of ["http://localhost/", "ftp://localhost/", "localhost"]) {
      expect(await refusal(create(B, url))).toMatch(/https scheme/);
    }
  });

  it.each(["FE-20", "FE-40"])("%s by a URL without user information", async () => {
    for (const url of ["https://u:p@localhost/", "https://u@localhost/", "https://@localhost/"]) {
      expect(await refusal(create(B, url))).toMatch(/user info/);
    }
  });

  it.each(["FE-16", "FE-34", "FE-58"])(
    "%s by URL, profile and trust domain, none of which is guessed",
    async () => {
      expect(
        await refusal(assay("federation", "create", `--url=${urlOf(here.endpoint)}`, "--profile=https_web")),
      ).toMatch(/--trust-domain/);
      expect(
        await refusal(assay("federation", "create", `--trust-domain=${B}`, "--profile=https_web")),
      ).toMatch(/--url/);
      expect(
        await refusal(assay("federation", "create", `--trust-domain=${B}`, `--url=${urlOf(here.endpoint)}`)),
      ).toMatch(/--profile/);
      // The host is called localhost, the trust domain is not.
      await create(B, urlOf(here.endpoint));
      await refresh(B);
      expect((await bundles()).map(({ trust_domain }) => trust_domain)).toEqual([B]);
    },
  );

  it("FE-21 for https_web by nothing else", async () => {
    await create(B, urlOf(here.endpoint));
    await refresh(B);
    expect(await sequence(B)).toBe("1");
  });

  it("FE-41 for https_spiffe by the endpoint's SPIFFE ID, too, and with a bundle to know it by", async () => {
    expect(
      await refusal(
        assay(
          "federation",
          "create",
          `--trust-domain=${B}`,
          `--url=${urlOf(here.endpoint)}`,
          "--profile=https_spiffe",
        ),
      ),
    ).toMatch(/--endpoint-spiffe-id/);
    here.endpoint.show(SVID);
    await create(B, urlOf(here.endpoint), ENDPOINT);
    expect(await refusal(refresh(B))).toMatch(/no X\.509 authority of b\.example/);
    expect(here.endpoint.requests).toEqual([]);
  });

  it.each([
    ["FE-42 by a SPIFFE bundle to begin with", "spiffe", () => documentOf(B, [OLD])],
    ["FE-43 by certificates in PEM to begin with", "pem", () => OLD.pem],
  ])("%s", async (_title, format, content) => {
    here.endpoint.show(SVID);
    await create(B, urlOf(here.endpoint), ENDPOINT, await bundleFlags(format, content()));
    await refresh(B);
    expect(await sequence(B)).toBe("1");
  });
});

describe("how bundles are fetched", () => {
  it.each(["FE-06", "FE-07"])("%s again and again, as often as the hint says", async () => {
    await create(B, urlOf(here.endpoint));
    await eventually(async () => here.endpoint.requests.length >= 3);
    const { last_attempt_at, next_attempt_at } = await relationship(B);
    const wait = (Date.parse(next_attempt_at) - Date.parse(last_attempt_at)) / 1000;
    expect(wait).toBeGreaterThanOrEqual(4);
    expect(wait).toBeLessThanOrEqual(6);
  });

  it("FE-07 every five minutes where there is no hint", async () => {
    here.endpoint.answer = (_request, response) =>
      void response.end(documentOf(B, [OLD], { refreshHint: 0 }));
    await create(B, urlOf(here.endpoint));
    await refresh(B);
    const { last_attempt_at, next_attempt_at } = await relationship(B);
    const wait = (Date.parse(next_attempt_at) - Date.parse(last_attempt_at)) / 1000;
    expect(wait).toBeGreaterThanOrEqual(269);
    expect(wait).toBeLessThanOrEqual(301);
  });

  it("FE-64 no sooner after a failure than after a success", async () => {
    await create(B, urlOf(here.endpoint));
    await refresh(B);
    here.endpoint.answer = (_request, response) => void response.writeHead(500).end();
    const before = here.endpoint.requests.length;
    expect(await refusal(refresh(B))).toMatch(/status 500/);
    const { last_attempt_at, next_attempt_at } = await relationship(B);
    expect(Date.parse(next_attempt_at) - Date.parse(last_attempt_at)).toBeGreaterThanOrEqual(4_000);
    await new Promise((resolve) => setTimeout(resolve, 2_000));
    expect(here.endpoint.requests).toHaveLength(before + 1);
  });

  it.each(["FE-37", "FE-38", "FE-62", "FE-63"])(
    "%s from the configured URL, wherever the fetch before was led to",
    async () => {
      redirect(308);
      await create(B, urlOf(here.endpoint));
      await refresh(B);
      const before = here.endpoint.requests.length;
      await refresh(B);
      expect(here.endpoint.requests.length).toBeGreaterThan(before);
      expect(here.target.requests).toHaveLength(here.endpoint.requests.length);
      expect((await relationship(B)).bundle_endpoint_url).toBe(urlOf(here.endpoint));
    },
  );

  it("FE-67 with a line in the log for each", async () => {
    const from = here.world.server.program.lines.length;
    await create(B, urlOf(here.endpoint));
    await refresh(B);
    const lines = here.world.server.program.lines
      .slice(from)
      .filter((line) => line.includes("foreign bundle fetched"));
    expect(lines).toHaveLength(here.endpoint.requests.length);
    expect(lines[0]).toContain(`"trust_domain":"${B}"`);
  });

  it.each(["FE-35", "FE-59"])("%s after a redirect to another valid URL", async (id) => {
    if (id === "FE-59") await knowEndpoint();
    redirect(302);
    await createAs(id === "FE-59" ? "https_spiffe" : "https_web");
    await refresh(B);
    expect(await sequence(B)).toBe("2");
  });

  it("FE-35 not after a redirect to http or to a URL with user information", async () => {
    await create(B, urlOf(here.endpoint));
    for (const location of [
      `http://localhost:${here.target.port}/`,
      `https://u:p@localhost:${here.target.port}/`,
    ]) {
      redirect(302, location);
      expect(await refusal(refresh(B))).toMatch(/redirects to a URL that may not be asked/);
    }
    expect(here.target.connections).toBe(0);
  });
});

describe("after a restart", () => {
  it("FE-08 a fetched bundle is still there, though nobody answers", async () => {
    await create(B, urlOf(here.endpoint));
    await refresh(B);
    here.endpoint.answer = (_request, response) => void response.destroy();
    await restart([`--config=${here.config}`]);
    expect(certificatesOf(await bundle(B))).toEqual(certificatesIn([OLD]));
  });

  it("FE-66 redirects can be switched off", async () => {
    await restart([`--config=${await writeConfig("no-redirects.yaml", { follow_redirects: false })}`]);
    redirect(302);
    await create(B, urlOf(here.endpoint));
    expect(await refusal(refresh(B))).toMatch(/redirects, which is not followed/);
    expect(here.target.connections).toBe(0);
    await restart([`--config=${here.config}`]);
  });
});
