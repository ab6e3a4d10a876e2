import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { loadServerConfig } from "./server-config.ts";

const WEB = {
  trust_domain: "b.example",
  bundle_endpoint_url: "https://b.example",
  bundle_endpoint_profile: "https_web",
};
const ACME = { domains: ["bundle.example.org"], tos_accepted: true };
const ENDPOINT = { listen: "127.0.0.1:8543", profile: "https_spiffe" };

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "config-"));
  await writeFile(join(folder, "cert.pem"), "");
  await writeFile(join(folder, "key.pem"), "");
});
afterEach(() => rm(folder, { recursive: true }));

describe("the configuration of federation", () => {
  it("is off where it is absent", async () => {
    expect((await load(undefined)).federation).toBeUndefined();
  });

  it("fills in what is not said", async () => {
    expect((await load({ federates_with: [WEB], bundle_endpoint: ENDPOINT })).federation).toEqual({
      bundleEndpoint: {
        listen: { host: "127.0.0.1", port: 8543 },
        profile: "https_spiffe",
        refreshHint: 300,
      },
      federatesWith: [
        {
          trustDomain: "b.example",
          bundleEndpointUrl: "https://b.example/",
          bundleEndpointProfile: "https_web",
        },
      ],
      allowedAddresses: [],
      followRedirects: true,
    });
  });

  it("reads every key, with files meant from the configuration's folder", async () => {
    const { federation } = await load({
      bundle_endpoint: {
        ...ENDPOINT,
        profile: "https_web",
        certificate_file: "cert.pem",
        key_file: "key.pem",
        refresh_hint: "10s",
      },
      allowed_addresses: ["10.0.0.0/8", "fd00::/8"],
      follow_redirects: false,
    });
    expect(federation).toMatchObject({
      bundleEndpoint: {
        refreshHint: 10,
        certificateFile: join(folder, "cert.pem"),
        keyFile: join(folder, "key.pem"),
      },
      allowedAddresses: [{ address: "10.0.0.0", prefix: 8, family: "ipv4" }, { family: "ipv6" }],
      followRedirects: false,
    });
    const acme = await load({ bundle_endpoint: { ...ENDPOINT, profile: "https_web", acme: ACME } });
    expect(acme.federation?.bundleEndpoint?.acme?.directoryUrl).toBe(
      "https://acme-v02.api.letsencrypt.org/directory",
    );
  });

  it.each([
    [{ federates_with: [{ ...WEB, bundle_endpoint_url: "http://b.example" }] }, /must use the https scheme/],
    [
      { federates_with: [{ ...WEB, bundle_endpoint_url: "https://u:p@b.example" }] },
      /must not contain user info/,
    ],
    [{ federates_with: [{ ...WEB, bundle_endpoint_profile: "https" }] }, /https_web or https_spiffe/],
    [
      { federates_with: [{ ...WEB, bundle_endpoint_profile: "https_spiffe" }] },
      /needs the SPIFFE ID of the endpoint/,
    ],
    [{ federates_with: [{ ...WEB, endpoint_spiffe_id: "spiffe://b.example/x" }] }, /https_spiffe only/],
    [{ federates_with: [{ ...WEB, trust_domain: "example.org" }] }, /got the own/],
    [{ federates_with: [WEB, WEB] }, /got b\.example twice/],
    [{ federates_with: [{ ...WEB, bundle_file: "relative.json" }] }, /absolute path/],
    [{ allowed_addresses: ["private"] }, /such as 10\.0\.0\.0\/8/],
    [{ bundle_endpoint: { ...ENDPOINT, listen: "127.0.0.1:8081" } }, /an address of its own/],
    [{ bundle_endpoint: { ...ENDPOINT, refresh_hint: "1s" } }, /5s to 24h/],
    [{ bundle_endpoint: { ...ENDPOINT, acme: ACME } }, /expected https_web where/],
    [
      { bundle_endpoint: { ...ENDPOINT, profile: "https_web" } },
      /needs certificate_file and key_file, or acme/,
    ],
    [
      { bundle_endpoint: { ...ENDPOINT, profile: "https_web", certificate_file: "cert.pem" } },
      /needs certificate_file and key_file/,
    ],
    [
      {
        bundle_endpoint: {
          ...ENDPOINT,
          profile: "https_web",
          certificate_file: "cert.pem",
          key_file: "key.pem",
          acme: ACME,
        },
      },
      /either certificate files or acme/,
    ],
    [
      { bundle_endpoint: { ...ENDPOINT, profile: "https_web", acme: { ...ACME, tos_accepted: false } } },
      /without which no CA/,
    ],
    [
      {
        bundle_endpoint: { ...ENDPOINT, profile: "https_web", acme: { ...ACME, domains: ["*.example.org"] } },
      },
      /DNS name/,
    ],
    [{ bundle_endpont: ENDPOINT }, /did you mean bundle_endpoint/],
  ])("refuses %o", async (federation, reason) => {
    await expect(load(federation)).rejects.toThrowCode("CONFIG_INVALID", reason);
  });
});

async function load(federation: object | undefined) {
  const file = join(folder, "server.yaml");
  // JSON is YAML.
  await writeFile(
    file,
    JSON.stringify({ trust_domain: "example.org", data_dir: folder, ...(federation && { federation }) }),
  );
  return loadServerConfig({ file }).config;
}
