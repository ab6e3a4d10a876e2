import { AssayError } from "../../errors/assay-error.ts";
import { attestAgent, type AgentIssuanceOptions } from "../../issuance/agents.ts";
import type { Caller } from "../../issuance/caller.ts";
import type {
  AttestAgentRequest,
  AttestAgentRequest_Params,
  AttestAgentResponseSchema,
} from "../../proto/gen/spire/api/server/agent/v1/agent_pb.ts";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { x509SvidToWire } from "../wire/svid.ts";

type Answer = MessageInitShape<typeof AttestAgentResponseSchema>;

/**
 * The conversation of `Agent.AttestAgent`: the agent's evidence, as many challenges as the attestor needs, then the
 * agent's SVID. Ends with OK right after the result, without waiting for the agent to close its half.
 *
 * The attestor runs while challenges go back and forth, so what it asks for is handed from its call to this stream
 * one question at a time.
 * @throws AssayError what `attestAgent` throws, and `INVALID_REQUEST` for a message out of turn.
 */
export async function* attestAgentStream(
  requests: AsyncIterable<AttestAgentRequest>,
  options: AgentIssuanceOptions,
  caller: Caller,
  signal: AbortSignal,
): AsyncGenerator<Answer, void, undefined> {
  const incoming = requests[Symbol.asyncIterator]();
  const { data, csr } = await firstMessage(incoming);
  const turn = new Turn();
  const attempt = attestAgent(options, caller, {
    type: data.type,
    payload: data.payload,
    csr,
    remoteAddress: caller.address,
    challenge: (challenge) => turn.ask(challenge),
    signal,
  });
  const done = attempt.then(
    () => undefined,
    () => undefined,
  );
  for (;;) {
    const question = await Promise.race([turn.question, done]);
    if (question === undefined) break;
    yield { step: { case: "challenge", value: question.challenge } };
    question.answer(await challengeResponse(incoming));
  }
  const { svid, canReattest } = await attempt;
  yield { step: { case: "result", value: { svid: x509SvidToWire(svid), reattestable: canReattest } } };
}

interface Question {
  readonly challenge: Uint8Array;
  answer(response: Uint8Array): void;
}

/** Hands one question at a time from the attestor to the stream and the answer back. */
class Turn {
  question: Promise<Question>;
  #put: (question: Question) => void = () => undefined;

  constructor() {
    this.question = this.#next();
  }

  ask(challenge: Uint8Array): Promise<Uint8Array> {
    return new Promise((resolve) => {
      const put = this.#put;
      put({
        challenge,
        answer: (response) => {
          this.question = this.#next();
          resolve(response);
        },
      });
    });
  }

  #next(): Promise<Question> {
    return new Promise((resolve) => {
      this.#put = resolve;
    });
  }
}

async function firstMessage(incoming: AsyncIterator<AttestAgentRequest>): Promise<{
  readonly data: NonNullable<AttestAgentRequest_Params["data"]>;
  readonly csr: Uint8Array;
}> {
  const first = await incoming.next();
  const step = first.done === true ? undefined : first.value.step;
  if (step?.case !== "params") throw malformed("missing params");
  const { data, params } = step.value;
  if (data === undefined) throw malformed("missing attestation data");
  if (data.type === "") throw malformed("missing attestation data type");
  if (data.payload.length === 0) throw malformed("missing attestation data payload");
  if (params === undefined) throw malformed("missing X509-SVID parameters");
  if (params.csr.length === 0) throw malformed("missing CSR");
  return { data, csr: params.csr };
}

async function challengeResponse(incoming: AsyncIterator<AttestAgentRequest>): Promise<Uint8Array> {
  const next = await incoming.next();
  const step = next.done === true ? undefined : next.value.step;
  if (step?.case !== "challengeResponse") {
    throw new AssayError("INVALID_REQUEST", "expected a challenge response");
  }
  return step.value;
}

function malformed(what: string): AssayError {
  return new AssayError("INVALID_REQUEST", `malformed param: ${what}`);
}
