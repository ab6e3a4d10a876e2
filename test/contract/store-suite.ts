/**
 * contract/ — what every implementation of a contract has to show, written once and run for each.
 *
 * Must never know an implementation: it gets one from the test that calls it.
 * Called by the tests of each implementation.
 */
import { afterEach, beforeEach, describe } from "vitest";
import type { Store } from "../../src/store/store.ts";
import { authorityContract } from "./store-authorities.ts";
import { bundleContract } from "./store-bundles.ts";
import { credentialContract } from "./store-credentials.ts";
import { crlContract } from "./store-crls.ts";
import { changeContract } from "./store-changes.ts";
import { federationContract } from "./store-federation.ts";
import { entryContract } from "./store-entries.ts";
import { nodeContract } from "./store-nodes.ts";
import { joinTokenContract } from "./store-join-tokens.ts";
import { taskContract } from "./store-tasks.ts";

/** A fresh, empty store of trust domain `example.org`. */
export interface OpenedStore {
  readonly store: Store;
  /** Closes what is open and opens the same data again, as after a restart. */
  reopen(): Promise<Store>;
  /** Closes and removes everything. */
  remove(): Promise<void>;
}

/** The store under test; `store` changes with each `reopen`. */
export interface StoreUnderTest {
  readonly store: Store;
  reopen(): Promise<Store>;
}

/** Declares the tests that a store has to pass. */
export function storeContract(name: string, open: () => Promise<OpenedStore>): void {
  describe(`${name} keeps the store's contract`, () => {
    let opened: OpenedStore;
    let current: Store;
    const subject: StoreUnderTest = {
      get store() {
        return current;
      },
      async reopen() {
        current = await opened.reopen();
        return current;
      },
    };
    beforeEach(async () => {
      opened = await open();
      current = opened.store;
    });
    afterEach(async () => {
      await opened.remove();
    });
    entryContract(subject);
    nodeContract(subject);
    joinTokenContract(subject);
    authorityContract(subject);
    bundleContract(subject);
    federationContract(subject);
    crlContract(subject);
    taskContract(subject);
    credentialContract(subject);
    changeContract(subject);
  });
}
