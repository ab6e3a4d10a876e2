import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { IssuanceBench, trustDomain } from "../../../test/fakes/issuance-bench.ts";
import { makeCsr } from "../../../test/fakes/issuance-csr.ts";
import { AssayError } from "../../errors/assay-error.ts";
import type { AgentIssuanceOptions } from "../../issuance/agents.ts";
import type { NodeAttestor } from "../../plugin/node-attestor.ts";
import {
  type AttestAgentRequest,
  AttestAgentRequestSchema,
} from "../../proto/gen/spire/api/server/agent/v1/agent_pb.ts";
import { agentId } from "../../spiffe/reserved.ts";
import type { NodeRecord } from "../../store/records.ts";
import { attestAgentStream } from "./attest-agent.ts";

type Step = MessageInitShape<typeof AttestAgentRequestSchema>["step"];

let bench: IssuanceBench;
beforeEach(async () => {
  bench = await IssuanceBench.open();
});
afterEach(() => bench[Symbol.asyncDispose]());

describe("the conversation of AttestAgent", () => {
  it("asks each challenge in turn and ends with the result", async () => {
    const talk = begin(["one", "two", "three"]);
    talk.say(PARAMS);
    for (const question of ["one", "two", "three"]) {
      expect(await talk.hear()).toMatchObject({ case: "challenge", value: Buffer.from(question) });
      talk.say({ case: "challengeResponse", value: Buffer.from(`${question}!`) });
    }
    expect(await talk.hear()).toMatchObject({ case: "result", value: { reattestable: true } });
    expect(await talk.hear()).toBeUndefined();
    expect(talk.answers).toEqual(["one!", "two!", "three!"]);
  });

  it.each<[string, (talk: ReturnType<typeof begin>) => void]>([
    ["says the parameters again", (talk) => talk.say(PARAMS)],
    ["says nothing", (talk) => talk.say({ case: undefined })],
    ["ends", (talk) => talk.end()],
  ])("fails for an agent that %s instead of an answer, and gives it nothing", async (_, misbehave) => {
    const talk = begin(["one"]);
    talk.say(PARAMS);
    await talk.hear();
    misbehave(talk);
    await expect(talk.hear()).rejects.toThrowCode("INVALID_REQUEST", "expected a challenge response");
    expect(talk.nodes).toEqual([]);
    talk.abort.abort(new AssayError("CANCELLED", "gone"));
    await new Promise((resolve) => setImmediate(resolve));
    expect(talk.nodes).toEqual([]);
    expect(bench.audit.records).toMatchObject([{ event: "node.denied", attestor: "asking" }]);
  });

  it("fails with what the attestor says of an answer", async () => {
    const talk = begin(["one"], () => new AssayError("ATTESTATION_FAILED", "the proof is wrong"));
    talk.say(PARAMS);
    await talk.hear();
    talk.say({ case: "challengeResponse", value: Buffer.from("x") });
    await expect(talk.hear()).rejects.toThrowCode(
      "ATTESTATION_FAILED",
      "failed to attest: the proof is wrong",
    );
  });

  it("asks no more than sixteen times", async () => {
    const talk = begin(Array.from({ length: 17 }, (_, n) => `${n}`));
    talk.say(PARAMS);
    for (let n = 0; n < 16; n++) {
      expect(await talk.hear()).toMatchObject({ case: "challenge" });
      talk.say({ case: "challengeResponse", value: Buffer.from("x") });
    }
    await expect(talk.hear()).rejects.toThrowCode("ATTESTATION_FAILED", "too many challenges");
  });

  it("does not show what an attestor fails of by accident", async () => {
    const talk = begin(["one"], () => new Error("connect 10.0.0.1: password hunter2"));
    talk.say(PARAMS);
    await talk.hear();
    talk.say({ case: "challengeResponse", value: Buffer.from("x") });
    await expect(talk.hear()).rejects.toThrowCode(
      "ATTESTATION_FAILED",
      /^failed to attest: the evidence could not be verified$/,
    );
  });

  it("ends when nobody waits for it any more, while an answer is awaited from the attestor", async () => {
    const talk = begin(["one"], () => undefined, new Promise(() => undefined));
    talk.say(PARAMS);
    const heard = talk.hear();
    talk.abort.abort(new AssayError("CANCELLED", "the caller has cancelled the call"));
    await expect(heard).rejects.toThrowCode("CANCELLED");
    expect(bench.audit.records).toMatchObject([{ event: "node.denied", code: "CANCELLED" }]);
  });
});

const PARAMS: Step = {
  case: "params",
  value: { data: { type: "asking", payload: Buffer.from("n") }, params: { csr: makeCsr() } },
};

/** A conversation with an attestor that asks these questions, then maybe fails. */
function begin(
  questions: readonly string[],
  failure: () => Error | undefined = () => undefined,
  before: Promise<void> = Promise.resolve(),
) {
  const answers: string[] = [];
  const nodes: Omit<NodeRecord, "ordinal" | "banned">[] = [];
  const asking: NodeAttestor = {
    async attest({ payload, challenge }) {
      await before;
      for (const question of questions)
        answers.push(Buffer.from(await challenge(Buffer.from(question))).toString());
      const error = failure();
      if (error !== undefined) throw error;
      return {
        agentId: agentId(trustDomain, "asking", Buffer.from(payload).toString()),
        selectors: [],
        canReattest: true,
      };
    },
    async [Symbol.asyncDispose]() {},
  };
  const options: AgentIssuanceOptions = {
    ...bench.options(),
    attestors: new Map([["asking", asking]]),
    nodes: {
      node: () => undefined,
      forget: async () => undefined,
      attested: async (node) => nodes.push(node),
      renewed: () => Promise.reject(new Error("nothing is renewed here")),
    },
  };
  const abort = new AbortController();
  const requests = new Requests();
  const stream = attestAgentStream(requests, options, { address: "192.0.2.1" }, abort.signal);
  return {
    abort,
    answers,
    nodes,
    say: (step: Step) => requests.put(create(AttestAgentRequestSchema, step === undefined ? {} : { step })),
    end: () => requests.end(),
    async hear() {
      const next = await stream.next();
      return next.done === true ? undefined : next.value.step;
    },
  };
}

/** What the agent says, as it says it. */
class Requests implements AsyncIterable<AttestAgentRequest> {
  readonly #queue: AttestAgentRequest[] = [];
  #ended = false;
  #wake: () => void = () => undefined;

  put(request: AttestAgentRequest): void {
    this.#queue.push(request);
    this.#wake();
  }

  end(): void {
    this.#ended = true;
    this.#wake();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<AttestAgentRequest> {
    for (;;) {
      const next = this.#queue.shift();
      if (next !== undefined) yield next;
      else if (this.#ended) return;
      else await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }
}
