/** A server at work. Disposing stops it: clients are told `Unavailable`, and it is down within five seconds. */
export interface RunningServer extends AsyncDisposable {
  /** Where it listens, with the ports that the system chose. */
  readonly addresses: {
    readonly api: { readonly host: string; readonly port: number };
    readonly web: { readonly host: string; readonly port: number };
    readonly adminSocket: string;
    /** Where there is one. */
    readonly bundleEndpoint?: { readonly host: string; readonly port: number };
  };
}
