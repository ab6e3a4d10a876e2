import { once } from "node:events";
import { createServer, type AddressInfo } from "node:net";
import { join } from "node:path";
import { atomicWrite } from "../files/atomic-write.ts";
import { taskParentId } from "../spiffe/reserved.ts";
import type { TrustDomain } from "../spiffe/trust-domain.ts";
import { makeMockKeys, MOCK_FOLDER } from "./ci-mock-place.ts";
import { demonstrationSelector, MOCK_PLATFORMS, mockInstance, mockIssuer } from "./ci-mock-platforms.ts";
import type { EntryOfFile } from "./entry-file.ts";

/** What a laptop's server is configured with so that it believes the imitations of CI platforms. */
export interface DevMock {
  /** `host:port` of the web port: it is known beforehand, as it is part of the issuer. */
  readonly webAddress: string;
  /** The server's issuer URL. */
  readonly issuer: string;
  /** A configuration file with a task attestor for each platform. */
  readonly configFile: string;
}

/**
 * Makes what imitations of CI platforms need in the folder of an `assay dev`: their key, and a task attestor for each.
 * @throws AssayError `FILE_UNAVAILABLE`.
 */
export async function makeDevMock(folder: string): Promise<DevMock> {
  const [port, keysFile] = await Promise.all([freePort(), makeMockKeys(folder)]);
  const webAddress = `127.0.0.1:${port}`;
  const issuer = `https://${webAddress}`;
  const document = {
    jwt_issuer: issuer,
    // The shortest there is: what becomes of a run that was killed can be watched.
    tasks: { lease: "60s" },
    task_attestors: MOCK_PLATFORMS.map((platform) => ({
      name: mockInstance(platform),
      type: "oidc",
      config: {
        preset: platform.preset,
        issuer: mockIssuer(platform),
        jwks_file: keysFile,
        imitation: true,
      },
    })),
  };
  const configFile = join(folder, MOCK_FOLDER, "server.yaml");
  // JSON is YAML.
  await atomicWrite(configFile, Buffer.from(JSON.stringify(document, null, 2)));
  return { webAddress, issuer, configFile };
}

/** The entries by which a run of each imitated platform has a SPIFFE ID. */
export function demonstrationEntries(trustDomain: TrustDomain): readonly EntryOfFile[] {
  return MOCK_PLATFORMS.map((platform) => ({
    id: undefined,
    keys: ["parent_id", "selectors", "id_template"],
    flags: {
      parentId: taskParentId(trustDomain, mockInstance(platform)),
      selector: [demonstrationSelector(platform)],
      idTemplate: platform.template,
    },
  }));
}

async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}
