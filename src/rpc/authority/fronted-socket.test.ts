import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { idleCall, PING } from "../../../test/abuse/abuses.ts";
import { PREFACE } from "../../../test/abuse/frames.ts";
import { FrontedSocket } from "./fronted-socket.ts";

let folder: string;
let client: Socket;
let accepted: Socket;
let stop: () => void;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "fronted-"));
  const listener = createServer({ pauseOnConnect: true, allowHalfOpen: true });
  listener.listen(join(folder, "s"));
  await once(listener, "listening");
  client = connect(join(folder, "s"));
  client.on("error", () => undefined);
  [accepted] = (await once(listener, "connection")) as [Socket];
  stop = () => listener.close();
});
afterEach(() => {
  client.destroy();
  accepted.destroy();
  stop();
  rmSync(folder, { recursive: true });
});

describe("FrontedSocket", () => {
  it("passes on every octet, in turns with others between them", async () => {
    const calls = Array.from({ length: 1000 }, (_, i) => idleCall(2 * i + 1));
    const octets = Buffer.concat([PREFACE, ...calls]);
    const fronted = new FrontedSocket(accepted);
    const turns: Buffer[][] = [[]];
    fronted.on("data", (chunk: Buffer) => turns.at(-1)?.push(chunk));
    fronted.resume();
    client.end(octets);
    const ended = once(fronted, "end");
    // Immediates of others run between any two turns.
    const others = async () => {
      for (;;) {
        await new Promise((resolve) => setImmediate(resolve));
        if (turns.at(-1)?.length !== 0) turns.push([]);
      }
    };
    void others();
    await ended;
    expect(Buffer.concat(turns.flat())).toEqual(octets);
    const perCall = calls[0]?.length ?? 0;
    for (const turn of turns) expect(Buffer.concat(turn).length).toBeLessThanOrEqual(40 * perCall);
  });

  it("gives nothing while its reader has had enough", async () => {
    const fronted = new FrontedSocket(accepted);
    let received = 0;
    fronted.on("data", (chunk: Buffer) => {
      received += chunk.length;
      fronted.pause();
    });
    fronted.resume();
    const octets = Buffer.concat([PREFACE, ...Array.from({ length: 3000 }, () => PING)]);
    client.write(octets);
    while (received === 0) await new Promise((resolve) => setImmediate(resolve));
    const first = received;
    for (let i = 0; i < 10; i++) await new Promise((resolve) => setImmediate(resolve));
    expect(received).toBe(first);
    expect(received).toBeLessThan(octets.length);
    while (received < octets.length) {
      fronted.resume();
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(received).toBe(octets.length);
  });

  it("tells its reader once that the client has no more to say, and when the socket is closed", async () => {
    const fronted = new FrontedSocket(accepted);
    let ends = 0;
    fronted.on("end", () => ends++);
    fronted.resume();
    const ended = once(fronted, "end");
    client.end();
    await ended;
    fronted.resume();
    const closed = once(fronted, "close");
    fronted.destroy();
    await closed;
    expect(fronted.destroyed).toBe(true);
    expect(ends).toBe(1);
  });
});
