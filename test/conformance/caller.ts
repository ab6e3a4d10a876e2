/**
 * One gRPC call by a process of its own, as `node caller.ts SOCKET PATH MESSAGE`, message in base64. Prints one line of JSON:
 * how the call went, messages in base64. A stream is left after its first message.
 */
import { RawGrpc } from "./raw-grpc.ts";

const [socket = "", path = "", message = ""] = process.argv.slice(2);
using client = new RawGrpc(socket);
const answer = await client.call({ path, message: Buffer.from(message, "base64"), leaveAfter: 1 });
console.log(
  JSON.stringify({ ...answer, messages: answer.messages.map((bytes) => bytes.toString("base64")) }),
);
