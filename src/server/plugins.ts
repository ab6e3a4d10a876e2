import { uniqueId } from "../composers/unique-id/unique-id.ts";
import type { CredentialComposer } from "../plugin/credential-composer.ts";
import { join } from "node:path";
import { nodeAttestors, taskAttestors } from "../attestation/catalog/kinds.ts";
import {
  checkPlugins,
  instancesByName,
  type LoadablePlugin,
  type LoadedPlugins,
  loadPlugins,
  type PluginKind,
} from "../attestation/catalog/load-plugin.ts";
import type { Clock } from "../clock.ts";
import { awsKmsKeyManager } from "../keys/aws-kms/aws-kms.ts";
import { azureKeyVaultKeyManager } from "../keys/azure-key-vault/azure-key-vault.ts";
import { diskKeyManager } from "../keys/disk/disk.ts";
import { guardKeyManager } from "../keys/guarded.ts";
import type { KeyManagerState } from "../keys/key-manager-state.ts";
import { gcpKmsKeyManager } from "../keys/gcp-kms/gcp-kms.ts";
import { hashicorpVaultKeyManager } from "../keys/hashicorp-vault/hashicorp-vault.ts";
import { memoryKeyManager } from "../keys/memory/memory.ts";
import { pkcs11KeyManager } from "../keys/pkcs11/pkcs11.ts";
import { FIELD } from "../observe/fields.ts";
import type { Log } from "../observe/log.ts";
import type { PluginHost } from "../plugin/host.ts";
import type { KeyManager } from "../plugin/key-manager.ts";
import type { NodeAttestor, NodeAttestorHost } from "../plugin/node-attestor.ts";
import type { TaskAttestor } from "../plugin/task-attestor.ts";
import type { UpstreamAuthority } from "../plugin/upstream-authority.ts";
import type { TrustDomain } from "../spiffe/trust-domain.ts";
import { awsPcaUpstream } from "../upstream/aws-pca/aws-pca.ts";
import { certManagerUpstream } from "../upstream/cert-manager/cert-manager.ts";
import { diskUpstream } from "../upstream/disk/disk.ts";
import { gcpCasUpstream } from "../upstream/gcp-cas/gcp-cas.ts";
import { spireUpstream } from "../upstream/spire/spire.ts";
import { vaultUpstream } from "../upstream/vault/vault.ts";
import { AssayError } from "../errors/assay-error.ts";
import type { PluginChoice, TaskAttestorChoice } from "./options.ts";

/** The key managers a server can have. */
export const keyManagers: PluginKind<PluginHost, KeyManager> = {
  kind: "keyManager",
  label: "key manager",
  builtIns: new Map<string, LoadablePlugin<PluginHost, KeyManager>>([
    [awsKmsKeyManager.name, awsKmsKeyManager],
    [azureKeyVaultKeyManager.name, azureKeyVaultKeyManager],
    [diskKeyManager.name, diskKeyManager],
    [gcpKmsKeyManager.name, gcpKmsKeyManager],
    [hashicorpVaultKeyManager.name, hashicorpVaultKeyManager],
    [memoryKeyManager.name, memoryKeyManager],
    [pkcs11KeyManager.name, pkcs11KeyManager],
  ]),
  sealed: new Set(),
  methods: ["generateKey", "getKey", "listKeys", "deleteKey"],
};

/** The upstream authorities a server can have. */
export const upstreamAuthorities: PluginKind<PluginHost, UpstreamAuthority> = {
  kind: "upstreamAuthority",
  label: "upstream authority",
  builtIns: new Map<string, LoadablePlugin<PluginHost, UpstreamAuthority>>([
    [awsPcaUpstream.name, awsPcaUpstream],
    [certManagerUpstream.name, certManagerUpstream],
    [diskUpstream.name, diskUpstream],
    [gcpCasUpstream.name, gcpCasUpstream],
    [spireUpstream.name, spireUpstream],
    [vaultUpstream.name, vaultUpstream],
  ]),
  sealed: new Set(),
  methods: ["mintX509Ca"],
};

