import type { Command } from "commander";
import { DEFAULT_ADMIN_SOCKET } from "../config/defaults.ts";
import { AssayError } from "../errors/assay-error.ts";
import { Health, HealthCheckResponse_ServingStatus as ServingStatus } from "../proto/gen/grpc/health/v1/health_pb.ts";
import { withAdminClient } from "./admin-client.ts";
import { type CliIo, writeResult } from "./io.ts";
import { outputOption, type AdminOptions } from "./options.ts";

/** Adds `assay healthcheck`: exits 0 when the server or agent behind the socket is ready, else 1. */
export function addHealthCommand(program: Command, io: CliIo): void {
  outputOption(program.command("healthcheck").description("is the server or agent ready? exits 0 if so, 1 if not"))
    .option("--admin-socket <path>", "admin socket of the server or agent, or the agent's workload socket", DEFAULT_ADMIN_SOCKET)
    .option("--timeout <seconds>", "how long to wait for an answer", "5")
    .action((flags: AdminOptions & { timeout: string }) =>
      withAdminClient(flags.adminSocket, async (client) => {
        const seconds = Number(flags.timeout);
        if (!(seconds > 0)) throw new AssayError("USAGE", "--timeout: expected seconds above 0");
        const { status } = await client.service(Health).check({}, { timeout: seconds * 1000 });
        if (status !== ServingStatus.SERVING) throw new AssayError("NOT_READY", "it runs but is not ready");
        writeResult(io, flags.output, { status: "serving" }, () => "ready");
      }),
    );
}
