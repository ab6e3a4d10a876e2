import { describe, expect, it } from "vitest";
import { parseBrokerAddress, parseEndpointAddress } from "./endpoint-address.ts";

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

describe("Broker Endpoint §4: locating the endpoint", () => {
  it.each([
    ["unix:///a.sock", { scheme: "unix", path: "/a.sock" }],
    ["tcp://127.0.0.1:8000", { scheme: "tcp", host: "127.0.0.1", port: 8000 }],
    ["tcp://[::1]:8000", { scheme: "tcp", host: "::1", port: 8000 }],
    ["tcp://broker.example.com:8443", { scheme: "tcp", host: "broker.example.com", port: 8443 }],
    ["tcp://localhost:1", { scheme: "tcp", host: "localhost", port: 1 }],
  ])("reads %s", (text, address) => {
    expect(parseBrokerAddress(text)).toEqual(address);
  });

  it.each([
    "",
    "/a.sock",
    "https://broker.example.com:8443",
    "TCP://broker.example.com:8443",
    "unix://host/p",
    "unix:a.sock",
    "unix:///a?x",
    "unix:///a#x",
    "tcp://broker.example.com",
    "tcp://broker.example.com:0",
    "tcp://broker.example.com:8443/",
    "tcp://broker.example.com:8443?x",
    "tcp://broker.example.com:8443#x",
    "tcp://u@broker.example.com:8443",
    "tcp://broker..example.com:8443",
    "tcp://-broker.example.com:8443",
    "tcp://bröker.example.com:8443",
    "tcp://1.2.3:8443",
    "tcp://256.1.1.1:8443",
    "tcp://:8443",
    `tcp://${"a.".repeat(127)}com:8443`,
  ])("refuses %s", (text) => {
    expect(() => parseBrokerAddress(text)).toThrowCode("CONFIG_INVALID", "broker endpoint address");
  });
});