/** The credential composers a server can have. */
export const credentialComposers: PluginKind<PluginHost, CredentialComposer> = {
  kind: "credentialComposer",
  label: "credential composer",
  builtIns: new Map<string, LoadablePlugin<PluginHost, CredentialComposer>>([[uniqueId.name, uniqueId]]),
  sealed: new Set(),
  methods: [],
  oneOf: ["composeX509Svid", "composeJwtSvid"],
};

/** What every plugin of the server is given. */
export interface PluginSurroundings {
  readonly trustDomain: TrustDomain;
  readonly clock: Clock;
  readonly log: Log;
}

/**
 * Finds every plugin that the operator chose and checks its settings, without making any: what is wrong is said before
 * anything is written.
 * @throws AssayError `CONFIG_INVALID`.
 */
export async function checkServerPlugins(choices: {
  readonly keyManager: PluginChoice;
  readonly upstreamAuthority?: PluginChoice | undefined;
  readonly nodeAttestors: readonly PluginChoice[];
  readonly credentialComposers?: readonly PluginChoice[] | undefined;
  readonly taskAttestors?: readonly TaskAttestorChoice[] | undefined;
  readonly jwtIssuer?: string | undefined;
  readonly dataDir: string;
}): Promise<void> {
  await checkPlugins(keyManagers, [keyManagerEntry(choices.keyManager, choices.dataDir)]);
  await checkPlugins(upstreamAuthorities, chosen(choices.upstreamAuthority));
  await checkPlugins(nodeAttestors, choices.nodeAttestors.map(entryOf));
  await checkPlugins(credentialComposers, (choices.credentialComposers ?? []).map(entryOf));
  const ofTasks = choices.taskAttestors ?? [];
  if (ofTasks.length > 0 && choices.jwtIssuer === undefined) {
    throw new AssayError("CONFIG_INVALID", "task attestors need jwtIssuer, the audience of their tokens");
  }
  await checkPlugins(taskAttestors, ofTasks.map(taskEntryOf));
}

/**
 * Loads the one key manager that the operator chose.
 * @throws AssayError `CONFIG_INVALID`, `KEY_FILE_INVALID` and what a plugin throws.
 */
export async function loadKeyManager(
  choice: PluginChoice,
  dataDir: string,
  surroundings: PluginSurroundings,
): Promise<LoadedKeyManager> {
  const loaded = await loadPlugins(keyManagers, [keyManagerEntry(choice, dataDir)], (name) =>
    hostOf(surroundings, name),
  );
  const [first] = loaded.all;
  if (first === undefined) throw new Error("a key manager was asked for and none came");
  const isLocal = first.origin === "built-in" && LOCAL_KEY_MANAGERS.has(first.name);
  if (isLocal) {
    return {
      keyManager: first.instance,
      state: undefined,
      [Symbol.asyncDispose]: () => loaded[Symbol.asyncDispose](),
    };
  }
  const log = surroundings.log.child({ [FIELD.plugin]: first.name });
  const guarded = guardKeyManager(first.instance, {
    clock: surroundings.clock,
    report: ({ status, cause }) => {
      if (status === "ok") log.info("the key manager works again");
      else log.error("the key manager is in trouble", { [FIELD.detail]: cause });
    },
  });
  return {
    keyManager: guarded,
    state: () => guarded.state(),
    // Disposes the manager too, in time.
    [Symbol.asyncDispose]: () => guarded[Symbol.asyncDispose](),
  };
}

/** A key manager at work. */
export interface LoadedKeyManager extends AsyncDisposable {
  readonly keyManager: KeyManager;
  /** How it is, where it is not in this process. */
  readonly state: (() => KeyManagerState) | undefined;
}

/**
 * Loads the upstream authority, where the operator chose one.
 * @throws AssayError `CONFIG_INVALID` and what a plugin throws.
 */
