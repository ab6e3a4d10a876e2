import { describe, expect, it } from "vitest";
import { parseEndpointAddress } from "./endpoint-address.ts";

describe("Workload Endpoint §4: locating the endpoint", () => {
  it.each([
    ["unix:///a.sock", { scheme: "unix", path: "/a.sock" }],
    ["unix:/run/a.sock", { scheme: "unix", path: "/run/a.sock" }],
    ["tcp://127.0.0.1:8000", { scheme: "tcp", host: "127.0.0.1", port: 8000 }],
    ["tcp://[::1]:8000", { scheme: "tcp", host: "::1", port: 8000 }],
  ])("reads %s", (text, address) => {
    expect(parseEndpointAddress(text)).toEqual(address);
  });

  it.each([
    "",
    "/a.sock",
    "http://127.0.0.1:80",
    "unix:a.sock",
    "unix://",
    "unix:///",
    "unix://host/p",
    "unix:///a?x",
    "unix:///a#x",
    "tcp://localhost:1",
    "tcp://127.0.0.1",
    "tcp://127.0.0.1:0",
    "tcp://127.0.0.1:65536",
    "tcp://127.0.0.1:8000/",
    "tcp://127.0.0.1:8000/foo",
    "tcp://127.0.0.1:8000?x",
    "tcp://u@127.0.0.1:8000",
    "tcp://[127.0.0.1]:8000",
    "tcp://::1:8000",
  ])("refuses %s", (text) => {
    expect(() => parseEndpointAddress(text)).toThrowCode("CONFIG_INVALID", "workload endpoint address");
  });
});
