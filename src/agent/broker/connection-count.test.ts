import { EventEmitter } from "node:events";
import { expect, it } from "vitest";
import { parseSpiffeId } from "../../spiffe/id.ts";
import { ConnectionCount } from "./connection-count.ts";

const one = parseSpiffeId("spiffe://example.org/one");
const two = parseSpiffeId("spiffe://example.org/two");

function taken(count: ConnectionCount, id: (n: number) => typeof one | undefined): EventEmitter[] {
  const sockets: EventEmitter[] = [];
  for (let n = 0; n < 1000; n++) {
    const socket = new EventEmitter();
    if (!count.take(socket, id(n))) return sockets;
    sockets.push(socket);
  }
  return sockets;
}

it("bounds the connections of each broker, and those of all others together", () => {
  const count = new ConnectionCount([one, two]);
  const strangers = taken(count, (n) =>
    n % 2 === 0 ? undefined : parseSpiffeId(`spiffe://example.org/stranger/${n}`),
  );
  expect(strangers).toHaveLength(64);
  expect(taken(count, () => one)).toHaveLength(256);
  expect(taken(count, () => two)).toHaveLength(256);
});

it("gives the place of a connection that has closed to another", () => {
  const count = new ConnectionCount([one]);
  const [first] = taken(count, () => one);
  expect(count.take(new EventEmitter(), one)).toBe(false);
  first?.emit("close");
  expect(count.take(new EventEmitter(), one)).toBe(true);
  expect(count.take(new EventEmitter(), one)).toBe(false);
});
