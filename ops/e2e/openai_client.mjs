// What a program with the official client of OpenAI's API expects. The upstream
// behind moltbot follows a script, see openai_test.go. Started by
// TestOpenAIClientForJavaScript with BASE, TOKEN, FEW (a token for one model), POOR
// (for a token of the model a day), CALM (for a request a second), and ASKED, which
// tells how often the upstream was asked a text.
import assert from "node:assert/strict";
import OpenAI from "openai";

const { BASE, TOKEN, FEW, POOR, CALM, ASKED } = process.env;
const model = "scripted";
const options = { baseURL: `${BASE}/v1`, apiKey: TOKEN, timeout: 30_000 };
const client = new OpenAI(options);
const say = (content) => [{ role: "user", content }];
const chat = (content, more = {}, per = {}) =>
  client.chat.completions.create({ model, messages: say(content), ...more }, per);

const tools = [
  {
    type: "function",
    function: {
      name: "weather",
      description: "The weather of a city",
      parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
    },
  },
];

async function step(name, run) {
  await run();
  console.log(`ok ${name}`);
}

await step("models", async () => {
  const names = [];
  for await (const m of client.models.list()) names.push([m.id, m.object, m.owned_by]);
  assert.deepEqual(names, [[model, "model", "stand-in"]]);
  assert.equal((await client.models.retrieve(model)).id, model);
});

await step("chat", async () => {
  const r = await chat("hello", { temperature: 0.2, max_completion_tokens: 50, seed: 7, stop: ["\n\n"], user: "u" });
  assert.equal(r.object, "chat.completion");
  assert.match(r.id, /^chatcmpl-/);
  assert.equal(r.model, model);
  assert.equal(r.choices.length, 1);
  assert.deepEqual(r.choices[0].message, { role: "assistant", content: "echo: hello", refusal: null });
  assert.equal(r.choices[0].finish_reason, "stop");
  assert.ok(r.usage.prompt_tokens > 0 && r.usage.completion_tokens > 0);
  assert.equal(r.usage.total_tokens, r.usage.prompt_tokens + r.usage.completion_tokens);
  assert.equal(r.system_fingerprint, "stand-in/scripted");
  assert.ok(Math.abs(r.created - Date.now() / 1000) < 60);
  assert.ok(r._request_id);
});

await step("parts", async () => {
  const r = await chat([
    { type: "text", text: "what is this?" },
    { type: "image_url", image_url: { url: "data:image/png;base64,iVBORw0KGgo=", detail: "low" } },
  ]);
  assert.equal(r.choices[0].message.content, "echo: what is this?");
});

await step("stream", async () => {
  const stream = await chat("hello stream", { stream: true });
  let text = "", finish, roles = [];
  for await (const c of stream) {
    assert.equal(c.object, "chat.completion.chunk");
    assert.equal(c.usage ?? null, null);
    if (c.choices[0].delta.role) roles.push(c.choices[0].delta.role);
    text += c.choices[0].delta.content ?? "";
    finish = c.choices[0].finish_reason ?? finish;
  }
  assert.deepEqual([text, finish, roles], ["echo: hello stream", "stop", ["assistant"]]);
});

await step("usage of a stream", async () => {
  const all = [];
  for await (const c of await chat("hello", { stream: true, stream_options: { include_usage: true } })) all.push(c);
  const last = all.pop();
  assert.deepEqual(last.choices, []);
  assert.equal(last.usage.total_tokens, last.usage.prompt_tokens + last.usage.completion_tokens);
  assert.ok(last.usage.completion_tokens > 0);
  for (const c of all) assert.equal(c.usage, null);
});

await step("stream helper", async () => {
  const runner = client.chat.completions.stream({ model, messages: say("hello helper") });
  const deltas = [];
  runner.on("content", (d) => deltas.push(d));
  const r = await runner.finalChatCompletion();
  assert.equal(r.choices[0].message.content, "echo: hello helper");
  assert.equal(deltas.join(""), "echo: hello helper");
});

await step("tools", async () => {
  const messages = say("what is the weather in Köln?");
  const first = await client.chat.completions.create({ model, messages, tools, tool_choice: "auto" });
  const choice = first.choices[0];
  assert.equal(choice.finish_reason, "tool_calls");
  assert.equal(choice.message.content, null);
  assert.deepEqual(choice.message.tool_calls, [
    { id: "call_1", type: "function", function: { name: "weather", arguments: '{"city":"Köln"}' } },
  ]);
  messages.push(choice.message, { role: "tool", tool_call_id: "call_1", content: "21 degrees" });
  const second = await client.chat.completions.create({ model, messages, tools });
  assert.equal(second.choices[0].message.content, "It is said: 21 degrees");
});

