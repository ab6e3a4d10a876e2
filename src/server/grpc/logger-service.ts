import { AssayError } from "../../errors/assay-error.ts";
import { LOG_LEVELS, type LogLevel, type RootLog } from "../../observe/log.ts";
import { Logger } from "../../proto/gen/spire/api/server/logger/v1/logger_pb.ts";
import { LogLevel as WireLevel } from "../../proto/gen/spire/api/types/logger_pb.ts";
import type { ServiceHandlers } from "../../rpc/handlers.ts";
import type { ServerCall } from "../call.ts";

/** Handlers of `spire.api.server.logger.v1.Logger`: the log level at run time. */
export function loggerService(log: RootLog): ServiceHandlers<typeof Logger, ServerCall> {
  const current = () => ({ currentLevel: toWire(log.getLevel()), launchLevel: toWire(log.launchLevel) });
  const change = (level: LogLevel) => {
    log.info("log level changed", { from: log.getLevel(), to: level });
    log.setLevel(level);
    return current();
  };
  return {
    getLogger: () => current(),
    setLogLevel: ({ newLevel }) => change(fromWire(newLevel)),
    resetLogLevel: () => change(log.launchLevel),
  };
}

function fromWire(level: WireLevel): LogLevel {
  // Nothing of ours panics; what silences everything but a panic silences everything.
  if (level === WireLevel.PANIC) return "fatal";
  const found = LOG_LEVELS.find((name) => toWire(name) === level);
  if (found === undefined)
    throw new AssayError("INVALID_REQUEST", `new_level: expected one of ${LOG_LEVELS.join(", ")}`);
  return found;
}

function toWire(level: LogLevel): WireLevel {
  switch (level) {
    case "trace":
      return WireLevel.TRACE;
    case "debug":
      return WireLevel.DEBUG;
    case "info":
      return WireLevel.INFO;
    case "warn":
      return WireLevel.WARN;
    case "error":
      return WireLevel.ERROR;
    case "fatal":
      return WireLevel.FATAL;
  }
}
