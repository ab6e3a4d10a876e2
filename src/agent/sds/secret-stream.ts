import { AssayError, toAssayError } from "../../errors/assay-error.ts";
import { FIELD } from "../../observe/fields.ts";
import { ChangeBell } from "../cache/change-bell.ts";
import { ChangeWaiter } from "../workload-api/change-waiter.ts";
import type { WorkloadCall } from "../workload-api/workload-call.ts";
import { type Validation, validationFor } from "./envoy-node.ts";
import type { SecretFinder } from "./secret-finder.ts";
import type { AnyDiscoveryRequest, SecretSession } from "./secret-session.ts";
import type { SecretSource } from "./secret-source.ts";
import { SECRET_TYPE_URL } from "./secret-writer.ts";

/**
 * Answers one stream: after each request and each change, what its session has to say. Ends well only when the client
 * has said that it asks for nothing more and is answered what is there.
 * @throws AssayError `NO_IDENTITY_ISSUED` when the caller loses its last identity, `INVALID_REQUEST`, and others that pass.
 */
export async function* answerSecrets<Request extends AnyDiscoveryRequest, Response>(
  requests: AsyncIterable<Request>,
  session: SecretSession<NoInfer<Request>, Response>,
  call: WorkloadCall,
  source: SecretSource,
): AsyncGenerator<Response, void, undefined> {
  const { cache, clock, settings, log } = source.options;
  using caller = await source.open(call);
  const bell = new ChangeBell();
  using _heard = cache.bell.listen(() => bell.ring());
  using waiter = new ChangeWaiter(bell, call.signal, clock);
  let validation: Validation | undefined;
  let rejections = 0;
  const input = read(requests, bell, (request) => {
    requireSecrets(request);
    // Only the first message need introduce the client; what later ones say of it is not looked at.
    validation ??= validationFor(request.node, settings.disableSpiffeCertValidation);
    const rejection = session.take(request);
    if (rejection === undefined) return;
    rejections += 1;
    // A client that rejects everything must not fill the log.
    const say = rejections <= MAX_WARNINGS ? "warn" : "debug";
    log[say]("secrets were rejected by the client", {
      [FIELD.pid]: call.caller.pid,
      [FIELD.detail]: rejection,
    });
  });
  let toldMissing = false;
  for (;;) {
    if (input.error !== undefined) throw input.error;
    const { ended } = input;
    caller.requireWaiting();
    if (validation !== undefined) {
      const finder = caller.look(validation);
      const answer = session.answer(finder);
      caller.demand(finder);
      if (answer !== undefined) {
        caller.record(answer.secrets);
        yield answer.response;
        continue;
      }
      if (!toldMissing && finder.missing.size > 0) {
        toldMissing = true;
        log.info("secrets are waited for", { [FIELD.pid]: call.caller.pid, [FIELD.detail]: namesOf(finder) });
      }
    }
    if (ended) return;
    await waiter.next(Number.POSITIVE_INFINITY);
  }
}

/** Refuses a request for anything else than secrets. @throws AssayError `INVALID_REQUEST`. */
export function requireSecrets({ typeUrl }: Pick<AnyDiscoveryRequest, "typeUrl">): void {
  if (typeUrl === "" || typeUrl === SECRET_TYPE_URL) return;
  throw new AssayError("INVALID_REQUEST", `type_url must be empty or ${SECRET_TYPE_URL}`);
}

/** Reads requests as they come, ringing after each and at their end. */
function read<Request>(
  requests: AsyncIterable<Request>,
  bell: ChangeBell,
  take: (request: Request) => void,
): { readonly ended: boolean; readonly error: AssayError | undefined } {
  const input: { ended: boolean; error: AssayError | undefined } = { ended: false, error: undefined };
  const reading = async () => {
    for await (const request of requests) {
      take(request);
      bell.ring();
    }
  };
  void reading()
    .catch((error: unknown) => {
      input.error = toAssayError(error);
    })
    .finally(() => {
      input.ended = true;
      bell.ring();
    });
  return input;
}

function namesOf({ missing }: SecretFinder): string {
  const told = [...missing].slice(0, MAX_TOLD).map(([name, why]) => `${name.slice(0, 100)} (${why})`);
  return told.join(", ");
}

const MAX_TOLD = 5;
const MAX_WARNINGS = 3;
