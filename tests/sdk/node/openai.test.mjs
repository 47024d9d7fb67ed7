// The official client for Node against a gateway whose providers are scripted.
//
// test_node.py says what they do: `fine` answers, `tooled` calls a tool, `busy` refuses with 429,
// `stuck` begins and falls silent. GATEWAY_URL and GATEWAY_KEY say where and as whom to ask.

import assert from "node:assert/strict";
import test from "node:test";

import OpenAI from "openai";

const client = new OpenAI({
  baseURL: `${process.env.GATEWAY_URL}/v1`,
  apiKey: process.env.GATEWAY_KEY,
  maxRetries: 0,
  timeout: 20_000,
});

const TEXT = "The sky is blue because air scatters short waves most.";
const messages = [{ role: "user", content: "Why is the sky blue?" }];
const tools = [
  {
    type: "function",
    function: {
      name: "weather",
      parameters: { type: "object", properties: { place: { type: "string" } } },
    },
  },
];

const ask = (more, options) =>
  client.chat.completions.create({ model: "fine/m", messages, ...more }, options);

/** The error `asking` ends with, which has to be of exactly this class. */
async function caught(kind, asking) {
  const error = await asking.then(() => assert.fail("it was answered"), (it) => it);
  assert.equal(error.constructor, kind, String(error));
  return error;
}

test("a whole answer", async () => {
  const answer = await ask();
  assert.equal(answer.choices[0].message.content, TEXT);
  assert.equal(answer.choices[0].finish_reason, "stop");
  assert.equal(answer.model, "fine/m");
  assert.equal(answer.usage.total_tokens, 18);
});

test("headers tell who answered", async () => {
  const { response, request_id } = await ask().withResponse();
  assert.equal(response.headers.get("x-relay-provider"), "fine");
  assert.equal(response.headers.get("x-request-id"), request_id);
});

test("a stream", async () => {
  const chunks = [];
  const events = await ask({ stream: true, stream_options: { include_usage: true } });
  for await (const chunk of events) chunks.push(chunk);
  const last = chunks.pop();
  assert.equal(chunks.map((it) => it.choices[0].delta.content ?? "").join(""), TEXT);
  assert.equal(new Set(chunks.map((it) => it.id)).size, 1);
  assert.equal(chunks.at(-1).choices[0].finish_reason, "stop");
  assert.deepEqual(last.choices, []);
  assert.equal(last.usage.total_tokens, 18);
});

test("the stream helper puts an answer together", async () => {
  const running = client.chat.completions.stream({ model: "fine/m", messages });
  assert.equal(await running.finalContent(), TEXT);
});

test("tools", async () => {
  const { finish_reason, message } = (await ask({ model: "tooled/m", tools })).choices[0];
  assert.equal(finish_reason, "tool_calls");
  const [call] = message.tool_calls;
  assert.deepEqual(JSON.parse(call.function.arguments), { place: "Oslo" });

  const result = { role: "tool", tool_call_id: call.id, content: "rain" };
  const answer = await ask({ messages: [...messages, message, result], tools });
  assert.equal(answer.choices[0].message.content, TEXT);
});

test("models", async () => {
  const ids = [];
  for await (const model of client.models.list()) ids.push(model.id);
  for (const id of ["meta-model", "free-fast", "fine/m", "busy/m"]) assert.ok(ids.includes(id), id);
  assert.equal((await client.models.retrieve("fine/m")).owned_by, "fine");
});

test("BadRequestError", async () => {
  const error = await caught(OpenAI.BadRequestError, ask({ messages: [] }));
  assert.deepEqual(
    [error.status, error.type, error.param],
    [400, "invalid_request_error", "messages"],
  );
  assert.equal(error.error.request_id, error.requestID);
});

test("AuthenticationError", async () => {
  const stranger = client.withOptions({ apiKey: "wrong" });
  const asking = stranger.chat.completions.create({ model: "fine/m", messages });
  const error = await caught(OpenAI.AuthenticationError, asking);
  assert.deepEqual([error.status, error.type], [401, "authentication_error"]);
});

test("NotFoundError", async () => {
  const error = await caught(OpenAI.NotFoundError, ask({ model: "fine/n" }));
  assert.deepEqual([error.status, error.code, error.param], [404, "model_not_found", "model"]);
  assert.ok(error.message.includes("fine/m"), error.message);
});

test("RateLimitError", async () => {
  const error = await caught(OpenAI.RateLimitError, ask({ model: "busy/m" }));
  assert.deepEqual(
    [error.status, error.type, error.code],
    [429, "rate_limit_error", "all_providers_exhausted"],
  );
  assert.equal(error.headers.get("retry-after"), "7");
  assert.equal(error.error.providers[0].id, "busy");
});

test("a stream that cannot begin is an error too", async () => {
  const error = await caught(OpenAI.RateLimitError, ask({ model: "busy/m", stream: true }));
  assert.equal(error.status, 429);
});

test("a stream that is left is counted once", async () => {
  const events = await ask({ model: "stuck/m", stream: true });
  for await (const chunk of events) {
    assert.equal(chunk.choices[0].delta.content, "The");
    break;
  }
  assert.equal(await counted("stuck"), 1);
});

test("APIUserAbortError", async () => {
  const before = await counted("stuck");
  const control = new AbortController();
  const asking = ask({ model: "stuck/m" }, { signal: control.signal });
  setTimeout(() => control.abort(), 200);
  await caught(OpenAI.APIUserAbortError, asking);
  assert.equal(await counted("stuck", before), before + 1);
});

/** How many requests to `provider` are in the books, once they are more than `before`. */
async function counted(provider, before = 0) {
  for (let tries = 0; tries < 100; tries += 1) {
    const { providers } = await client.get("/usage");
    const requests = providers[provider]?.requests ?? 0;
    if (requests > before) return requests;
    await new Promise((done) => setTimeout(done, 20));
  }
  return before;
}