export async function loadUpstreamAuthority(
  choice: PluginChoice | undefined,
  surroundings: PluginSurroundings,
): Promise<{ readonly upstream: UpstreamAuthority | undefined } & AsyncDisposable> {
  const loaded = await loadPlugins(upstreamAuthorities, chosen(choice), (name) => hostOf(surroundings, name));
  return { upstream: loaded.all[0]?.instance, [Symbol.asyncDispose]: () => loaded[Symbol.asyncDispose]() };
}

/**
 * Loads the credential composers that the operator chose, by name, in their order.
 * @throws AssayError `CONFIG_INVALID` and what a plugin throws.
 */
export async function loadCredentialComposers(
  choices: readonly PluginChoice[],
  surroundings: PluginSurroundings,
): Promise<{ readonly composers: ReadonlyMap<string, CredentialComposer> } & AsyncDisposable> {
  const loaded = await loadPlugins(credentialComposers, choices.map(entryOf), (name) =>
    hostOf(surroundings, name),
  );
  return { composers: instancesByName(loaded), [Symbol.asyncDispose]: () => loaded[Symbol.asyncDispose]() };
}

/**
 * Loads the node attestors that the operator chose, by name.
 * @throws AssayError `CONFIG_INVALID` and what a plugin throws.
 */
export async function loadNodeAttestors(
  choices: readonly PluginChoice[],
  surroundings: PluginSurroundings,
  consumeJoinToken: NodeAttestorHost["consumeJoinToken"],
): Promise<{ readonly attestors: ReadonlyMap<string, NodeAttestor> } & AsyncDisposable> {
  const loaded: LoadedPlugins<NodeAttestor> = await loadPlugins(
    nodeAttestors,
    choices.map(entryOf),
    (name) => ({
      ...hostOf(surroundings, name),
      consumeJoinToken,
    }),
  );
  return { attestors: instancesByName(loaded), [Symbol.asyncDispose]: () => loaded[Symbol.asyncDispose]() };
}

/**
 * Loads the task attestors that the operator chose, by the operator's names for them.
 * @param audience What a token must name: the server's issuer.
 * @throws AssayError `CONFIG_INVALID` and what a plugin throws.
 */
export async function loadTaskAttestors(
  choices: readonly TaskAttestorChoice[],
  surroundings: PluginSurroundings,
  audience: string,
): Promise<{ readonly attestors: ReadonlyMap<string, TaskAttestor> } & AsyncDisposable> {
  const loaded: LoadedPlugins<TaskAttestor> = await loadPlugins(
    taskAttestors,
    choices.map(taskEntryOf),
    (instance) => ({ ...hostOf(surroundings, instance), instance, audience }),
  );
  return { attestors: instancesByName(loaded), [Symbol.asyncDispose]: () => loaded[Symbol.asyncDispose]() };
}

// The disk key manager has a natural place: beside the store whose authorities its keys belong to.
function keyManagerEntry(choice: PluginChoice, dataDir: string) {
  const isPlain = choice.type === diskKeyManager.name && choice.config === undefined;
  return entryOf(isPlain ? { ...choice, config: { directory: join(dataDir, "keys") } } : choice);
}

function entryOf({ type, module, config }: PluginChoice) {
  return { name: type, module, config: config ?? {} };
}

function chosen(choice: PluginChoice | undefined) {
  return choice === undefined ? [] : [entryOf(choice)];
}

function taskEntryOf(choice: TaskAttestorChoice) {
  return { ...entryOf(choice), instance: choice.name };
}

function hostOf({ trustDomain, clock, log }: PluginSurroundings, name: string): PluginHost {
  return { trustDomain, clock, log: log.child({ [FIELD.plugin]: name }) };
}

// In this process, or a file away: nothing to wait for.
const LOCAL_KEY_MANAGERS: ReadonlySet<string> = new Set([diskKeyManager.name, memoryKeyManager.name]);
