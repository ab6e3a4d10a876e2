import { resolve } from "node:path";
import type { Command } from "commander";
import { DEFAULT_ADMIN_SOCKET } from "./default-sockets.ts";
import { AssayError } from "../errors/assay-error.ts";
import {
  Health,
  HealthCheckResponse_ServingStatus as ServingStatus,
} from "../proto/gen/grpc/health/v1/health_pb.ts";
import { withAdminClient } from "./admin-client.ts";
import { durationOf } from "./duration-flag.ts";
import { type CliIo, writeResult } from "./io.ts";
import { outputOption, type AdminOptions } from "./options.ts";

/** Adds `assay healthcheck`: exits 0 when the server or agent behind the socket is ready, else 1. */
export function addHealthCommand(program: Command, io: CliIo): void {
  outputOption(
    program.command("healthcheck").description("is the server or agent ready? exits 0 if so, 1 if not"),
  )
    .option(
      "--admin-socket <path>",
      "admin socket of the server or agent, or the agent's workload socket",
      (path) => resolve(path),
      DEFAULT_ADMIN_SOCKET,
    )
    .option("--timeout <duration>", "how long to wait for an answer", "5s")
    .action((flags: AdminOptions & { timeout: string }) =>
      withAdminClient(io, flags.adminSocket, async (client) => {
        const timeout = durationOf(flags.timeout, "--timeout");
        const { status } = await client.service(Health).check({}, { timeout });
        if (status !== ServingStatus.SERVING) throw new AssayError("NOT_READY", "it runs but is not ready");
        writeResult(io, flags.output, { status: "serving" }, () => "ready");
      }),
    );
}