await step("tools of a stream", async () => {
  const runner = client.chat.completions.stream({ model, messages: say("weather in Köln"), tools });
  const r = await runner.finalChatCompletion();
  assert.equal(r.choices[0].finish_reason, "tool_calls");
  assert.equal(r.choices[0].message.tool_calls[0].function.arguments, '{"city":"Köln"}');
});

await step("tools that the client runs", async () => {
  for (const stream of [false, true]) {
    const runner = client.chat.completions.runTools({
      model,
      stream,
      messages: say("weather in Köln"),
      tools: [{ ...tools[0], function: { ...tools[0].function, parse: JSON.parse, function: ({ city }) => `rain in ${city}` } }],
    });
    assert.equal(await runner.finalContent(), "It is said: rain in Köln");
  }
});

await step("session", async () => {
  const headers = { "X-Session-Id": `js-${Date.now()}` };
  await chat("My name is Ada.", {}, { headers });
  const r = await chat("history?", {}, { headers });
  assert.equal(r.choices[0].message.content, "user: My name is Ada.|assistant: echo: My name is Ada.|user: history?");
  const alone = await chat("history?");
  assert.equal(alone.choices[0].message.content, "user: history?");
});

await step("errors", async () => {
  const wrong = new OpenAI({ ...options, apiKey: "sk-wrong" });
  await assert.rejects(wrong.models.list(), (e) => {
    assert.ok(e instanceof OpenAI.AuthenticationError);
    assert.deepEqual([e.status, e.code, e.type], [401, "invalid_api_key", "invalid_request_error"]);
    assert.ok(e.requestID);
    return true;
  });
  const few = new OpenAI({ ...options, apiKey: FEW });
  await assert.rejects(few.chat.completions.create({ model: "gpt-9", messages: say("x") }), (e) => {
    assert.ok(e instanceof OpenAI.NotFoundError);
    assert.deepEqual([e.status, e.code, e.param], [404, "model_not_found", "model"]);
    return true;
  });
  await assert.rejects(chat("x", { temperature: 3 }), (e) => {
    assert.ok(e instanceof OpenAI.BadRequestError);
    assert.deepEqual([e.status, e.param, e.type], [400, "temperature", "invalid_request_error"]);
    return true;
  });
  await assert.rejects(client.embeddings.create({ model, input: "x" }), (e) => {
    assert.ok(e instanceof OpenAI.NotFoundError);
    return e.code === "unknown_url";
  });
});

await step("an upstream that refuses", async () => {
  for (const stream of [false, true]) {
    await assert.rejects(chat("refuse", { stream }), (e) => {
      assert.ok(e instanceof OpenAI.InternalServerError);
      assert.deepEqual([e.status, e.code, e.type], [502, "model_failed", "server_error"]);
      return true;
    });
  }
});

// Without x-should-retry the client obeys Retry-After and tries again.
await step("a rate that is exceeded", async () => {
  const calm = new OpenAI({ ...options, apiKey: CALM });
  for (const _ of [1, 2]) assert.equal((await calm.models.retrieve(model)).id, model);
  await assert.rejects(calm.models.retrieve(model, { maxRetries: 0 }), OpenAI.RateLimitError);
});

// Retry-After is midnight: a client that obeyed it would hang until then.
await step("a budget that is used up", async () => {
  const poor = new OpenAI({ ...options, apiKey: POOR });
  const spent = assert.rejects(
    async () => {
      for (let i = 0; ; i++) await poor.chat.completions.create({ model, messages: say(`spend ${i}`), stream: i % 2 === 1 });
    },
    (e) => {
      assert.ok(e instanceof OpenAI.RateLimitError);
      assert.deepEqual([e.status, e.code, e.type], [429, "insufficient_quota", "insufficient_quota"]);
      assert.equal(e.headers.get("x-should-retry"), "false");
      return true;
    },
  );
  await Promise.race([spent, new Promise((_, late) => setTimeout(late, 20_000, new Error("it waits")).unref())]);
});

await step("a stream that breaks off", async () => {
  let text = "";
  await assert.rejects(
    async () => {
      for await (const c of await chat("break off", { stream: true })) text += c.choices[0]?.delta?.content ?? "";
    },
    (e) => e instanceof OpenAI.APIError,
  );
  assert.ok("echo: break off".startsWith(text) && text.length > 0, text);
});

await step("abort in the middle of a stream", async () => {
  const stream = await chat("endless stream", { stream: true });
  let pieces = 0;
  for await (const c of stream) {
    if (c.choices[0].delta.content && ++pieces === 3) stream.controller.abort();
  }
  assert.ok(pieces >= 3);
});

await step("abort of a plain request", async () => {
  const abort = new AbortController();
  const rejected = assert.rejects(chat("endless plain", {}, { signal: abort.signal }), OpenAI.APIUserAbortError);
  while ((await (await fetch(`${ASKED}?text=endless+plain`)).text()) !== "1") {
    await new Promise((again) => setTimeout(again, 10));
  }
  abort.abort();
  await rejected;
});
