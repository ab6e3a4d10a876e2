import { FLAG, FRAME, frame, messageFrame, numberFrame, RawConnection, settingsFrame } from "./frames.ts";
import { indexed, literal, requestHeaders } from "./hpack.ts";

/** One way to be a nuisance. Goes on until told to stop, and says how its connections were ended. */
export interface Abuse {
  readonly name: string;
  run(path: string, signal: AbortSignal): Promise<string>;
}

export const AUTHORITY = literal(":authority", "localhost");
const STREAMING = requestHeaders(AUTHORITY, "/SpiffeWorkloadAPI/FetchX509Bundles");
const WATCHING = requestHeaders(AUTHORITY, "/SpiffeWorkloadAPI/FetchX509SVID");

/** A call, begun and taken back. */
export function resetPair(stream: number): Buffer {
  return Buffer.concat([
    frame(FRAME.headers, FLAG.endHeaders, stream, WATCHING),
    messageFrame(stream),
    numberFrame(FRAME.rstStream, stream, 8),
  ]);
}

/** A call of a stream that gets updates. */
export function streamingCall(stream: number): Buffer {
  return Buffer.concat([frame(FRAME.headers, FLAG.endHeaders, stream, STREAMING), messageFrame(stream)]);
}

/** A call of a stream that gets one message and then waits. */
export function idleCall(stream: number): Buffer {
  return Buffer.concat([frame(FRAME.headers, FLAG.endHeaders, stream, WATCHING), messageFrame(stream)]);
}

/** Headers that fill the table once, and then 16,000 octets that each stand for 4000. */
export function headerBomb(stream: number): Buffer {
  const filler = literal("x", "y".repeat(3900), { representation: "added" });
  const bomb = Buffer.concat(Array.from({ length: 12_000 }, () => indexed(62)));
  return frame(FRAME.headers, FLAG.endHeaders, stream, Buffer.concat([filler, bomb]));
}

/** A block of more than 64 KiB. */
export function hugeHeaders(stream: number): Buffer {
  const field = literal("x", "y".repeat(16_000));
  return Buffer.concat([
    frame(FRAME.headers, 0, stream, field),
    ...Array.from({ length: 5 }, (_, i) =>
      frame(FRAME.continuation, i === 4 ? FLAG.endHeaders : 0, stream, field),
    ),
  ]);
}

/** A block of a thousand small fields. */
export function manyHeaders(stream: number): Buffer {
  const fields = Buffer.concat(Array.from({ length: 1000 }, (_, i) => literal(`x${i}`, "y")));
  return frame(FRAME.headers, FLAG.endHeaders, stream, Buffer.concat([STREAMING, fields]));
}

/** A request of which all but the last octet are sent: 64 KiB, as much as the window lets through at once. */
export function unfinishedCall(stream: number, size: number): Buffer {
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(size, 1);
  return Buffer.concat([
    frame(FRAME.headers, FLAG.endHeaders, stream, STREAMING),
    frame(FRAME.data, 0, stream, prefix),
  ]);
}

/** Begins a block and never ends it. */
export const OPEN_BLOCK = frame(FRAME.headers, 0, 1, STREAMING);
export const EMPTY_CONTINUATION = frame(FRAME.continuation, 0, 1);
export const PING = frame(FRAME.ping, 0, 0, Buffer.alloc(8));

/** Every abuse, each on several connections at once where one connection would not do. */
export const ABUSES: readonly Abuse[] = [
  flood("rapid reset", (stream) => resetPair(stream)),
  flood("CONTINUATION, empty, without end", (_, i) => (i === 0 ? OPEN_BLOCK : EMPTY_CONTINUATION)),
  flood("CONTINUATION, full, without end", (_, i) =>
    i === 0 ? OPEN_BLOCK : frame(FRAME.continuation, 0, 1, literal("x", "y".repeat(16_000))),
  ),
  flood("PING", () => PING),
  flood("PING, answers not read", () => PING, { read: false }),
  flood("SETTINGS", () => settingsFrame({ 4: 65_535 })),
  flood("empty DATA", (_, i) =>
    i === 0 ? frame(FRAME.headers, FLAG.endHeaders, 1, STREAMING) : frame(FRAME.data, 0, 1),
  ),
  flood("WINDOW_UPDATE", () => numberFrame(FRAME.windowUpdate, 0, 1)),
  flood("PRIORITY", () => frame(FRAME.priority, 0, 3, Buffer.of(0, 0, 0, 0, 1))),
  flood("frames of unknown type", () => frame(0xbe, 0, 0, Buffer.alloc(8))),
  flood("HPACK bomb", (stream) => headerBomb(stream)),
  flood("huge headers", (stream) => hugeHeaders(stream)),
  flood("a thousand headers", (stream) => manyHeaders(stream)),
  flood(":authority of 16 KiB of slashes", (stream) =>
    frame(FRAME.headers, FLAG.endHeaders, stream, requestHeaders(literal(":authority", "/".repeat(16_000)))),
  ),
  hold(
    "slow readers: 100 x 100 streams with updates, nothing read",
    100,
    (connection) => {
      connection.socket.pause();
      connection.write(numberFrame(FRAME.windowUpdate, 0, 2 ** 30));
      for (let i = 0; i < 100; i++) connection.write(streamingCall(2 * i + 1));
    },
    { 4: 2 ** 30 },
  ),
  hold(
    "zero windows: 10 x 1000 streams with updates",
    10,
    (connection) => {
      for (let i = 0; i < 1000; i++) connection.write(streamingCall(2 * i + 1));
    },
    { 4: 0 },
  ),
  hold("10^4 idle streams on 10 connections", 10, (connection) => {
    for (let i = 0; i < 1000; i++) connection.write(idleCall(2 * i + 1));
  }),
  hold("3000 connections with a stream each", 3000, (connection) => connection.write(idleCall(1))),
  hold("6000 connections, preface only", 6000, () => undefined),
  hold("6000 connections, nothing sent", 6000, () => undefined, undefined),
  hold("6000 connections, half a frame", 6000, (connection) => connection.write(idleCall(1).subarray(0, 60))),
  {
    name: "10 x 1000 requests of 1 MiB that never end",
    run: (path, signal) => unfinished(path, signal, 10),
  },
];

/** Writes the same thing over and over on four connections, and connects anew when one was ended. */
function flood(
  name: string,
  next: (stream: number, i: number) => Buffer,
  { read = true }: { readonly read?: boolean } = {},
): Abuse {
  return {
    name,
    async run(path, signal) {
      const ends: Record<string, number> = {};
      let frames = 0;
      const one = async (): Promise<void> => {
        while (!signal.aborted) {
          using connection =
            (await RawConnection.open(path, { keep: read }).catch(() => undefined)) ?? UNCONNECTED;
          if (!(connection instanceof RawConnection)) {
            await pause(10);
            continue;
          }
          if (!read) connection.socket.pause();
          for (let i = 0; !connection.closed && !signal.aborted; ) {
            const batch: Buffer[] = [];
            for (let size = 0; size < 64 * 1024; i++) {
              const bytes = next(2 * (i % 2 ** 29) + 1, i);
              batch.push(bytes);
              size += bytes.length;
            }
            frames += batch.length;
            connection.frames.splice(0, connection.frames.length - 4);
            const drained = connection.write(...batch);
            await (drained ? pause(0) : Promise.race([drain(connection), pause(200)]));
          }
          if (!connection.closed) break;
          const end = connection.goaway === undefined ? "cut" : `GOAWAY ${connection.goaway}`;
          ends[end] = (ends[end] ?? 0) + 1;
        }
      };
      await Promise.all(Array.from({ length: 4 }, one));
      return `${frames} written; ${described(ends)}`;
    },
  };
}

/** Opens connections, does something once on each, and holds them. */
function hold(
  name: string,
  count: number,
  act: (connection: RawConnection) => void,
  settings: Readonly<Record<number, number>> | undefined = {},
): Abuse {
  return {
    name,
    async run(path, signal) {
      const open: RawConnection[] = [];
      let refused = 0;
      for (let i = 0; i < count && !signal.aborted; i++) {
        const connection = await RawConnection.open(path, {
          keep: false,
          ...(name.endsWith("nothing sent") ? { preface: false } : { settings }),
        }).catch(() => undefined);
        if (connection === undefined) refused++;
        else {
          open.push(connection);
          act(connection);
        }
      }
      while (!signal.aborted) await pause(50);
      const closed = open.filter((connection) => connection.closed).length;
      for (const connection of open) connection.socket.destroy();
      return `${open.length} opened, ${refused} refused, ${closed} ended by the server`;
    },
  };
}

/** Sends all but the end of as many large requests as a connection takes. */
async function unfinished(path: string, signal: AbortSignal, connections: number): Promise<string> {
  const size = 1024 * 1024;
  let sent = 0;
  const ends: Record<string, number> = {};
  const one = async (): Promise<void> => {
    using connection = await RawConnection.open(path);
    for (let i = 0; i < 1000; i++) connection.write(unfinishedCall(2 * i + 1, size));
    const left = Array.from({ length: 1000 }, () => size - 1);
    let windows = 65_535;
    const streams = Array.from({ length: 1000 }, () => 65_535 - 5);
    let seen = 0;
    for (let i = 0; !signal.aborted && !connection.closed; i = (i + 1) % 1000) {
      for (; seen < connection.frames.length; seen++) {
        const { type, stream, payload } = connection.frames[seen] ?? {
          type: -1,
          stream: 0,
          payload: Buffer.alloc(0),
        };
        if (type !== FRAME.windowUpdate) continue;
        if (stream === 0) windows += payload.readUInt32BE(0);
        else streams[(stream - 1) / 2] = (streams[(stream - 1) / 2] ?? 0) + payload.readUInt32BE(0);
      }
      const take = Math.min(16_384, windows, streams[i] ?? 0, left[i] ?? 0);
      if (take > 0) {
        connection.write(frame(FRAME.data, 0, 2 * i + 1, Buffer.alloc(take)));
        windows -= take;
        streams[i] = (streams[i] ?? 0) - take;
        left[i] = (left[i] ?? 0) - take;
        sent += take;
      }
      if (i % 50 === 0 || windows === 0) await pause(0);
    }
    if (connection.closed) {
      const end = connection.goaway === undefined ? "cut" : `GOAWAY ${connection.goaway}`;
      ends[end] = (ends[end] ?? 0) + 1;
    }
  };
  await Promise.all(Array.from({ length: connections }, one));
  return `${(sent / 2 ** 20).toFixed(0)} MiB sent; ${described(ends)}`;
}

function described(ends: Readonly<Record<string, number>>): string {
  const parts = Object.entries(ends).map(([end, count]) => `${count} x ${end}`);
  return parts.length === 0 ? "never ended" : parts.join(", ");
}

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

function drain(connection: RawConnection): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      connection.socket.off("drain", done);
      connection.socket.off("close", done);
      resolve();
    };
    connection.socket.on("drain", done);
    connection.socket.on("close", done);
  });
}

const UNCONNECTED: Disposable = { [Symbol.dispose]: () => undefined };
